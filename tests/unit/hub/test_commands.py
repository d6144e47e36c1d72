"""An invalid command line is reported in one line, before the broker is contacted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.wire import signatures
from edge_hub.cli import main
from tests.unit.hub.link import HUB, write_bundle

NOWHERE = ["--broker", "127.0.0.1:1"]
"""Asking it would be exit status 1."""
RETIRE = ["retire", "rooms", "--fleet", "f"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle, a key, and files that are not what they should be; we are in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    write_bundle(tmp_path / "b.eab")
    signatures.save(HUB, tmp_path / "hub.key")
    (tmp_path / "bad.toml").write_text("size = ")
    (tmp_path / "named.toml").write_text('name = "rooms"')
    (tmp_path / "dated.toml").write_text("since = 2026-01-01")
    (tmp_path / "agents.toml").write_text('agents = ["a", "b/c"]')
    (tmp_path / "topic.toml").write_text('size = 2\n[[act]]\ncontrol = "fan"\ntopic = "z/{agent}/#"')
    (tmp_path / "heard.toml").write_text('size = 2\n[[observe]]\nmodality = "co2"\ntopic = "z/\\u0000"')
    (tmp_path / "large.toml").write_text(f"size = 2\nseed = {2**64}")
    (tmp_path / "empty").touch(mode=0o600)
    (tmp_path / "open").write_text("guess\n")
    (tmp_path / "open").chmod(0o644)
    return tmp_path


DEPLOY = ["deploy", "b.eab", "--fleet", "f", "--sign", "hub.key"]
COMMAND = ["command", "reset", "--fleet", "f", "--sign", "hub.key"]
KEYS = ["keys", "--fleet", "f"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["deploy", "b.eab", "--sign", "hub.key"], "--fleet: found none, expected the fleet's name"),
        (["deploy", "b.eab", "--fleet", "f"], "--sign: found no key"),
        ([*DEPLOY, "--sign", "none.key"], "none.key: No such file or directory"),
        (["deploy", "none.eab", *DEPLOY[2:]], "none.eab: No such file"),
        ([*DEPLOY, "--canary", "50%,20%"], "--canary: found '50%,20%', expected growing percentages"),
        ([*DEPLOY, "--canary", "half"], "--canary: found 'half'"),
        ([*DEPLOY, "--gate", "steps=many"], "--gate: found 'steps=many', expected NAME=NUMBER"),
        ([*DEPLOY, "--gate", "steps=nan"], "--gate: found 'steps=nan', expected a number of 0 or more"),
        ([*DEPLOY, "--gate", "mised_rate=0"], "--gate: found 'mised_rate=0', expected one of shadow_seconds"),
        ([*DEPLOY, "--new", "bad.toml"], "--population: found none, expected the name of the new one"),
        ([*DEPLOY, "--population", "p", "--new", "none.toml"], "none.toml: No such file"),
        ([*DEPLOY, "--population", "p", "--new", "bad.toml"], "bad.toml: not TOML"),
        ([*DEPLOY, "--population", "p", "--new", "named.toml"], "named.toml: name: found 'rooms'"),
        ([*DEPLOY, "--population", "p", "--new", "dated.toml"], "dated.toml: Object of type date"),
        ([*DEPLOY, "--population", "p/#"], "--population: found 'p/#', expected 1 to 64 letters"),
        ([*DEPLOY, "--population", "p", "--new", "agents.toml"], "agents.toml: agents[1]: found 'b/c'"),
        (
            [*DEPLOY, "--population", "p", "--new", "topic.toml"],
            "topic.toml: act[0].topic: found 'z/{agent}/#'",
        ),
        (
            [*DEPLOY, "--population", "p", "--new", "heard.toml"],
            "heard.toml: observe[0].topic: found 'z/\\x00'",
        ),
        (
            [*DEPLOY, "--population", "p", "--new", "large.toml"],
            "large.toml: config: seed: found an integer of 65 bits",
        ),
        ([*DEPLOY, "--broker", "h:0"], "--broker: found port '0', expected 1 to 65535"),
        (
            [*DEPLOY, "--username", "tom", "--password-file", "empty"],
            "--password-file: empty: empty, expected the password",
        ),
        (
            [*DEPLOY, "--username", "tom", "--password-file", "open"],
            "--password-file: open: mode is 0644, expected 0600",
        ),
        ([*DEPLOY, "--password-file", "open"], "--password-file: found without --username"),
        ([*DEPLOY, "--ca", "empty"], "empty: not a CA certificate"),
        ([*DEPLOY, "--certificate", "hub.crt"], "--certificate, --key: found without --ca"),
        ([*DEPLOY, "--ca", "empty", "--key", "hub.key"], "--key: found without --certificate"),
        (
            [*DEPLOY, "--ca", "empty", "--certificate", "hub.crt", "--key", "open"],
            "open: mode is 0644, expected 0600",
        ),
        ([*DEPLOY, "--ca", "empty", "--certificate", "open"], "open: mode is 0644, expected 0600"),
        (["command", "reset", "--fleet", "f"], "--sign: found no key"),
        ([*COMMAND, "--argument", "rate"], "--argument: found 'rate', expected KEY=JSON"),
        ([*COMMAND, "--argument", "5"], "--argument: found '5', expected KEY=JSON"),
        ([*COMMAND, "--argument", "rate=fast"], "--argument: found 'rate=fast', expected KEY=JSON"),
        ([*RETIRE], "--sign: found no key"),
        ([*KEYS, "rotate", "--new", "hub.key.pub"], "--sign: found no key"),
        ([*KEYS, "rotate", "--sign", "hub.key"], "--new: found no key"),
        ([*KEYS, "send", "--sign", "hub.key"], "the keys of fleet 'f' were never rotated here"),
        (["rollout", "status"], "rollout 'latest': not known here; known: none"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value[-3:]),
)
def test_bad_input_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    given = words if "--broker" in words or words[0] in ("keys", "rollout") else [*words, *NOWHERE]
    assert main(given) == 2
    told = capsys.readouterr().err
    assert told.startswith("edge-hub: ")
    assert message in told
    assert told.count("\n") == 1


def test_a_damaged_rollout_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "edge-hub" / "rollouts"
    folder.mkdir(parents=True)
    for text in ("{", "{}", "[]", '{"members": 5}'):
        (folder / "r1.json").write_text(text)
        assert main(["rollout", "status", "r1"]) == 2
        assert "rollouts/r1.json: not a rollout as it was written" in capsys.readouterr().err


def test_keys_show_says_what_devices_believe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*KEYS, "show"]) == 0
    assert capsys.readouterr().out.startswith("f: never rotated")
    assert main([*KEYS, "rotate", "--sign", "hub.key", "--new", "hub.key.pub"]) == 0
    assert capsys.readouterr().out == f"f: rotation 1: 1 of {HUB.public.fingerprint}\n"
    assert main([*KEYS, "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
