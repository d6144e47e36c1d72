"""Whatever happens to the files of what was obeyed: the version in force never goes back unnoticed."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.adapters import starts
from edge_agent.adapters.hub_state import BUNDLES, FLOOR, STATE, HubState
from edge_agent.adapters.starts import FILE, LIMIT, UP_S, StartCount
from edge_agent.errors import PlatformError
from edge_agent.protocol.twin import Floor
from edge_agent.wire.releases import Released

OWNER = "f/d"


def state(version: int, trust: int = 0, owner: str = OWNER) -> dict[str, Any]:
    fleet, device = owner.split("/")
    document = {"fleet": fleet, "device": device, "version": version} if version else None
    return {"owner": owner, "twin": {"trust": {"version": trust}, "document": document}}


LOSSES = ("delete", "cut", "empty", "garbage", "list", "other")


def lose(path: Path, how: str, at: int) -> None:
    """Do to a file what a bad card does."""
    if not path.exists():
        return
    data = path.read_bytes()
    if how == "delete":
        path.unlink()
    else:
        other = {"empty": b"", "garbage": os.urandom(20), "list": b"[1]", "other": b'{"version": "8"}'}
        path.write_bytes(data[: at % len(data)] if how == "cut" else other[how])


STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 50), st.integers(0, 3)),
    st.tuples(st.sampled_from([STATE, FLOOR]), st.sampled_from(LOSSES), st.integers(0, 10**6)),
    st.tuples(st.just("power cut between the two"), st.integers(1, 50), st.integers(0, 3)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_the_floor_never_sinks_while_one_of_the_two_files_is_left(story: list[tuple[Any, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / BUNDLES).mkdir()
        files = HubState(path, OWNER)
        files.read()
        highest, lost = Floor(), set()
        for step in story:
            if step[0] == "write":
                files.write(state(step[1], step[2]))  # 0: without a document, as after a loss
                highest = highest.raised(Floor(step[1], step[2]))
                lost = set()
                continue
            if step[0] == "power cut between the two":
                old = (path / STATE).read_bytes() if (path / STATE).exists() else b"{}"
                files.write(state(step[1], step[2]))
                (path / STATE).write_bytes(old)
            else:
                lose(path / step[0], step[1], step[2])
                lost.add(step[0])
            files = HubState(path, OWNER)
            kept = files.read()
            if lost >= {STATE, FLOOR}:
                highest, lost = kept.floor, set()  # both are gone: begun anew, which was said
                continue
            assert kept.floor.version >= highest.version
            assert kept.floor.trust >= highest.trust
            if step[0] == FLOOR:
                lost = set()  # it was made good from the other


@pytest.mark.parametrize("how", LOSSES)
def test_a_state_that_is_lost_is_said_and_the_floor_stays(tmp_path: Path, how: str) -> None:
    (tmp_path / BUNDLES).mkdir()
    HubState(tmp_path, OWNER).write(state(8, 2))
    lose(tmp_path / STATE, how, 40)
    kept = HubState(tmp_path, OWNER).read()
    if how == "other":
        assert kept.state == {
            "version": "8"
        }  # whether it is a hub_client's state is for the hub_client to say
    else:
        assert kept.state is None
        (line,) = kept.lost
        assert line.startswith("follower.json: ")
    assert kept.floor == Floor(8, 2)
    again = HubState(tmp_path, OWNER).read()
    assert again.floor == Floor(8, 2)


def test_a_floor_that_is_lost_is_made_good_and_said_if_it_was_damaged(tmp_path: Path) -> None:
    HubState(tmp_path, OWNER).write(state(8))
    (tmp_path / FLOOR).write_text("{")
    kept = HubState(tmp_path, OWNER).read()
    assert kept.floor == Floor(8)
    assert kept.lost == ("follower.floor.json: damaged; set aside as follower.floor.json.damaged",)
    (tmp_path / STATE).unlink()
    assert HubState(tmp_path, OWNER).read().floor == Floor(8)


def test_both_gone_is_said_and_a_first_start_says_nothing(tmp_path: Path) -> None:
    assert HubState(tmp_path, OWNER).read().lost == ()
    (tmp_path / BUNDLES).mkdir()
    assert HubState(tmp_path, OWNER).read().lost == ()  # started before, never told anything
    HubState(tmp_path, OWNER).write(state(8))
    for name in (STATE, FLOOR):
        (tmp_path / name).write_text("{")
    kept = HubState(tmp_path, OWNER).read()
    assert [line.split(":")[0] for line in kept.lost] == [STATE, FLOOR]
    HubState(tmp_path, OWNER).write(state(8))
    for name in (STATE, FLOOR):
        (tmp_path / name).unlink()
    (line,) = HubState(tmp_path, OWNER).read().lost
    assert "missing; an old document could be taken over again" in line


def test_files_of_another_device_are_not_ours(tmp_path: Path) -> None:
    HubState(tmp_path, "f/other").write(state(8, owner="f/other"))
    kept = HubState(tmp_path, OWNER).read()
    assert (kept.state, kept.floor) == (None, Floor())
    assert "follower.json: kept by 'f/other', expected 'f/d'" in kept.lost[0]
    assert "not a floor of this device" in kept.lost[1]
    unnamed = state(8, owner="f/other")
    del unnamed["owner"]  # as older versions kept it
    (tmp_path / STATE).write_text(json.dumps(unnamed))
    assert "kept by 'f/other'" in HubState(tmp_path, OWNER).read().lost[0]


def test_nothing_that_is_set_aside_replaces_what_was(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / STATE).write_text(f"[{number}]")
        HubState(tmp_path, OWNER).read()
    names = [f"{STATE}.damaged", f"{STATE}.damaged.1", f"{STATE}.damaged.2"]
    assert [(tmp_path / name).read_text() for name in names] == ["[0]", "[1]", "[2]"]


def test_what_is_refused_is_refused_again_when_it_comes_back(tmp_path: Path) -> None:
    files = HubState(tmp_path, OWNER)
    files.write(state(8))
    kept = files.refuse("3 starts with it failed", above=state(8))
    assert kept.floor == Floor(9)
    assert HubState(tmp_path, OWNER).read().floor == Floor(9)


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="file"):
        HubState(tmp_path / "file" / "x", OWNER).write(state(1))
    files = HubState(tmp_path, OWNER)
    (tmp_path / f".{FLOOR}.new").mkdir()  # no file can be written there
    with pytest.raises(PlatformError, match="Is a directory"):
        files.write(state(5))
    assert not (tmp_path / STATE).exists()  # nothing that the floor does not cover
    (tmp_path / f".{FLOOR}.new").rmdir()
    files.write(state(5))
    assert HubState(tmp_path, OWNER).read().floor == Floor(5)


def count(folder: Path, boot: str = "board 1") -> StartCount:
    return StartCount(folder, boot)


def test_three_failed_starts_are_too_many_and_then_it_counts_anew(tmp_path: Path) -> None:
    found = [count(tmp_path).begin() for _ in range(2 * LIMIT + 1)]
    assert found == [False, False, False, True, False, False, True]


def test_a_start_that_came_up_or_ended_in_good_order_did_not_fail(tmp_path: Path) -> None:
    for _ in range(LIMIT + 1):
        start = count(tmp_path)
        assert not start.begin()
        start.end()
    for _ in range(LIMIT + 1):
        start = count(tmp_path)
        assert not start.begin()
        for online, now in ((False, 0.0), (True, 100.0), (False, 100.0 + UP_S)):
            start.loop_ran(online, now)
    assert json.loads((tmp_path / FILE).read_text()) == {"failed": 0, "starting": None}


def test_not_connected_is_failed_however_long_it_ran(tmp_path: Path) -> None:
    for expected in [*[False] * LIMIT, True]:
        start = count(tmp_path)
        assert start.begin() == expected
        start.loop_ran(False, 0.0)
        start.loop_ran(False, 1e6)


def test_an_exception_soon_after_the_connection_is_a_failed_start_and_a_kill_is_not(tmp_path: Path) -> None:
    for fails in (True, True, False, False, True):
        start = count(tmp_path)
        assert not start.begin()
        start.loop_ran(True, 5.0)
        start.loop_ran(True, 5.0 + UP_S / 2)
        if fails:
            start.fail()
    assert count(tmp_path).begin()


def test_an_exception_later_is_no_failed_start(tmp_path: Path) -> None:
    for _ in range(LIMIT + 1):
        start = count(tmp_path)
        assert not start.begin()
        start.loop_ran(True, 5.0)
        start.loop_ran(True, 5.0 + UP_S)
        start.fail()


def test_a_board_that_lost_its_power_says_nothing_about_the_daemon(tmp_path: Path) -> None:
    for boot in range(3 * LIMIT):
        assert not count(tmp_path, f"board {boot}").begin()
    assert not count(tmp_path, f"board {boot}").begin()
    assert count(tmp_path, f"board {boot}").failed == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"failed": "x"}', '{"failed": -1, "starting": "board 1"}'])
def test_a_damaged_note_counts_from_the_beginning(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert [count(tmp_path).begin() for _ in range(LIMIT + 1)] == [*[False] * LIMIT, True]


def test_a_disk_that_refuses_the_note_keeps_nobody_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    start = count(tmp_path / "file")
    assert not start.begin()
    start.end()
    assert "starts: " in caplog.text


def test_a_board_without_a_name_for_its_start_counts_all(tmp_path: Path) -> None:
    assert starts.board_boot(tmp_path / "none") == ""
    assert starts.board_boot()
    assert [count(tmp_path, "").begin() for _ in range(LIMIT + 1)] == [*[False] * LIMIT, True]


def test_the_newest_releases_outlive_the_state(tmp_path: Path) -> None:
    released = {"climate": {"number": 7, "bundles": ["a" * 64, "b" * 64], "config": ""}}
    files = HubState(tmp_path, OWNER)
    files.write({"twin": {"trust": {"version": 1}, "document": None, "releases": released}})
    (tmp_path / STATE).unlink()
    kept = HubState(tmp_path, OWNER).read()
    assert kept.floor.releases == {"climate": Released(7, ("a" * 64, "b" * 64))}
    files = HubState(tmp_path, OWNER)
    files.read()
    files.write({"twin": {"trust": {"version": 1}, "document": None}})
    assert HubState(tmp_path, OWNER).read().floor.releases["climate"].number == 7
    floor = {"owner": OWNER, "version": 1, "trust": 1, "releases": {"x": 1}}
    (tmp_path / FLOOR).write_text(json.dumps(floor))
    (line,) = HubState(tmp_path, OWNER).read().lost
    assert line.startswith(f"{FLOOR}: not a floor of this device")
