"""Running populations: inputs, steps, actions, safe state."""
