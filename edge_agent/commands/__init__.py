"""Floor 4: one file a command of ``edge-agent``; each has ``add(subparsers)`` and a function that runs it."""
