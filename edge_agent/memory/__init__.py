"""Floor 1: bytes are planned, then never grow."""
