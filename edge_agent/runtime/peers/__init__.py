"""Coalitions, shared beliefs and loans on the running daemon."""
