"""One file per command: ``add(subparsers)`` adds its parser and sets ``run``."""
