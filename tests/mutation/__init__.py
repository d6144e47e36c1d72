"""Mutation testing with mutmut: do the tests notice when a line of the program is another one?

``make mutation`` runs it on what ``[tool.mutmut]`` in pyproject.toml names, with the unit tests named there.
"""
