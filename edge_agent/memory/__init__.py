"""Floor 1: planned memory of fixed size."""
