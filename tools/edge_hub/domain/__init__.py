"""What the service decides, without a framework and without a database."""
