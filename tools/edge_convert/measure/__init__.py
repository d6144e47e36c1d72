"""Fidelity, decisions, speed and the gate."""
