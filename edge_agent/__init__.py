"""Thousands of int8 active-inference agents inside a fixed byte budget on Raspberry-Pi-class boards."""

__version__ = "0.1.0"
