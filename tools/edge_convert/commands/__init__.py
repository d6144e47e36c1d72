"""The commands of ``edge-convert``, one per file: ``add`` adds a command to the parser."""
