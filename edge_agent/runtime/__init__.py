"""Floor 3: the daemon; it knows ports, not libraries."""
