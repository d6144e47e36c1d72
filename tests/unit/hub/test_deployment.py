"""A running rollout on a simulated broker: waves, control, and reverted devices."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge_agent.wire import blocks, bodies, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics, parse
from edge_hub import releases
from edge_hub.block_server import MOST_UNSENT
from edge_hub.connection import Incoming
from edge_hub.deployment import Deployment
from edge_hub.desired import Desired
from edge_hub.hub_folder import HubStore
from edge_hub.rollout import FleetRollout, Member
from edge_hub.tables import fleet_table
from tests.unit.hub.link import HUB, NOW, STRANGER, TOPICS, Link, retained, write_bundle

SECOND = DeviceTopics("f", "pj")


class Desk:
    """A hub's folder with two bundles, a rollout of the new one over two devices that run the old one."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = (write_bundle(folder / f"{name}.eab", name.encode()) for name in ("old", "new"))
        self.store = HubStore(folder / "hub")
        self.store.keep_bundle(folder / "new.eab", self.new)
        self.store.keep_bundle(folder / "old.eab", self.old)
        members = {"pi": Member(), "pj": Member()}
        self.rollout = FleetRollout("id", self.new, "b", "rooms", [["pi"], ["pj"]], members)
        self.link = Link(*(self.reports(topics, self.old) for topics in (TOPICS, SECOND)))
        ours = Desired(self.link, "f", [HUB], [], 60.0)  # type: ignore[arg-type]
        self.deployment = Deployment(self.rollout, self.store, self.link, ours, lambda: NOW)  # type: ignore[arg-type]

    def reports(self, topics: DeviceTopics, digest: str, version: int = 0, **more: Any) -> Incoming:
        body = {"version": version, "populations": {"rooms": {"bundle": digest}}, "rollouts": {}, **more}
        return Incoming(topics.reported, messages.encode(Message(body)), retain=True)

    def run(self, *script: Any) -> list[str]:
        """Work the rollout; after each change of its state the next entry of ``script`` happens."""
        states, todo = [], list(script)

        def changed(rollout: FleetRollout) -> None:
            states.append(rollout.status)
            if todo:
                todo.pop(0)()

        self.deployment.run(changed)
        return states

    def commits(self) -> None:
        version = self.link.document()["version"]
        self.link.waiting.append(self.reports(TOPICS, self.new, version))

    def asks(self, what: str) -> Any:
        return lambda: self.store.request("id", what)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_an_abort_sends_back_who_had_the_new_bundle_and_nobody_else(desk: Desk) -> None:
    assert desk.run(desk.commits, desk.asks("abort"))[-1] == "aborted"
    assert desk.link.document()["populations"] == {"rooms": {"bundle": desk.old}}
    assert [desk.rollout.members[name].state for name in ("pi", "pj")] == ["reverted", "reverted"]


def test_a_pause_begins_no_wave_until_somebody_resumes(desk: Desk) -> None:
    def second_commits() -> None:
        version = desk.link.document(topics=SECOND)["version"]
        desk.link.waiting.append(desk.reports(SECOND, desk.new, version))

    def look() -> None:
        assert SECOND.desired not in desk.link.published
        desk.store.request("id", "resume")

    def pause_and_commit() -> None:
        desk.store.request("id", "pause")
        desk.commits()

    states = desk.run(pause_and_commit, look, second_commits)
    assert (states[1], states[-1]) == ("paused", "done")


@pytest.mark.parametrize("allowed", [True, False])
def test_who_committed_is_sent_back_only_if_the_newest_release_allows_it(desk: Desk, allowed: bool) -> None:
    """A device with release keys refuses anything else, so the hub must not count it as reverted."""
    document = {"fleet": "f", "population": "rooms", "bundle": desk.new, "number": 7, "issued": NOW}
    known = [
        releases.make(document | {"allows": [desk.old] if allowed else []}, [STRANGER]),
        releases.make(document | {"bundle": desk.old, "number": 6}, [STRANGER]),
    ]
    ours = Desired(desk.link, "f", [HUB], [], 60.0, known)  # type: ignore[arg-type]
    desk.deployment = Deployment(desk.rollout, desk.store, desk.link, ours, lambda: NOW)  # type: ignore[arg-type]

    def commits() -> None:
        version = desk.link.document()["version"]
        desk.link.waiting.append(desk.reports(TOPICS, desk.new, version, releases={"rooms": 7}))

    assert desk.run(commits, desk.asks("abort"))[-1] == "aborted"
    member = desk.rollout.members["pi"]
    wanted = desk.link.document()["populations"]["rooms"]["bundle"]
    if allowed:
        assert (member.state, wanted) == ("reverted", desk.old)
    else:
        assert (member.state, wanted) == ("committed", desk.new)
        assert member.reason == f"not sent back: release 7 does not allow bundle {desk.old[:12]}"


def test_a_bundle_that_the_hub_does_not_hold_is_not_sent_back(desk: Desk) -> None:
    desk.store.bundle(desk.old).unlink()
    assert desk.run(desk.commits, desk.asks("abort"))[-1] == "aborted"
    assert desk.link.document()["populations"] == {"rooms": {"bundle": desk.new}}
    assert "the hub does not hold" in desk.rollout.members["pi"].reason


def test_a_device_with_a_forged_document_fails_and_stops_the_rollout(desk: Desk, tmp_path: Path) -> None:
    desk.link.waiting.append(Incoming(TOPICS.desired, retained([STRANGER]), retain=True))
    assert desk.run()[-1] == "stopped"
    assert desk.link.published == {}
    assert "expected a document of --sign's keys" in desk.rollout.members["pi"].reason
    assert json.loads((tmp_path / "hub" / "rollouts" / "id.json").read_text())["status"] == "stopped"


def fetch(**body: Any) -> Incoming:
    return Incoming(TOPICS.fetch, messages.encode(Message(body)), retain=False)


def test_blocks_go_out_for_what_is_held_and_odd_requests_are_counted(desk: Desk) -> None:
    data = desk.store.bundle(desk.new).read_bytes()
    desk.deployment.handle(fetch(bundle=desk.new, blocks=[0]))
    ((topic, payload),) = desk.link.posted
    body = messages.decode(payload).body
    assert (topic, body["index"], body["data"]) == (TOPICS.block, 0, data[: blocks.BLOCK_BYTES])
    desk.deployment.handle(fetch(bundle="f" * 64, blocks=[0]))
    for odd in ({"bundle": "../../etc/passwd", "blocks": [0]}, {"bundle": desk.new, "blocks": [-1]}, {}):
        desk.deployment.handle(fetch(**odd))
    assert (len(desk.link.posted), desk.deployment.fleet.rejected.count) == (1, 3)
    assert desk.deployment.fleet.rejected.last


class Crowd(Desk):
    """Fifty devices, one of them offline; those that are there commit what they are sent."""

    def __init__(self, folder: Path, away: str = "pi-7") -> None:
        super().__init__(folder)
        self.away = away
        self.names = [f"pi-{n}" for n in range(50)]
        members = {name: Member() for name in self.names}
        cut = [self.names[:3], self.names[3:12], self.names[12:]]
        self.rollout = FleetRollout("id", self.new, "b", "rooms", cut, members, max_failures=5)
        self.now = NOW
        self.link = Hall(self)
        self.restart()

    def restart(self) -> None:
        """Begin with what the hub has on its disk and what the broker retains."""
        ours = Desired(self.link, "f", [HUB], [], 60.0)  # type: ignore[arg-type]
        self.deployment = Deployment(self.rollout, self.store, self.link, ours, self.clock)  # type: ignore[arg-type]
        for name in self.names:
            topics = DeviceTopics("f", name)
            born = bodies.birth(name != self.away, name, "1", "b", "p", {"rooms": (self.old, 1)})
            self.link.waiting.append(Incoming(topics.birth, messages.encode(Message(born)), True))
            if name not in self.link.versions:
                self.link.waiting.append(self.reports(topics, self.old))
            elif name != self.away:
                self.link.waiting.append(self.reports(topics, self.new, self.link.versions[name]))

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def returns(self) -> None:
        topics = DeviceTopics("f", self.away)
        born = bodies.birth(True, self.away, "1", "b", "p", {"rooms": (self.old, 1)})
        self.link.waiting.append(Incoming(topics.birth, messages.encode(Message(born)), False))
        self.link.waiting.append(self.reports(topics, self.new, self.link.versions[self.away]))
        self.away = ""

    def count(self, state: str) -> int:
        return sum(member.state == state for member in self.rollout.members.values())


class Hall(Link):
    """The broker of a crowd."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self.crowd = crowd
        self.versions: dict[str, int] = {}

    def begin_publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        super().begin_publish(topic, payload, retain)
        topics = DeviceTopics("f", parse(topic).device)
        document = self.document(topics=topics)
        self.versions[topics.device] = document["version"]
        if topics.device != self.crowd.away:
            digest = document["populations"]["rooms"]["bundle"]
            self.waiting.append(self.crowd.reports(topics, digest, document["version"]))


def test_fifty_devices_of_which_one_is_offline_stay_committed(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path)
    assert crowd.run()[-1] == "done"
    assert (crowd.count("committed"), crowd.count("parked")) == (49, 1)
    assert DeviceTopics("f", "pi-7").desired in crowd.link.published  # retained, for when it returns
    outcomes = crowd.rollout.outcomes()
    assert outcomes["pi-7"] == {
        "state": "parked",
        "reason": "offline when its wave was sent; takes part when it returns",
    }
    assert all(outcome["reason"] for outcome in outcomes.values())


def test_who_was_parked_takes_part_after_the_end_of_the_rollout_too(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path)
    crowd.run()
    crowd.rollout = crowd.store.load("id")
    crowd.restart()
    crowd.returns()
    crowd.rollout.resume()
    assert crowd.run()[-1] == "done"
    assert crowd.count("committed") == 50


def test_a_hub_that_was_killed_keeps_who_is_parked(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path)

    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        crowd.run(lambda: None, kill)
    crowd.rollout = crowd.store.load("id")
    assert crowd.rollout.status == "running"
    crowd.now += 1e6  # the hub was away for days
    crowd.restart()
    assert crowd.run()[-1] == "done"
    assert (crowd.count("committed"), crowd.count("parked")) == (49, 1)


def test_a_paused_rollout_keeps_the_document_of_the_parked_from_ending(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, away="pi-0")
    topics = DeviceTopics("f", "pi-0")
    seen: list[dict[str, Any]] = []

    def pause() -> None:
        seen.append(crowd.link.document(topics=topics))
        crowd.store.request("id", "pause")

    def wait() -> None:
        crowd.now += 40.0  # of the 60 that a document is valid
        crowd.store.request("id", "resume")

    def look() -> None:
        seen.append(crowd.link.document(topics=topics))
        crowd.returns()

    assert crowd.run(pause, wait, look)[-1] == "done"
    first, second = seen
    assert second["version"] > first["version"]
    assert second["expires"] >= first["expires"] + 30.0
    assert second["populations"] == first["populations"] == {"rooms": {"bundle": crowd.new}}
    assert crowd.rollout.members["pi-0"].version == second["version"]
    assert crowd.count("committed") == 50


def test_an_abort_takes_the_document_of_the_parked_back(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, away="pi-0")
    assert crowd.run(crowd.asks("abort"))[-1] == "aborted"
    document = crowd.link.document(topics=DeviceTopics("f", "pi-0"))
    assert document["populations"] == {"rooms": {"bundle": crowd.old}}
    assert crowd.rollout.members["pi-0"].state == "reverted"


def test_blocks_wait_for_a_device_that_asks_faster_than_it_takes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.link, "unsent", lambda _topic: MOST_UNSENT)
    desk.deployment.handle(fetch(bundle=desk.new, blocks=[0]))
    assert desk.link.posted == []


CHANNELS = ("up/birth", "up/reported", "up/fetch", "down/desired")
keys = st.sampled_from(
    ["version", "populations", "rollouts", "refused", "rooms", "bundle", "blocks", "online"]
)
keys |= st.binary(max_size=3) | st.integers(0, 3)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4)
leaves |= st.sampled_from(["a" * 64, "rooms"]) | st.builds(msgpack.Timestamp, st.integers(0, 9), st.just(0))
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4), max_leaves=12
)


@given(st.lists(st.tuples(st.sampled_from(CHANNELS), st.dictionaries(keys, values, max_size=5)), max_size=8))
def test_whatever_one_device_says_the_others_commit(said: list[tuple[str, dict[object, object]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        desk.rollout.waves, desk.rollout.max_failures = [["pi", "pj"]], 1
        desk.rollout.patience = 0.0
        hostile = [
            Incoming(f"edge/v1/f/pj/{channel}", msgpack.packb({"v": 1, "body": body}), retain=True)
            for channel, body in said
        ]
        desk.link.waiting[1:] = hostile
        clock = iter(range(int(NOW), int(NOW) + 1000))
        desk.deployment._now = lambda: float(next(clock))
        desk.deployment.run(lambda _: desk.commits() if TOPICS.desired in desk.link.published else None)
        assert desk.rollout.members["pi"].state == "committed"
        assert desk.deployment.fleet.rejected.unforeseen == 0
        console = Console(file=io.StringIO(), width=200)
        console.print(fleet_table(desk.deployment.fleet, NOW, 200))
        for device in desk.deployment.fleet.devices.values():
            json.dumps(device.row(), allow_nan=False)
