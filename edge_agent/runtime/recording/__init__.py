"""The flight recorder, its replay, and explanations."""
