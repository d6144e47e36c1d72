"""How the device gives way when the board is in trouble."""
