"""One file a question, every case in a fresh process, JSON lines: ``python -m benchmarks.NAME --json``."""
