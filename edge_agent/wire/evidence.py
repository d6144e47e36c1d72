"""The body of ``peer/DEVICE/evidence``: likelihood messages in 8 bits, and reports of received ones.

A likelihood over the states of a shared factor travels as quarter-power codes relative to its largest entry,
c = round(255 · (p / p_max)^¼), the engine's codes for beliefs: the range is 2e-10, a step near the maximum
is 1.6 %. A likelihood without a 255 is invalid.

========  ==========================================================================================
key       rows
========  ==========================================================================================
``r``     ``[channel, agent, tick, codes, action]``: evidence; ``action`` only in a controlled channel
``h``     ``[channel, device, agent, newest, bits]``: ticks received of a source; bit i is tick newest - i.
          About the sender itself ``[..., bits, reach]``: ticks of its last ``reach`` that it sent
``n``     channels, not rows: the sender is new in them and requests a base
``b``     ``[channel, tick, codes, action]``: the fused belief after that tick, for a new member
========  ==========================================================================================

A channel is a shared factor; its number is the first 4 bytes of the BLAKE2b digest of its name. The
topic names the author of evidence. A row in ``r`` may name another author as sixth item: it then returns to
that device what the device sent before a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import fields
from edge_agent.wire.messages import Body

TOP = 255
MAX_STATES = 4096
MAX_ROWS = 256
MAX_WINDOW = 64
NO_ACTION = -1
_TICKS = 2**53


@dataclass(frozen=True, slots=True)
class Record:
    """Evidence of one agent at one tick. ``author`` is empty for the sender's own."""

    channel: int
    agent: int
    tick: int
    codes: bytes
    action: int = NO_ACTION
    author: str = ""


@dataclass(frozen=True, slots=True)
class HeldTicks:
    """Which ticks of one source somebody has: bit i of ``bits`` stands for tick ``newest - i``.

    With ``reach`` the source is the sender itself, and the first ``reach`` bits are what it has sent.
    """

    channel: int
    device: str
    agent: int
    newest: int
    bits: int
    reach: int = 0


@dataclass(frozen=True, slots=True)
class Base:
    """A fused belief after ``tick``, in codes: what a member that starts anew begins with."""

    channel: int
    tick: int
    codes: bytes
    action: int = NO_ACTION


@dataclass(frozen=True, slots=True)
class Evidence:
    """One message."""

    records: tuple[Record, ...] = ()
    held_ticks: tuple[HeldTicks, ...] = ()
    bases: tuple[Base, ...] = ()
    newcomer: tuple[int, ...] = ()


def channel_number(name: str) -> int:
    """Return the number of the channel called ``name``: 32 bits, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")


def to_body(evidence: Evidence) -> Body:
    """Return the body of an evidence message."""
    body: Body = {}
    if evidence.records:
        body["r"] = [_record_row(record) for record in evidence.records]
    if evidence.held_ticks:
        body["h"] = [
            [h.channel, h.device, h.agent, h.newest, h.bits, *([h.reach] if h.reach else [])]
            for h in evidence.held_ticks
        ]
    if evidence.bases:
        body["b"] = [[b.channel, b.tick, b.codes, b.action] for b in evidence.bases]
    if evidence.newcomer:
        body["n"] = list(evidence.newcomer)
    return body


def from_body(body: Mapping[Any, Any]) -> Evidence:
    """Return the evidence in a message.

    Raises
    ------
    PeerError
        A row is of another form, or codes are not a likelihood's: no entry is 255.
    """
    return Evidence(
        tuple(_record(item) for item in fields.sequence(body, "r", MAX_ROWS)),
        tuple(_held_ticks(item) for item in fields.sequence(body, "h", MAX_ROWS)),
        tuple(_base(item) for item in fields.sequence(body, "b", MAX_ROWS)),
        tuple(_channel(item) for item in fields.sequence(body, "n", MAX_ROWS)),
    )


def _record_row(record: Record) -> list[Any]:
    row: list[Any] = [record.channel, record.agent, record.tick, record.codes]
    if record.action != NO_ACTION or record.author:
        row.append(record.action)
    if record.author:
        row.append(record.author)
    return row


def _record(item: Any) -> Record:
    channel, agent, tick, codes, *more = fields.row("r", item, 4)
    return Record(
        _channel(channel),
        fields.check_integer("r.agent", agent, 0, 2**31 - 1),
        fields.check_integer("r.tick", tick, 0, _TICKS),
        _codes("r.codes", codes),
        _action("r.action", more),
        fields.check_text("r.author", more[1] if len(more) > 1 else "", 64),
    )


def _held_ticks(item: Any) -> HeldTicks:
    channel, device, agent, newest, bits, *more = fields.row("h", item, 5)
    return HeldTicks(
        _channel(channel),
        fields.check_text("h.device", device, 64),
        fields.check_integer("h.agent", agent, 0, 2**31 - 1),
        fields.check_integer("h.newest", newest, 0, _TICKS),
        fields.check_integer("h.bits", bits, 0, 2**MAX_WINDOW - 1),
        fields.check_integer("h.reach", more[0] if more else 0, 0, MAX_WINDOW),
    )


def _base(item: Any) -> Base:
    channel, tick, codes, *more = fields.row("b", item, 3)
    return Base(
        _channel(channel),
        fields.check_integer("b.tick", tick, 0, _TICKS),
        _codes("b.codes", codes),
        _action("b.action", more),
    )


def _channel(value: Any) -> int:
    return fields.check_integer("channel", value, 0, 2**32 - 1)


def _action(key: str, more: list[Any]) -> int:
    return fields.check_integer(key, more[0] if more else NO_ACTION, NO_ACTION, 2**16)


def _codes(key: str, value: Any) -> bytes:
    codes = fields.check_blob(key, value, 1, MAX_STATES)
    if max(codes) != TOP:
        raise PeerError(f"{key}: the largest is {max(codes)}, expected {TOP}: not a distribution")
    return codes
