"""Who may do what: three roles, each with all that the one before may."""

from __future__ import annotations

VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
ROLES = (VIEWER, OPERATOR, ADMIN)
SCOPES = (
    "devices",
    "bundles",
    "rollouts",
    "commands",
    "groups",
    "alerts",
    "learning",
    "users",
    "audit",
    "events",
    "metrics",
)
"""What a token may be limited to: the first part of a route's path, and the metrics."""


def allows(role: str, wanted: str) -> bool:
    """Whether ``role`` may do what ``wanted`` may."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(wanted)


def least(first: str, second: str) -> str:
    """Return the lesser of two roles."""
    return min(first, second, key=ROLES.index)
