"""Bundles: whole containers, and valid containers with invalid content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgpack

from edge_agent import Model
from edge_agent.engine import golden
from edge_agent.wire import bundle
from edge_agent.wire.bundle_kinds import GOLDEN
from tests.fuzz.files import light, written

MANIFEST = {
    "name": "light",
    "version": "1",
    "kind": "pomdp",
    "created": 0,
    "source_sha256": "",
    "io": {"modalities": [{"name": "lux"}]},
    "memory": {},
    "evaluation": {},
    "requires": {},
}


def decode(data: bytes) -> None:
    """A bundle's bytes; or after ``E`` a msgpack map of entries, which are put into a bundle."""
    if data[:1] == b"E":
        try:
            entries = msgpack.unpackb(data[1:])
        except (ValueError, msgpack.UnpackException):
            return
        if not _names(entries):
            return
        with written(b"", "fuzzed.eab") as path:
            bundle.write(path, MANIFEST, entries)
            Model.from_bundle(bundle.read(path))
    else:
        with written(data, "fuzzed.eab") as path:
            Model.from_bundle(bundle.read(path))


def _names(entries: object) -> bool:
    return isinstance(entries, dict) and all(
        isinstance(name, str) and name.isprintable() and isinstance(content, bytes)
        for name, content in entries.items()
    )


def _entries() -> dict[str, bytes]:
    return light().entries() | {GOLDEN: golden.make(light())}


def _file(path: Path) -> bytes:
    bundle.write(path, MANIFEST, _entries())
    return path.read_bytes()


def seed() -> bytes:
    """Return one input that is right."""
    with written(b"", "light.eab") as path:
        return _file(path)


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield b"E" + msgpack.packb(_entries())
    yield b"E" + msgpack.packb({name: data for name, data in _entries().items() if name != GOLDEN})
