"""Floor 3: configuration records, their checks, and reloading."""
