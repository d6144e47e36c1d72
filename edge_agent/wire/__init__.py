"""Floor 0: what travels. Messages, topics, bundles, signatures: shared with the host side."""
