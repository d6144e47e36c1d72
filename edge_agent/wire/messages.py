"""The envelope of every message: a msgpack map ``{v, id, seq, t, exp, body}``.

Schema evolution: a reader ignores keys it does not know; a known key never changes its type; a new key has
a default. ``v`` increases only if an old reader could do harm by ignoring new keys.

=======  =======  ======================================================  =======
key      type     meaning                                                 default
=======  =======  ======================================================  =======
``v``    int      envelope version, 1                                     required
``id``   str      unique id of the message (the reply's topic ends in it)  ""
``seq``  int      sequence number of the sender, from 1                   0
``t``    float    Unix time of the sender, seconds                        0.0
``exp``  float    Unix time after which it must be ignored; 0 is never    0.0
``body`` map      content; its schema depends on the topic                required
=======  =======  ======================================================  =======
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgpack

from edge_agent.errors import PeerError
from edge_agent.wire.body_checks import MAX_COUNT, check_plain

VERSION = 1
MAX_BYTES = 256 * 1024
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message, taken out of its envelope."""

    body: Body
    id: str = ""
    seq: int = 0
    t: float = 0.0
    exp: float = 0.0

    def expired(self, now: float) -> bool:
        """Whether the message must be ignored at Unix time ``now`` (seconds)."""
        return self.exp != 0.0 and now > self.exp


def encode(message: Message) -> bytes:
    """Return the payload of ``message``; keys at their default stay out, arrays travel as bytes."""
    fields: Body = {"v": VERSION, "id": message.id, "seq": message.seq, "t": message.t, "exp": message.exp}
    payload: bytes = msgpack.packb(
        {k: value for k, value in fields.items() if value} | {"body": message.body}
    )
    return payload


def decode(payload: bytes | bytearray | memoryview) -> Message:
    """Return the message in ``payload``, its body checked to be plain data.

    Raises
    ------
    PeerError
        As `decode_envelope`, or the body is not plain data (`body_checks.check_plain`).
    """
    message = decode_envelope(payload)
    check_plain(message.body, "message")
    return message


def decode_envelope(payload: bytes | bytearray | memoryview) -> Message:
    """Return the message in ``payload``, its body as it came.

    For readers that take every field of the body through ``wire.fields`` and keep nothing else: walking the
    body first would double what a heartbeat of 64 accounts costs.

    Raises
    ------
    PeerError
        The payload is too long, no msgpack, no map, of another version, or a key has the wrong type or range.
    """
    if len(payload) > MAX_BYTES:
        raise PeerError(f"message: {len(payload)} bytes, at most {MAX_BYTES} expected")
    try:
        fields = msgpack.unpackb(payload, strict_map_key=False)
    except (
        ValueError,
        TypeError,
        msgpack.UnpackException,
        RecursionError,
    ) as error:  # TypeError: a list as key
        raise PeerError(f"message: not msgpack ({type(error).__name__})") from error
    if not isinstance(fields, dict):
        raise PeerError(f"message: found {type(fields).__name__}, expected a map")
    version = fields.get("v")
    if version != VERSION:
        raise PeerError(f"message: v is {version!r}, expected {VERSION}")
    body = _typed(fields, "body", dict, None)
    seq = _typed(fields, "seq", int, 0)
    if not 0 <= seq <= MAX_COUNT:
        raise PeerError(f"message: seq is {seq}, expected 0 to {MAX_COUNT}")
    return Message(
        body=body, id=_typed(fields, "id", str, ""), seq=seq, t=_time(fields, "t"), exp=_time(fields, "exp")
    )


def _time(fields: dict[Any, Any], key: str) -> float:
    value = float(_typed(fields, key, (int, float), 0.0))
    if not math.isfinite(value):
        raise PeerError(f"message: {key} is {value}, expected Unix seconds")
    return value


def _typed(fields: dict[Any, Any], key: str, kind: Any, default: Any) -> Any:
    value = fields.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PeerError(f"message: {key} is {type(value).__name__}, which is not its type")
    return value
