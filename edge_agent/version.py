"""The version of the three distributions; pyproject.toml says the same."""

__version__ = "0.2.0"
