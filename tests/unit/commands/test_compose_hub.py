"""How ``run`` sets up the link from the configuration."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.commands.compose_hub import connect_hub, join_peers
from edge_agent.config import profile, records
from edge_agent.config.checks import compile_files
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena
from edge_agent.memory.budget import Plan
from edge_agent.runtime.populations import Populations
from edge_agent.services.active_bundles import followed
from edge_agent.services.kept_state import look, open_state
from edge_agent.services.telemetry_outbox import TelemetryOutbox
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import signatures

TEXT = """
[device]
name = "pi"
state_dir = "state"
[broker]
[hub]
outbox_mb = 2
outbox_days = 3
confirm = true
[[population]]
name = "rooms"
bundle = "rooms.eab"
rate_hz = 1.0
size = 2
"""


def test_limits_reach_the_outbox(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(TEXT)
    compiled = compile_files(tmp_path / "device.toml", "zero2w")
    outbox = TelemetryOutbox(records.build(compiled["config"]), lambda: None)
    settings = outbox.outbox.settings
    assert (settings.max_bytes, settings.max_age, settings.confirm) == (2_000_000, 3 * 86_400.0, True)
    outbox.close(0.0, lambda: None)


DAMAGED = (
    *("", "{", "[]", "null", '{"active": 5}', '{"added": []}'),
    '{"active": {}, "added": {"halls": {"name": 5}}}',
)


def test_a_damaged_state_of_what_was_obeyed_leaves_the_configured_bundles(tmp_path: Path) -> None:
    text = TEXT.replace("[hub]", '[hub]\nkeys = ["hub.pub"]').replace('"state"', json.dumps(str(tmp_path)))
    (tmp_path / "device.toml").write_text(text)
    found = records.build(compile_files(tmp_path / "device.toml", "zero2w")["config"])
    for state in DAMAGED:
        (tmp_path / "follower.json").write_text(state)
        assert followed(found, look(found).client or {}) == found, state
        assert (tmp_path / "follower.json").read_text() == state  # who only looks changes nothing


FIRST = """{"name": "halls", "bundle": "halls.eab", "size": 2, "agents": "{population}-{index}", "seed": 0,
"step": "rate", "rate_hz": 1.0, "threads": 1, "priority": 5, "history_kb": 16, "bulk": false, "share": [],
"observe": [{"source": "mqtt", "modality": "co2", "topic": "z/{agent}", "pointer": "/co2", "path": "",
"plugin": "", "scale": 1.0, "offset": 0.0, "stale_s": 60.0, "hold": true}], "act": []}"""
"""A population that the hub added, as a device kept it before there were the keys of later versions."""


def test_populations_that_an_earlier_version_kept_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(TEXT)
    found = records.build(compile_files(tmp_path / "device.toml", "zero2w")["config"])
    rooms, halls = followed(found, {"active": {}, "added": {"halls": json.loads(FIRST)}}).population
    assert rooms == found.population[0]
    assert (halls.name, halls.size, halls.observe[0].pointer) == ("halls", 2, "/co2")
    assert halls.home_assistant is None
    assert (halls.observe[0].availability, halls.observe[0].silence) == ((), "unchanged")


def composed(folder: Path, text: str) -> Any:
    """Return a configuration as ``run`` has it, of a device without populations."""
    (folder / "device.toml").write_text(text.replace('"state"', json.dumps(str(folder / "state"))))
    compiled = compile_files(folder / "device.toml", "zero2w")
    settings = SimpleNamespace(
        config=records.build(compiled["config"]),
        profile=profile.build(compiled["profile"]),
        config_path=folder / "device.toml",
    )
    return SimpleNamespace(settings=settings, prepared=[], state=open_state(settings.config), remote_fault="")


def builder(made: Any) -> DaemonBuilder:
    clock = ManualClock()
    populations = Populations(made.settings.config, Plan((), 1 << 20), Arena(1 << 16))
    return DaemonBuilder(populations, clock, lambda: 1, client=MemoryBroker(clock).client("pi"))


def follow(made: Any) -> Any:
    built = builder(made)
    connect_hub(built, made, lambda: None, lambda: None, lambda: None, lambda _values, _base: made)
    return built.hub


def join(made: Any) -> Any:
    built = builder(made)
    join_peers(built, made, lambda: None)
    return built.peers


def test_a_hub_is_obeyed_only_where_it_can_be_kept_what_was_obeyed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signatures.save(signatures.generate("hub"), tmp_path / "hub")
    text = TEXT.replace("[hub]", f'[hub]\nkeys = ["{tmp_path}/hub.pub"]')
    (tmp_path / "state").write_text("a file where a folder should be")
    assert follow(composed(tmp_path, text)) is None
    assert "documents and commands of the hub are ignored" in caplog.text
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "follower.json").write_text('{"twin": 5}')
    assert follow(composed(tmp_path, text)) is not None
    assert "follower.json: the hub's state is not what was kept" in caplog.text
    assert "set aside as follower.json.damaged" in caplog.text
    assert (tmp_path / "state" / "follower.json.damaged").read_text() == '{"twin": 5}'
    assert follow(composed(tmp_path, TEXT)) is None  # without keys nobody is obeyed
    with pytest.raises(ConfigError, match=r"none\.pub: No such file"):
        follow(composed(tmp_path, text.replace("hub.pub", "none.pub")))


def test_keys_of_peers_are_read_at_the_start(tmp_path: Path) -> None:
    signatures.save(signatures.generate("pi"), tmp_path / "pi")
    peers = f'[peers]\nkey_file = "{tmp_path}/pi"\nkeys = {{ east = "{tmp_path}/pi.pub" }}\n'
    text = TEXT.replace("[hub]", peers + "[hub]")
    assert join(composed(tmp_path, text)) is not None
    assert join(composed(tmp_path, TEXT)) is None
    (tmp_path / "pi").chmod(0o644)
    with pytest.raises(ConfigError, match="pi: mode is 0644, expected 0600"):
        join(composed(tmp_path, text))
