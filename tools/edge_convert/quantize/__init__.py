"""Ranges, and the writing of 8-bit networks."""
