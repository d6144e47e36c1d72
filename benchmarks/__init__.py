"""Benchmarks, one file per subject, each case in a fresh process: ``python -m benchmarks.NAME --json``."""
