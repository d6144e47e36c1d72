"""Release and director keys at work: releases made offline, one key becomes two, each role is rotated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import bundle
from edge_hub.cli import main
from tests.broker.lab import Lab, last_line, rows, wait_for
from tests.broker.test_compromised_hub import key
from tests.broker.test_keys import keys
from tests.broker.test_new_population import halls
from tests.support import fan

pytestmark = pytest.mark.broker


def sign(path: Path, release_key: Path, *more: str, population: str = "rooms") -> list[str]:
    """Release a bundle as the owner of the release key does; return the options for a deployment."""
    words = ["--fleet", "lab", "--population", population, "--sign", str(release_key)]
    assert main(["sign", str(path), *words, *more]) == 0
    return ["--release", str(path.with_suffix(".release"))]


def failure(capsys: Any) -> str:
    (reason,) = last_line(capsys)["failures"].values()
    return str(reason)


def test_what_was_released_is_deployed_and_nothing_else(lab: Lab, capsys: Any) -> None:
    release = key(lab, "release.key")
    lab.hub_lines = f"release_keys = {[f'{release}.pub']}"
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    first, second = (lab.bundle(f"b{n}", fan.model(fan.SEEN, 1.0 + n / 10)) for n in (1, 2))
    assert lab.deploy(first) == 1
    assert "refused: desired: populations.rooms: bundle" in failure(capsys)
    assert lab.deploy(first, *sign(first, release)) == 0
    assert lab.deploy(second, *sign(second, release, "--allow", str(first))) == 0
    assert lab.deploy(first) == 0  # the newest release allows it
    capsys.readouterr()
    assert lab.deploy(first, *sign(second, release)) == 2
    assert f"bundle: found '{bundle.read(second).digest}'" in capsys.readouterr().err

    made = lab.bundle("halls", fan.model(fan.SEEN, 1.2))
    new = halls(lab)
    for attempt in (lambda: lab.deploy(made, *new), lambda: lab.deploy(made, *new, *sign(made, release))):
        capsys.readouterr()
        assert attempt() != 0  # no release at all, and one for another population
    options = sign(made, release, "--new", new[-1], population="halls")
    assert lab.deploy(made, *new, *options) == 0
    assert rows(lab, capsys)["pi"]["agents"] == 3 + 2


def test_one_key_becomes_two_and_each_role_is_rotated(lab: Lab, capsys: Any) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    director, next_director = key(lab, "director.key"), key(lab, "director2.key")
    release, next_release = key(lab, "release.key"), key(lab, "release2.key")
    first, second, third = (lab.bundle(f"b{n}", fan.model(fan.SEEN, 1.0 + n / 10)) for n in (1, 2, 3))
    assert lab.deploy(first) == 0  # by the one key that has both roles

    words = ["--sign", str(lab.key), "--new", f"{director}.pub", "--new-release", f"{release}.pub"]
    status, (row,) = keys(lab, capsys, "rotate", *words)
    assert (status, row["version"], len(row["keys"]), len(row["release_keys"])) == (0, 1, 1, 1)
    assert keys(lab, capsys, "send", "--sign", str(director)) == (
        0,
        [{"device": "pi", "trust": 1, "ok": True}],
    )
    assert lab.deploy(second, keys=[director]) == 1
    assert "has no release by the release keys" in failure(capsys)
    assert lab.deploy(second, *sign(second, release), keys=[director]) == 0

    # The director's key rotates nothing; the release key rotates either role, and keeps the other.
    assert keys(lab, capsys, "rotate", "--sign", str(director), "--new", f"{next_director}.pub")[0] == 2
    assert keys(lab, capsys, "rotate", "--sign", str(release), "--new", f"{release}.pub")[0] == 2
    status, (row,) = keys(lab, capsys, "rotate", "--sign", str(release), "--new", f"{next_director}.pub")
    assert (status, row["version"], len(row["release_keys"])) == (0, 2, 1)
    status, (row,) = keys(
        lab, capsys, "rotate", "--sign", str(release), "--new-release", f"{next_release}.pub"
    )
    assert (status, row["version"]) == (0, 3)
    assert keys(lab, capsys, "send", "--sign", str(next_director))[0] == 0

    lab.kill("pi")
    lab.boot("pi")  # configured with the first key alone
    wait_for(lab, capsys, 1)
    assert lab.deploy(third, *sign(third, release), keys=[next_director]) == 1
    assert "is not of release" in failure(capsys)
    assert lab.deploy(third, *sign(third, next_release), keys=[next_director]) == 0
    assert lab.deploy(third, keys=[director]) == 2


def test_a_fleet_that_was_configured_with_two_keys_rotates_its_director(lab: Lab, capsys: Any) -> None:
    release, director = key(lab, "release.key"), key(lab, "director2.key")
    lab.hub_lines = f"release_keys = {[f'{release}.pub']}"
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    first, second = (lab.bundle(f"b{n}", fan.model(fan.SEEN, 1.0 + n / 10)) for n in (1, 2))
    assert lab.deploy(first, *sign(first, release)) == 0
    old = ["--old", str(lab.public), "--new-release", f"{release}.pub"]
    assert keys(lab, capsys, "rotate", "--sign", str(release), "--new", f"{director}.pub", *old)[0] == 0
    assert keys(lab, capsys, "send", "--sign", str(director)) == (
        0,
        [{"device": "pi", "trust": 1, "ok": True}],
    )
    assert lab.deploy(second, *sign(second, release), keys=[director]) == 0


def test_two_people_release_together(lab: Lab, capsys: Any) -> None:
    one, two = key(lab, "one.key"), key(lab, "two.key")
    lab.hub_lines = f"release_keys = {[f'{one}.pub', f'{two}.pub']}\nrelease_threshold = 2"
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    made = lab.bundle("b1", fan.model(fan.SEEN, 1.1))
    options = sign(made, one)
    assert lab.deploy(made, *options) == 1
    assert "1 of the 2 signatures needed are by release keys" in failure(capsys)
    capsys.readouterr()
    assert main(["sign", options[1], "--sign", str(two), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signatures"] == 2
    assert lab.deploy(made, *options) == 0
