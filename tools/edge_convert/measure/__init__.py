"""Fidelity, speed and the gate."""
