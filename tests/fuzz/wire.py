"""Topics, envelopes and bodies, and the payloads of sensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from edge_agent.engine.binding import Modality
from edge_agent.errors import PeerError
from edge_agent.runtime.population import channels
from edge_agent.wire import bodies, documents, evidence, loan, messages, presence, signatures, topics
from edge_agent.wire.messages import Message

HUB = signatures.SecretKey(bytes(range(32)), "hub")
TRUST = documents.Trust("f", (HUB.public.raw,))
MODALITIES = (Modality("co2", 3, "ppm", (600.0, 1000.0), ()), Modality("door", 2, "", (), ("shut", "open")))
FIELDS = [
    channels.ValueField(channels.parse_pointer(pointer), 0, modality, scale, 0.5)
    for pointer in ("", "/co2", "/a/0")
    for modality in MODALITIES
    for scale in (1.0, 1e300)
]
SCHEMAS = {
    name: schema for name, schema in vars(bodies).items() if name.isupper() and isinstance(schema, dict)
}


def decode(data: bytes) -> None:
    """The first byte says what the rest is: a topic, a sensor's payload, or one of our messages."""
    match data[:1]:
        case b"t":
            topics.parse(data[1:].decode("utf-8", "replace"))
        case b"s":
            document = channels.parse(data[1:])
            if not isinstance(document, channels.Fault):
                for field in FIELDS:
                    field.read(document)
        case _:
            _message(messages.decode(data))


def _message(message: Message) -> None:
    message.expired(1e9)
    body = message.body
    readers: list[Callable[[], Any]] = [
        lambda: presence.from_body(body, message.seq),
        lambda: evidence.from_body(body),
        lambda: loan.from_body(body),
        lambda: channels.parse_array(body, MODALITIES, 2),
        lambda: TRUST.opened(body, documents.DESIRED, bodies.DESIRED),
        lambda: TRUST.rotated(body),
    ]
    readers += [lambda s=schema: bodies.check(s, body, "body") for schema in SCHEMAS.values()]
    for read in readers:
        with suppress(PeerError):
            read()


def seed() -> bytes:
    """Return one input that is right."""
    return b"tedge/v1/f/d/up/birth"


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield b"tedge/v1/f/peer/d/presence"
    yield from (b"s21.5", b"sopen", b'{"co2": 640, "a": [1, true]}', b's{"co2": 640, "a": [1, true]}')
    word = presence.Presence("d", 3, 1, False, ("heat",), presence.Metric(1, 2), 1, 90, 7, (b"12345678",))
    word = replace(word, plan=b"87654321", holds=(b"x" * 8,), accounts=(("e", 1, 2),))
    places = (presence.Place("a/b"), presence.Geographic(1, 2), presence.Hexagon(9))
    for position in places:
        yield _sealed(presence.to_body(presence.Presence("d", 1, 1, position=position)))
    yield _sealed(presence.to_body(word))
    record = evidence.Record(7, 1, 2, b"\xff\x01", 1, "e")
    told = evidence.Evidence(
        (record,), (evidence.HeldTicks(7, "e", 1, 9, 3),), (evidence.Base(7, 1, b"\xff", 0),), (7,)
    )
    yield _sealed(evidence.to_body(told))
    offer = loan.LoanMessage("offer", 1, "a", "b", "p", b"12345678", 9, 9, b"d" * 32, 0, 1, b"x", b"s" * 64)
    yield _sealed(loan.to_body(offer))
    yield _sealed({"obs": bytes(8), "shape": [2, 2], "dtype": "int16"})
    yield _sealed({"obs": bytes(16), "shape": [2, 2], "dtype": "float32"})
    keys = {"fleet": "f", "version": 1, "keys": [HUB.public.raw.hex()], "threshold": 1}
    rotation = documents.signed(keys, documents.KEYS, [HUB])
    desired = {"fleet": "f", "device": "d", "version": 2, "issued": 1.0, "expires": 2.0}
    yield _sealed(documents.signed(desired, documents.DESIRED, [HUB], [rotation]))
    yield _sealed(bodies.birth(True, "d", "0.1", "b", "pi4b", {"p": ("a" * 64, 5)}))


def _sealed(body: messages.Body) -> bytes:
    return messages.encode(Message(body, "id", 1, 1.5e9, 1.6e9))
