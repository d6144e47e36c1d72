"""Floor 4: one file per command of ``edge-agent``, with ``add(subparsers)`` and a function that runs it."""
