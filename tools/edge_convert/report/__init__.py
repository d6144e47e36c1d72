"""The conversion report as one HTML page."""
