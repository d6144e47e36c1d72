"""The kernel without Python around it."""
