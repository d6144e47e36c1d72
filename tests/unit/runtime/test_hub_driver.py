"""Requests of the hub, with a manual clock and a broker in memory: tried, committed or rolled back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import PlatformError
from edge_agent.memory.arena import Column
from edge_agent.memory.budget import Plan
from edge_agent.protocol.hub_client import HubClient
from edge_agent.runtime.rollout.bundle_port import Fetched, Verified
from edge_agent.runtime.rollout.command_handlers import CommandTools
from edge_agent.runtime.rollout.configuration_port import Checked
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import blocks, documents, messages, signatures
from edge_agent.wire.blocks import Cut
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message, decode
from edge_agent.wire.topics import DeviceTopics
from tests.support import fan

Make = Callable[..., Any]
TOPICS = DeviceTopics("home", "dev")
SECRET = signatures.generate("hub")
CUT = blocks.cut("a" * 64, "fan", b"x" * 300_000)
HALLS = {"size": 5}
GATES = {"shadow_seconds": 2, "trial_seconds": 2, "steps": 3}


class Disk:
    """Keeps the state, or refuses."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.full = False

    def write(self, state: Mapping[str, Any]) -> None:
        if self.full:
            raise PlatformError("follower.json: No space left on device")
        self.state = dict(state)


class Shop:
    """Verifies what the test prepared, at once."""

    def __init__(self) -> None:
        self.prepared: Any = "golden vectors: agent 0 differs"
        self.unreachable = "no such host"
        self.blocks: dict[int, bytes] = {}
        self.kept: set[str] = set()
        self._news: list[Fetched | Verified] = []

    def write(self, cut: Cut, index: int, data: bytes) -> None:
        self.blocks[index] = data

    def download(self, cut: Cut) -> None:
        self._news.append(Fetched(cut.digest, self.unreachable))

    def verify(self, config: Any, bundle: str, signers: Collection[bytes]) -> None:
        assert set(signers) == {SECRET.public.raw}
        self._news.append(Verified(config.name, bundle, self.prepared))

    def admit(self, name: str, config: Any, bundle: str, signers: Collection[bytes]) -> None:
        assert config == HALLS
        self._news.append(Verified(name, bundle, self.prepared))

    def path(self, bundle: str) -> str:
        return f"/bundles/{bundle}.eab"

    def keep(self, bundles: Collection[str]) -> None:
        self.kept = set(bundles)

    def news(self) -> Sequence[Fetched | Verified]:
        news, self._news = self._news, []
        return news


class Inspector:
    """Checks configurations of the hub, at once: what the test makes of the running one."""

    def __init__(self) -> None:
        self.make: Callable[[Any], Any] = lambda _values: "configuration: refused by the test"
        self._news: list[Checked] = []

    def check(self, digest: str, values: Mapping[str, Any], plan: Plan) -> None:
        made = self.make(values)
        self._news.append(
            Checked(digest, made if isinstance(made, str) else SimpleNamespace(config=made, plan=plan))
        )

    def news(self) -> Sequence[Checked]:
        news, self._news = self._news, []
        return news


class Site:
    """A house whose daemon obeys."""

    def __init__(self, make_house: Make, prepare: Make, disk: Disk | None = None) -> None:
        self.disk, self.shop, self.inspector = disk or Disk(), Shop(), Inspector()
        clock = ManualClock(start=100.0)
        configured = {"rooms": ("digest", 3)}
        trust = Trust("home", (SECRET.public.raw,))
        client = HubClient(
            TOPICS, trust, configured, lambda _cut: set(), random.Random(1), self.disk.state or None
        )
        tools = CommandTools(
            reload=lambda: None,
            recording_file=lambda: None,
            max_rate_hz=100.0,
            send_learned=lambda _name: {},
            log_lines=lambda most: [f"line {n}" for n in range(most)],
            support=SimpleNamespace(begin=lambda _seconds, _answer: None, run_once=lambda: None),
        )
        self.house = make_house(
            step="rate",
            rate_hz=10.0,
            extend=lambda builder: builder.connect_hub(client, self.disk, self.shop, self.inspector, tools),
            clock=clock,
        )
        self.driver = self.house.builder.hub
        self.prepare = lambda: prepare(self.house.config.population[0], digest=CUT.digest)
        self.shop.prepared = self.prepare()
        self.house.start()

    def desire(self, version: int = 1, populations: Any = None, url: str = "", **gates: float) -> None:
        now = self.house.clock.time()
        document = {
            "fleet": "home",
            "device": "dev",
            "version": version,
            "issued": now,
            "expires": now + 1000.0,
            "bundles": {CUT.digest: replace(CUT, url=url).entry()},
            "populations": {"rooms": {"bundle": CUT.digest}} if populations is None else populations,
            "gates": GATES | gates,
        }
        self.say(TOPICS.desired, documents.signed(document, documents.DESIRED, [SECRET]))

    def serve(self) -> None:
        """Send every block."""
        for index in range(len(CUT.blocks)):
            start = index * CUT.block
            body = {"bundle": CUT.digest, "index": index, "data": b"x" * (min(300_000 - start, CUT.block))}
            self.say(TOPICS.block, body)

    def say(self, topic: str, body: dict[str, Any]) -> None:
        self.house.say(topic, messages.encode(Message(body)))

    def reported(self) -> dict[str, Any]:
        self.house.after(1.5)
        body: dict[str, Any] = decode(self.house.broker.retained[TOPICS.reported].payload).body
        return body

    @property
    def running(self) -> str:
        return str(self.house.populations.groups["rooms"].digest)


@pytest.fixture
def site(make_house: Make, prepare_rooms: Make) -> Site:
    return Site(make_house, prepare_rooms)


def test_a_good_bundle_is_shadowed_tried_and_stays(site: Site) -> None:
    site.desire()
    site.serve()
    assert site.running == "digest"
    assert site.house.populations.groups["rooms"].shadow.digest == CUT.digest
    site.house.after(3.0)
    assert site.running == CUT.digest
    assert site.house.populations.groups["rooms"].shadow.digest == "digest"
    site.house.after(3.0)
    assert site.house.populations.groups["rooms"].shadow is None
    assert site.reported()["populations"]["rooms"]["bundle"] == CUT.digest
    assert site.disk.state["active"] == {"rooms": CUT.digest}
    assert site.shop.kept == {CUT.digest}
    birth = decode(site.house.broker.retained[TOPICS.birth].payload).body
    assert birth["populations"]["rooms"]["bundle"] == CUT.digest
    assert site.house.populations.config.population[0].bundle == f"/bundles/{CUT.digest}.eab"


def test_each_stage_is_judged_by_what_happened_in_it(site: Site) -> None:
    site.desire()
    site.serve()
    site.house.after(1.5)
    site.house.populations.groups[
        "rooms"
    ].shadow.model_port.contradictions = 2  # of 60 agent-steps in this stage
    site.house.after(6.0)
    assert site.reported()["rollouts"]["rooms"]["stage"] == "committed"


@pytest.mark.parametrize("stage", ["shadowing", "trial"])
def test_a_bundle_that_does_badly_goes_by_itself(site: Site, stage: str) -> None:
    used = site.house.populations.arena.used
    site.desire()
    site.serve()
    group = site.house.populations.groups["rooms"]
    new = group.shadow.model_port
    if stage == "trial":
        site.house.after(3.0)
        assert group.model_port is new
    new.free_energy = np.full(3, 5.0, np.float32)
    site.house.after(3.0)
    assert site.running == "digest"
    assert group.shadow is None
    rollout = site.reported()["rollouts"]["rooms"]
    assert rollout["stage"] == "rolled-back"
    assert rollout["reason"].startswith(f"{stage}: free_energy_rise")
    assert site.house.populations.arena.used == used
    assert site.shop.kept == set()


def test_a_bundle_that_is_refused_or_does_not_fit_is_told_with_the_reason(site: Site) -> None:
    site.shop.prepared = "golden vectors: agent 0 differs"
    site.desire()
    site.serve()
    assert site.reported()["rollouts"]["rooms"]["reason"] == "golden vectors: agent 0 differs"
    huge = replace(site.prepare(), config=replace(site.house.config.population[0], name="halls"))
    site.shop.prepared = huge
    site.desire(version=2)
    site.serve()
    assert "halls" in site.reported()["rollouts"]["rooms"]["reason"]
    assert site.running == "digest"


def test_nothing_is_obeyed_until_it_is_kept(site: Site) -> None:
    site.disk.full = True
    site.desire()
    site.house.after(7.0)
    assert site.house.sent(TOPICS.fetch) == []
    assert site.house.status.status()["hub"]["unsaved"] >= 1
    site.disk.full = False
    site.house.after(7.0)
    assert len(site.house.sent(TOPICS.fetch)) >= 1
    assert site.disk.state["twin"]["document"]["version"] == 1


def test_a_power_cut_in_the_trial_starts_with_the_old_bundle_and_goes_on(
    site: Site, make_house: Make, prepare_rooms: Make
) -> None:
    site.desire()
    site.serve()
    site.house.after(3.0)
    assert site.running == CUT.digest
    again = Site(make_house, prepare_rooms, site.disk)
    assert again.running == "digest"
    again.serve()
    again.house.after(6.0)
    assert again.running == CUT.digest
    assert again.disk.state["rollouts"]["rooms"]["trials"] == 2


def test_a_population_that_changes_meanwhile_ends_the_rollout(site: Site, prepare_rooms: Make) -> None:
    site.desire()
    site.serve()
    rooms = replace(site.house.config.population[0], seed=7)
    site.house.populations.change([prepare_rooms(rooms)], ["rooms"])
    assert "changed meanwhile" in site.reported()["rollouts"]["rooms"]["reason"]


@pytest.fixture
def halls(site: Site, prepare_rooms: Make) -> dict[str, Any]:
    """Let the shop admit a population ``halls``; return what the hub desires."""
    config = replace(site.house.config.population[0], name="halls", agents="hall-{index}", size=5)
    site.shop.prepared = replace(prepare_rooms(config, digest=CUT.digest), model=fan.model())
    return {"halls": {"bundle": CUT.digest, "config": HALLS}}


def test_a_new_population_is_tried_kept_and_goes_when_it_is_no_longer_desired(
    site: Site, halls: dict[str, Any]
) -> None:
    used, planned = site.house.populations.arena.used, site.house.populations.plan.total
    site.desire(populations=halls)
    site.serve()
    assert site.house.populations.groups["halls"].digest == CUT.digest
    assert "halls" not in site.reported()["populations"]  # on trial
    site.house.after(3.0)
    assert site.reported()["populations"]["halls"] == {"bundle": CUT.digest, "size": 5}
    assert list(site.disk.state["added"]) == ["halls"]
    assert [entry.name for entry in site.house.populations.config.population] == ["rooms", "halls"]
    assert site.house.populations.plan.total > planned
    site.desire(version=2, populations={})
    site.house.after(1.0)
    assert list(site.house.populations.groups) == ["rooms"]
    assert (site.house.populations.arena.used, site.house.populations.plan.total) == (used, planned)
    assert site.reported()["populations"].keys() == {"rooms"}


def test_a_new_population_that_does_badly_goes_again(site: Site, halls: dict[str, Any]) -> None:
    used = site.house.populations.arena.used
    site.desire(populations=halls)
    site.serve()
    site.house.populations.groups["halls"].model_port.contradictions = 1000
    site.house.after(3.0)
    assert list(site.house.populations.groups) == ["rooms"]
    assert site.reported()["rollouts"]["halls"]["reason"].startswith("trial: contradiction_rate")
    assert site.house.populations.arena.used == used
    assert site.disk.state["added"] == {}


@pytest.mark.parametrize("where", ["the next start's plan", "the arena"])
def test_a_new_population_without_room_is_told_with_the_bytes_that_are_missing(
    site: Site, halls: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "the arena":
        arena = site.house.populations.arena
        arena.allocate("ballast", (Column("all", (arena.nbytes - arena.used - 1000,), np.uint8),))
    else:
        monkeypatch.setattr(site.house.populations, "_plan", Plan((), 10))
    site.desire(populations=halls)
    site.serve()
    assert "bytes are missing" in site.reported()["rollouts"]["halls"]["reason"]
    assert list(site.house.populations.groups) == ["rooms"]


def test_a_population_that_is_not_here_and_not_described_is_told(site: Site) -> None:
    site.desire(populations={"halls": {"bundle": CUT.digest}})
    site.serve()
    assert site.reported()["rollouts"]["halls"]["reason"] == (
        "no population 'halls' here, and no config to make one of"
    )


def test_a_disk_that_takes_no_block_ends_the_rollout_with_its_reason(site: Site) -> None:
    def refuse(_cut: Cut, _index: int, _data: bytes) -> None:
        raise PlatformError("bundles: No space left on device")

    site.shop.write = refuse  # type: ignore[method-assign]
    site.desire()
    site.serve()
    assert site.reported()["rollouts"]["rooms"]["reason"] == "bundles: No space left on device"
    assert site.running == "digest"


@pytest.mark.parametrize("unreachable", ["", "no such host"])
def test_a_bundle_with_an_address_is_downloaded_or_else_asked_of_the_hub(
    site: Site, unreachable: str
) -> None:
    site.shop.unreachable = unreachable
    site.desire(url="https://bundles/fan.eab")
    site.house.after(1.0)
    assert bool(site.house.sent(TOPICS.fetch)) == bool(unreachable)
    if unreachable:
        site.serve()
    assert site.house.populations.groups["rooms"].shadow.digest == CUT.digest


def test_a_changed_configuration_is_told_to_the_hub(site: Site, prepare_rooms: Make) -> None:
    rooms = site.house.config.population[0]
    halls = replace(rooms, name="halls", agents="hall-{index}", size=5)
    site.house.populations.change([prepare_rooms(halls)], [])
    expected = {"bundle": "digest", "size": 5}
    assert site.reported()["populations"]["halls"] == expected
    birth = decode(site.house.broker.retained[TOPICS.birth].payload).body
    assert birth["populations"]["halls"] == expected


def test_commands_change_what_they_say_and_nothing_else(site: Site) -> None:
    def command(name: str, **arguments: Any) -> dict[str, Any]:
        id_ = f"{name}-{time.monotonic_ns()}"
        expires = site.house.clock.time() + 60.0
        document = {"fleet": "home", "device": "dev", "id": id_, "name": name, "arguments": arguments}
        signed = documents.signed(document | {"expires": expires}, documents.COMMAND, [SECRET])
        site.say(TOPICS.command, signed)
        (answer,) = site.house.sent(TOPICS.reply(id_))
        body: dict[str, Any] = decode(answer).body
        return body

    ticks = site.house.status.status()["populations"]["rooms"]["ticks"]
    assert command("set-rate", population="rooms", rate_hz=2.0)["result"] == {"rate_hz": 2.0}
    site.house.after(10.0)
    assert site.house.status.status()["populations"]["rooms"]["ticks"] - ticks == 20
    assert "found 'halls'" in command("reset", population="halls")["reason"]
    assert "found 'halls'" in command("set-rate", population="halls", rate_hz=1)["reason"]
    assert "population rooms does not learn" in command("reset-learned")["reason"]
    assert "recorder.path" in command("record", on=True)["reason"]
    assert "expected 1 to 100" in command("replay-window", agent="room-1", last=1000)["reason"]
    assert len(command("replay-window", agent="room-1", last=3)["result"]["tick"]) == 3
    site.house.model.actions[:] = 2
    assert command("reset")["result"] == {"agents": 3}
    assert site.house.model.actions.tolist() == [[0], [0], [0]]


def configure(site: Site, version: int, **gates: float) -> None:
    now = site.house.clock.time()
    document = {"fleet": "home", "device": "dev", "version": version, "issued": now, "expires": now + 1e3}
    document |= {"configuration": {"device": {"telemetry_s": 3.0}}, "gates": GATES | gates}
    site.say(TOPICS.desired, documents.signed(document, documents.DESIRED, [SECRET]))


def lay(site: Site, **act: float) -> None:
    """Let configurations of the hub be accepted: telemetry every 3 s, and other values of the control."""

    def made(_values: Any) -> Any:
        config = site.house.populations.config
        (rooms,) = config.population
        entry = replace(rooms, act=tuple(replace(one, **act) for one in rooms.act))
        return replace(config, device=replace(config.device, telemetry_s=3.0), population=(entry,))

    site.inspector.make = made


def test_a_configuration_is_watched_before_and_on_trial_and_then_kept(site: Site) -> None:
    before = site.house.populations.config
    lay(site, dwell_s=7.0)
    configure(site, 1, shadow_seconds=4, held_rise=2)
    site.house.after(2.0)
    assert site.house.populations.config is before  # nothing has changed while it is watched
    assert not site.driver.reload_waits
    site.house.after(3.5)
    assert site.driver.reload_waits
    assert site.house.populations.config.population[0].act[0].dwell_s == 7.0
    assert site.house.populations.groups["rooms"].config.act[0].dwell_s == 7.0
    reported = site.reported()["configuration"]
    assert (reported["values"], reported["rollout"]["stage"]) == (
        {"device": {"telemetry_s": 3.0}},
        "committed",
    )
    assert site.house.populations.config.device.telemetry_s == 3.0
    assert site.disk.state["configuration"]["values"] == {"device": {"telemetry_s": 3.0}}


def test_a_configuration_that_breaks_a_gate_is_undone(site: Site) -> None:
    before = site.house.populations.config
    lay(site, dwell_s=7.0)
    for room in range(3):
        site.house.say(f"z/room-{room}", b'{"co2": 400}')
    site.house.after(57.0)
    configure(site, 1, shadow_seconds=0, trial_seconds=60)  # and the agents hear nothing in the trial
    site.house.after(5.0)
    reported = site.reported()["configuration"]
    assert reported["rollout"]["reason"].startswith("trial: held_rise")
    assert reported["values"] == {}
    assert site.house.populations.groups["rooms"].config is before.population[0]
    assert site.house.populations.config is before


def test_a_configuration_that_was_changed_meanwhile_is_not_put_back(site: Site) -> None:
    lay(site, dwell_s=7.0)
    configure(site, 1, shadow_seconds=0, trial_seconds=60, held_rise=2)
    site.house.after(2.0)
    assert site.driver.reload_waits
    other = replace(site.house.populations.config, commands=("/bin/true",))
    site.house.populations.configure(other, site.house.populations.plan)
    reported = site.reported()["configuration"]
    assert reported["rollout"]["reason"] == "the configuration was changed meanwhile"
    assert site.house.populations.config is other


def test_a_configuration_that_is_refused_changes_nothing(site: Site) -> None:
    before = site.house.populations.config
    configure(site, 1)
    reported = site.reported()["configuration"]
    assert reported["rollout"]["reason"] == "configuration: refused by the test"
    assert site.house.populations.config is before
