"""Rotation of the hub's keys on running daemons: signed by the old keys, with a threshold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import signatures
from tests.broker.lab import Lab, last_line, wait_for
from tests.support import fan

pytestmark = pytest.mark.broker


def key(lab: Lab, name: str) -> Path:
    path = lab.folder / name
    signatures.save(signatures.generate(name), path)
    return path


def keys(lab: Lab, capsys: Any, action: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    status = lab.hub("keys", action, "--state", str(lab.folder / "hub"), "--json", "--wait", "0.5", *words)
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_new_key_signed_by_the_old_one_takes_its_place_for_good(lab: Lab, capsys: Any) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    new = key(lab, "new.key")
    rotated, (row,) = keys(lab, capsys, "rotate", "--sign", str(lab.key), "--new", f"{new}.pub")
    assert (rotated, row["version"], row["threshold"]) == (0, 1, 1)
    assert keys(lab, capsys, "send", "--sign", str(lab.key))[0] == 2  # the old one signs nothing any more
    assert keys(lab, capsys, "send", "--sign", str(new)) == (0, [{"device": "pi", "trust": 1, "ok": True}])

    lab.kill("pi")
    lab.boot("pi")  # configured with the old key
    wait_for(lab, capsys, 1)
    words = ("--json", "--wait", "0.3", "--answers", "3")
    assert lab.hub("command", "status", "--sign", str(lab.key), *words) == 1
    assert lab.hub("command", "status", "--sign", str(new), *words) == 0
    assert lab.deploy(lab.bundle("old", fan.model(fan.SEEN, 1.5)), keys=[new]) == 1
    assert "not signed by a key of the hub" in next(iter(last_line(capsys)["failures"].values()))


def test_with_a_threshold_one_key_alone_is_a_stranger(lab: Lab, capsys: Any) -> None:
    second = key(lab, "second.key")
    lab.believed.append(Path(f"{second}.pub"))
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    words = ["command", "status", "--json", "--wait", "0.3", "--answers", "3"]
    assert lab.hub(*words, "--sign", str(lab.key)) == 1
    assert lab.hub(*words, "--sign", str(lab.key), "--sign", str(second)) == 0
