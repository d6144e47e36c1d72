"""Carries out documents and commands of the hub on the running daemon."""
