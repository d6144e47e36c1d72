"""device.toml and board profiles, up to the records of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from unittest.mock import patch

from pydantic import TypeAdapter

from edge_agent.config import checks, profile, records
from edge_agent.config.agent_names import AgentNames
from tests.fuzz.files import ROOT, written

DEVICE = b"""\
commands = ["/bin/true"]
[device]
name = "d"
profile = "pi4b"
[broker]
host = "localhost"
[hub]
keys = ["hub.pub"]
[recorder]
path = "flight"
[[population]]
name = "rooms"
bundle = "rooms.eab"
rate_hz = 1.0
size = 2
agents = "room-{index}"
[[population.observe]]
modality = "co2"
topic = "z/{agent}"
pointer = "/co2"
[[population.act]]
control = "fan"
sink = "command"
command = ["/bin/true", "{value}"]
template = "{value}"
"""


def decode(data: bytes) -> None:
    """After ``P`` a profile, otherwise a device.toml."""
    with patch.object(checks, "TypeAdapter", _adapter):
        if data[:1] == b"P":
            with written(DEVICE, "device.toml") as path:
                path.with_name("board.toml").write_bytes(data[1:])
                found = checks.compile_files(path, "board.toml")
        else:
            with written(data, "device.toml") as path:
                found = checks.compile_files(path, None)
    profile.build(found["profile"])
    for population in records.build(found["config"]).population:
        names = AgentNames.of(population)
        names[len(names) - 1]


@cache
def _adapter(kind: type) -> TypeAdapter[object]:
    return TypeAdapter(kind)


def seed() -> bytes:
    """Return one input that is right."""
    return DEVICE


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield b"P" + (ROOT / "firmware_profiles/pi4b.toml").read_bytes()
