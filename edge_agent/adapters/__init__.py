"""Floor 3: the only files that touch the outside."""
