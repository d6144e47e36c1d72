"""Floor 3: the daemon. It uses ports, not libraries."""
