"""Ranges and sensitivity: what goes to 8 bits."""
