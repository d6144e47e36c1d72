"""Fits a float model to recorded readings: the structure is a template's, the numbers come from the data."""
