"""Mutation testing with mutmut: the tests must fail when a line of the program is changed.

``make mutation`` runs it on what ``[tool.mutmut]`` in pyproject.toml names, with the unit tests named there.
"""
