"""Floor 3.5: threads and policy over runtime and adapters."""
