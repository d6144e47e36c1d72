"""Floor 2: sans-I/O state machines, (event, now) to effects."""
