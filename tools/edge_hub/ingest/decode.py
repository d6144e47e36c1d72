"""A device's message, taken apart into what is stored. No I/O.

Theory of operation. One typed decoder per kind of message reads the envelope and checks what the hub relies
on in one pass (msgspec); keys that it does not know pass. It takes what ``edge_agent.wire`` takes, and a
message that it refuses is kept aside with the reason. The payload itself is stored as it came. To be quick,
all rules are one condition; which of them was broken is looked for afterwards.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, body_checks, messages
from edge_agent.wire.learned_body import LEARNED
from edge_hub.database import measurements
from edge_hub.database.contributions import Learned
from edge_hub.database.measurements import MAX_NAME, is_name
from edge_hub.database.telemetry import Health, Populations, Telemetry
from edge_hub.domain import days

MAX_SEQ = 2**63 - 1
MAX_T = 1e12
"""Unix seconds, either side of 1970."""


class _Telemetry(msgspec.Struct, gc=False):
    populations: dict[str, dict[str, int | float]] = {}
    rss: int = 0
    historical: bool = False
    delta: bool = False
    skipped: list[tuple[int, int]] = []
    outbox: str = ""
    peers: dict[Any, Any] = {}
    health: dict[str, Any] = {}
    samples: measurements.SampleColumns | None = None


class _Envelope(msgspec.Struct, gc=False):
    v: int
    body: _Telemetry
    id: str = ""
    seq: int = 0
    t: float = 0.0
    exp: float = 0.0


_decoder = msgspec.msgpack.Decoder(_Envelope, strict=True)


def telemetry(
    fleet: str, device: str, payload: bytes, received: float, near: range | None = None
) -> Telemetry:
    """Return what a message on ``up/telemetry`` says; ``near`` is `days.near` of ``received``.

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
    outbox, rss, skipped = body.outbox, body.rss, body.skipped
    if not (
        envelope.v == messages.VERSION
        and 0 <= seq <= MAX_SEQ
        and -MAX_T <= t <= MAX_T
        and 0 <= rss <= MAX_SEQ
        and len(outbox) <= MAX_NAME
        and outbox.isprintable()
    ):
        raise PeerError(_reason(envelope))
    for first, last in skipped:
        if not 0 <= first <= last <= MAX_SEQ:
            raise PeerError(f"message: skipped has {[first, last]}, expected [first, last]")
    if body.health:
        body_checks.check(bodies.HEALTH, body.health, "message: health")
    if body.samples is not None:
        found = body.samples
        if fault := measurements.fault(found.names, found.series, found.dt, found.values):
            raise PeerError(f"message: {fault}")
    day = int(t // days.DAY_S)
    row = (
        fleet,
        device,
        outbox,
        seq,
        0 if outbox else int(t * 1000),
        day if day in (near or days.near(received)) else days.UNSET,
        t,
        received,
        body.historical,
        rss or None,
        payload,
        skipped,
        body.populations,
        body.delta,
        body.health,
    )
    return tuple.__new__(Telemetry, row)  # its own constructor takes twice as long


def _reason(envelope: _Envelope) -> str:
    """Return what is wrong with a message that breaks one of `telemetry`'s rules."""
    body, seq, t = envelope.body, envelope.seq, envelope.t
    if envelope.v != messages.VERSION:
        return f"message: v is {envelope.v}, expected {messages.VERSION}"
    if not 0 <= seq <= MAX_SEQ:
        return f"message: seq is {seq}, expected 0 to 2**63 - 1"
    if not -MAX_T <= t <= MAX_T:  # NaN neither
        return f"message: t is {t}, expected Unix seconds"
    if not 0 <= body.rss <= MAX_SEQ:
        return f"message: rss is {body.rss}, expected bytes"
    return f"message: outbox has {body.outbox[:40]!r}, expected at most {MAX_NAME} characters"


def learned(fleet: str, device: str, payload: bytes, received: float) -> Learned:
    """Return what a message on ``up/learned`` says.

    Raises
    ------
    PeerError
        It breaks the protocol; the message says where.
    """
    from edge_agent.wire import learned as wire  # numpy: a fleet that learns nothing does without

    message = messages.decode(payload)
    body = message.body
    body_checks.check(LEARNED, body, "learned")
    outbox = body.get("outbox", "")
    if len(outbox) > MAX_NAME or not outbox.isprintable():
        raise PeerError(f"learned: outbox has {outbox[:40]!r}, expected at most {MAX_NAME} characters")
    skipped = [(first, last) for first, last in body.get("skipped", [])]
    if any(first > last for first, last in skipped):
        raise PeerError(f"learned: skipped has {skipped[:1]}, expected [first, last]")
    piece = wire.from_body(body)
    return Learned(fleet, device, outbox, message.seq, received, skipped, piece, payload)


def named(populations: Populations) -> Populations:
    """Return counters without those whose names no database holds."""
    return {
        name: {key: value for key, value in counters.items() if is_name(key) and math.isfinite(value)}
        for name, counters in populations.items()
        if is_name(name)
    }


def told(health: Health) -> Health:
    """Return health without what no database holds."""
    return {
        key: value
        for key, value in health.items()
        if is_name(key)
        and (
            is_name(value) if isinstance(value, str) else type(value) in (int, float) and math.isfinite(value)
        )
    }
