"""Devices that a hub has heard before are reported as missing when they are silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_hub import absent
from edge_hub.fleet import Fleet
from edge_hub.hub_folder import HubStore


def heard(*names: str, fleet: str = "f") -> Fleet:
    found = Fleet()
    for name in names:
        born = messages.encode(Message(bodies.birth(True, name, "1", "b", "p", {})))
        found.handle(f"edge/v1/{fleet}/{name}/up/birth", born, 5.0)
    return found


def test_who_was_heard_once_is_missed_until_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = HubStore(tmp_path)
    assert absent.find(store, "b:1", "f", heard("a", "b", "c")) == []
    missing = absent.find(store, "b:1", "f", heard("b", "d"))
    assert missing == [("f", "a"), ("f", "c")]
    absent.warn(missing)
    assert capsys.readouterr().err == "edge-hub: 2 known devices were not heard: f/a, f/c\n"
    assert absent.find(HubStore(tmp_path), "b:1", "+", heard()) == [("f", n) for n in "abcd"]
    assert absent.forget(store, "b:1", "f", "[ac]") == 2
    assert absent.find(store, "b:1", "f", heard("b")) == [("f", "d")]


def test_other_brokers_and_fleets_are_others(tmp_path: Path) -> None:
    store = HubStore(tmp_path)
    absent.find(store, "b:1", "f", heard("a"))
    assert absent.find(store, "[::1]:2/..", "f", heard("b")) == []
    assert absent.find(store, "b:1", "g", heard("b", fleet="g")) == []
    assert absent.find(store, "b:1", "g", heard(fleet="g"), [("f", "x"), ("g", "y")]) == [
        ("g", "b"),
        ("g", "y"),
    ]


@pytest.mark.parametrize("text", ["{", "[]", '{"f": 5}', '{"f": {"a": "x"}}'])
def test_a_damaged_list_is_named(tmp_path: Path, text: str) -> None:
    store = HubStore(tmp_path)
    (tmp_path / "devices" / "b:1.json").write_text(text)
    with pytest.raises(ConfigError, match=r"b:1\.json: not a list of devices"):
        absent.find(store, "b:1", "f", heard("a"))
