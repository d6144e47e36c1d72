"""Servers for tests and benchmarks: real ones, as children of this process."""
