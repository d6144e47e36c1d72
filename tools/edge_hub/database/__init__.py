"""What the service remembers: one set of functions over SQLite and PostgreSQL."""
