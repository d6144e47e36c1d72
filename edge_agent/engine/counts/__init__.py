"""Dirichlet learning: counts in integers, and what a model becomes by them."""
