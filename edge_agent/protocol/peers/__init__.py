"""Devices that think together: roster, coalitions, shared evidence, lent populations. No leader anywhere."""
