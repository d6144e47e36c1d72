"""Messages from the broker into the database, acknowledged once they are committed."""
