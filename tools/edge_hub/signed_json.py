"""Signed documents as JSON, for files and the database: text and hexadecimal digits in place of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import ConfigError

Signed = dict[str, Any]
"""A signed document as it travels: ``doc`` and ``signatures`` in bytes (`bodies.SIGNED`)."""


def to_plain(signed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a signed document in JSON's types."""
    return {
        "doc": signed["doc"].decode("ascii"),
        "signatures": [
            {"key": item["key"].hex(), "signature": item["signature"].hex()} for item in signed["signatures"]
        ],
    }


def of_plain(plain: Any, what: str) -> Signed:
    """Return the signed document that `to_plain` wrote; ``what`` names it in the message.

    Raises
    ------
    ConfigError
        It is something else.
    """
    try:
        return {
            "doc": plain["doc"].encode("ascii"),
            "signatures": [
                {"key": bytes.fromhex(item["key"]), "signature": bytes.fromhex(item["signature"])}
                for item in plain["signatures"]
            ],
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{what}: not {{doc, signatures}} as they were written ({error!r})") from error
