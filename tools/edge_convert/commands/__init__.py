"""The commands of ``edge-convert``, one a file: ``add`` hangs a command into the parser."""
