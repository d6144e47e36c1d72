"""The body of ``peer/DEVICE/handover``: a population lent to another device, and returned.

=============  ====================================================================================
key            meaning
=============  ====================================================================================
``kind``       ``offer``, ``adopted``, ``confirmed``, ``refused``, ``recall``, ``returned``, ``released``
``loan``       number of the loan, unique for its owner
``owner``      the device that the population belongs to
``to``         the receiving device
``population`` its name
``bundle``     digest of its bundle (first 8 bytes)
``size``       bytes of the checkpoint; ``digest`` its SHA-256
``part``       number of the block in ``data``, of ``parts``
``room``       bytes of memory that the population needs
``signature``  signature of `signed` by the sender's key, if there is a checkpoint
``reason``     reason of a refusal
=============  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from edge_agent.errors import PeerError
from edge_agent.wire import fields
from edge_agent.wire.messages import Body

KINDS = frozenset({"offer", "adopted", "confirmed", "refused", "recall", "returned", "released"})
BLOCK_BYTES = 128 * 1024
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoanMessage:
    """One message of a loan; which fields mean something depends on ``kind``."""

    kind: str
    loan: int
    owner: str
    to: str
    population: str = ""
    bundle: bytes = b""
    room: int = 0
    size: int = 0
    digest: bytes = b""
    part: int = 0
    parts: int = 0
    data: bytes = b""
    signature: bytes = b""
    reason: str = ""


def signed(message: LoanMessage) -> bytes:
    """Return the bytes that a signature is over: all that says whose beliefs these are, and their digest."""
    text: bytes = msgpack.packb(
        [
            "edge-agent handover",
            message.kind,
            message.loan,
            message.owner,
            message.to,
            message.population,
            message.bundle,
            message.size,
            message.digest,
        ]
    )
    return text


def to_body(message: LoanMessage) -> Body:
    """Return the body; fields at their default are left out."""
    return {
        name: value
        for name in LoanMessage.__slots__
        if (value := getattr(message, name)) not in ("", b"", 0) or name == "loan"
    }


def from_body(body: Mapping[Any, Any]) -> LoanMessage:
    """Return the message in a body.

    Raises
    ------
    PeerError
        A field is missing, of another type or out of range.
    """
    message = LoanMessage(
        kind=fields.text(body, "kind", 16),
        loan=fields.integer(body, "loan", 0, 2**63 - 1),
        owner=fields.text(body, "owner", 64),
        to=fields.text(body, "to", 64),
        population=fields.text(body, "population", 64, ""),
        bundle=fields.blob(body, "bundle", 0, 8, b""),
        room=fields.integer(body, "room", 0, 2**40, 0),
        size=fields.integer(body, "size", 0, MAX_BYTES, 0),
        digest=fields.blob(body, "digest", 0, 32, b""),
        part=fields.integer(body, "part", 0, MAX_BYTES // BLOCK_BYTES, 0),
        parts=fields.integer(body, "parts", 0, MAX_BYTES // BLOCK_BYTES + 1, 0),
        data=fields.blob(body, "data", 0, BLOCK_BYTES, b""),
        signature=fields.blob(body, "signature", 0, 64, b""),
        reason=fields.text(body, "reason", 200, ""),
    )
    if message.kind not in KINDS:
        raise PeerError(f"kind: found {message.kind!r}, expected one of {', '.join(sorted(KINDS))}")
    if message.part and message.part >= message.parts:
        raise PeerError(f"part: found {message.part}, expected less than {message.parts}")
    return message
