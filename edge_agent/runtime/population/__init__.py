"""Populations at work: inputs, steps, actions, safe state."""
