"""A device's message, taken apart into what is stored. No I/O.

Theory of operation. One typed decoder per kind of message reads the envelope and checks what the hub relies
on in one pass (msgspec); keys that it does not know pass. It takes what ``edge_agent.wire`` takes, and a
message that it refuses is kept aside with the reason. The payload itself is stored as it came.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from edge_agent.errors import PeerError
from edge_agent.wire import messages
from edge_hub.database.measurements import MAX_NAME, is_name
from edge_hub.database.telemetry import Populations, Telemetry
from edge_hub.domain import days

MAX_SEQ = 2**63 - 1


class _Telemetry(msgspec.Struct):
    populations: dict[str, dict[str, int | float]] = {}
    rss: int = 0
    historical: bool = False
    delta: bool = False
    skipped: list[tuple[int, int]] = []
    outbox: str = ""
    peers: dict[Any, Any] = {}
    samples: dict[Any, Any] = {}


class _Envelope(msgspec.Struct):
    v: int
    body: _Telemetry
    id: str = ""
    seq: int = 0
    t: float = 0.0
    exp: float = 0.0


_decoder = msgspec.msgpack.Decoder(_Envelope, strict=True)


def telemetry(fleet: str, device: str, payload: bytes, received: float) -> Telemetry:
    """Return what a message on ``up/telemetry`` says.

    Raises
    ------
    PeerError
        It breaks the protocol; the message says where.
    """
    if len(payload) > messages.MAX_BYTES:
        raise PeerError(f"message: {len(payload)} bytes, at most {messages.MAX_BYTES} expected")
    try:
        envelope = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerError(f"message: {error}") from error
    body, seq, t = envelope.body, envelope.seq, envelope.t
    if envelope.v != messages.VERSION:
        raise PeerError(f"message: v is {envelope.v}, expected {messages.VERSION}")
    if not 0 <= seq <= MAX_SEQ:
        raise PeerError(f"message: seq is {seq}, expected 0 to 2**63 - 1")
    if not -1e12 <= t <= 1e12:  # NaN neither
        raise PeerError(f"message: t is {t}, expected Unix seconds")
    if not 0 <= body.rss <= MAX_SEQ:
        raise PeerError(f"message: rss is {body.rss}, expected bytes")
    if len(body.outbox) > MAX_NAME or not body.outbox.isprintable():
        raise PeerError(f"message: outbox has {body.outbox[:40]!r}, expected at most {MAX_NAME} characters")
    for first, last in body.skipped:
        if not 0 <= first <= last <= MAX_SEQ:
            raise PeerError(f"message: skipped has {[first, last]}, expected [first, last]")
    return Telemetry(
        fleet,
        device,
        body.outbox,
        seq,
        0 if body.outbox else int(t * 1000),
        days.day_of(t, received),
        t,
        received,
        body.historical,
        body.rss or None,
        body.skipped,
        body.populations,
        body.delta,
        payload,
    )


def named(populations: Populations) -> Populations:
    """Return counters without those whose names no database holds."""
    return {
        name: {key: value for key, value in counters.items() if is_name(key) and math.isfinite(value)}
        for name, counters in populations.items()
        if is_name(name)
    }
