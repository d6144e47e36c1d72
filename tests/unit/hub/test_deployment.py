"""A rollout at work, on a broker that tells what a test wants: waves, steering, and what is sent back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire import blocks, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.connection import Incoming
from edge_hub.deployment import Deployment
from edge_hub.desired import Desired
from edge_hub.hub_folder import HubStore
from edge_hub.rollout import FleetRollout, Member
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
    desk.deployment.take(fetch(bundle=desk.new, blocks=[0]))
    ((topic, payload),) = desk.link.posted
    body = messages.decode(payload).body
    assert (topic, body["index"], body["data"]) == (TOPICS.block, 0, data[: blocks.BLOCK_BYTES])
    desk.deployment.take(fetch(bundle="f" * 64, blocks=[0]))
    for odd in ({"bundle": "../../etc/passwd", "blocks": [0]}, {"bundle": desk.new, "blocks": [-1]}, {}):
        desk.deployment.take(fetch(**odd))
    assert (len(desk.link.posted), desk.deployment.fleet.bad) == (1, 3)
    assert desk.deployment.fleet.last_bad
