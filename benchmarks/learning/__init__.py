"""Figures of learning: of a device, and of a fleet."""
