"""Reduces the load of the daemon when the board is overloaded."""
