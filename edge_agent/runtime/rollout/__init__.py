"""The hub's documents and commands on the running daemon."""
