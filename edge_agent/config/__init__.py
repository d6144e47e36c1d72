"""Floor 3: configuration as records, its checks, and what a change of it means."""
