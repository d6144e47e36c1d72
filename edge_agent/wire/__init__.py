"""Floor 0: messages, topics, bundles and signatures, shared with the host side."""
