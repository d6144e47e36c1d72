"""Enrolment: what a hub answers to a board, up to the configuration on its disk, and what a board asks.

The first byte says which: an answer as it comes, or a certificate signing request. The hub's other bodies are
in `rest`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from edge_agent.adapters import hub_enrolment
from edge_agent.commands import enrol
from edge_agent.wire import signatures
from edge_hub import enrolment
from tests.fuzz.files import light_bundle
from tests.fuzz.rest import request

URL, CODE = "https://hub", "A" * 16
START = """
[[population]]
name = "rooms"
bundle = "bundles/first.eab"
size = 3
rate_hz = 10
"""


def decode(data: bytes) -> None:
    """Enrol with an answer, or look at a request."""
    if data[:1] == b"q":
        enrolment.public_key(data[1:])
        return

    def ask(url: str, *_rest: object) -> dict[str, object]:
        return hub_enrolment.parsed(url, 200, data[1:])

    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        given = Namespace(url=URL, code=CODE, config=folder / "device.toml", name="d", ca=None, json=False)
        with patch.object(hub_enrolment, "ask", ask), patch.object(enrol, "_output", lambda _: b""):
            enrol.run(given)


def _answer(**more: object) -> bytes:
    found: dict[str, object] = {
        "fleet": "f",
        "device": "d",
        "host": "broker",
        "port": 8883,
        "ca": "",
        "certificate": "",
        "username": "u",
        "password": "p",
        "keys": [signatures.generate("hub").public.line()],
        "release_keys": [],
        "release_threshold": 1,
        "start": START,
        "bundles": {"first.eab": base64.b64encode(light_bundle()).decode()},
    }
    return b"a" + json.dumps(found | more).encode()


def seed() -> bytes:
    """Return one input that is right."""
    return _answer()


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield _answer(start="", bundles={})
    yield _answer(start="a = " + "[" * 5000)
    yield _answer(host="h\n", start="[device]\n")
    yield b"q" + request().encode()
    yield b"q-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"
    yield b"a" + b'{"a":' * 60_000
