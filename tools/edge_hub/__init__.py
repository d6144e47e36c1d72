"""The hub side: fleet view, rollouts, commands. Knows the wire alone."""
