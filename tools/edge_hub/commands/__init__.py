"""One file a command: ``add(subparsers)`` adds its parser and sets ``run``."""
