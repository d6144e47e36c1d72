"""Series of chosen agents on a manual clock: what is sampled, when, and what is left out."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import Config, DeviceConfig
from edge_agent.config.telemetry_records import FigureConfig, TelemetryConfig
from edge_agent.errors import ConfigError
from edge_agent.protocol.outbox import Outbox, OutboxSettings
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.runtime.assembly import Prepared
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.reporting.agent_samples import AgentSamples
from edge_agent.runtime.reporting.health_figures import BoardHealth
from edge_agent.runtime.reporting.sample_plan import MAX_SERIES, SamplePlan, plan_samples
from edge_agent.testing.memory_outbox import MemoryOutboxStore
from edge_agent.wire import bodies
from edge_agent.wire.messages import decode
from edge_agent.wire.topics import DeviceTopics

MakeHouse = Callable[..., Any]
Prepare = Callable[..., Prepared]
TOPIC = DeviceTopics("home", "dev").telemetry


class Files:
    """Numbers by path, each read once."""

    bins = False

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self.numbers: dict[int, float] = {}

    def read(self) -> Sequence[tuple[int, float]]:
        found, self.numbers = self.numbers, {}
        return list(found.items())

    def close(self) -> None:
        pass


class Watched:
    """A house that sends samples."""

    def __init__(self, make_house: MakeHouse, prepare: Prepare, *sections: TelemetryConfig, **more: Any):
        self.files: list[Files] = []
        self.sections = sections
        self.prepare = prepare
        self.house = make_house(extend=self.extend, step="rate", tick="bundle", rate_hz=1.0, **more)
        self.house.start()

    def read_files(self, paths: Sequence[str], _interval_s: float) -> Files:
        self.files.append(Files(paths))
        return self.files[-1]

    def extend(self, builder: DaemonBuilder) -> None:
        populations = builder.populations
        plan = planned(self.prepare, populations.config, *self.sections)
        arrays = populations.arena.allocate("telemetry", plan.columns)
        assert builder.subscriptions is not None
        self.samples = AgentSamples(plan, arrays, populations, builder.subscriptions, self.read_files)
        outbox = Outbox(OutboxSettings(flush_seconds=1.0), TOPIC, MemoryOutboxStore())
        board = BoardHealth(lambda: 1_234_567_890, lambda: True, 3, "killed")
        builder.publish_telemetry(
            Telemetry(10.0, samples=self.samples.buffer), outbox, board=board, samples=self.samples
        )

    def values(self) -> dict[str, list[float]]:
        """All samples that were sent, by name."""
        found: dict[str, list[float]] = {}
        for payload in self.house.sent(TOPIC):
            body = decode(payload).body
            bodies.check(bodies.TELEMETRY, body, TOPIC)
            if "samples" in body:
                columns = body["samples"]
                count = len(columns["series"]) // 2
                series = struct.unpack(f"<{count}H", columns["series"])
                numbers = struct.unpack(f"<{count}f", columns["values"])
                for place, number in zip(series, numbers, strict=True):
                    found.setdefault(columns["names"][place], []).append(number)
        return found


def planned(prepare: Prepare, config: Config, *sections: TelemetryConfig) -> SamplePlan:
    device = DeviceConfig(name="dev", telemetry_s=10.0)
    whole = Config(device=device, population=config.population, telemetry=sections)
    return plan_samples(whole, [prepare(entry) for entry in config.population], "device.toml")


def section(**keys: Any) -> TelemetryConfig:
    return TelemetryConfig(**{"population": "rooms", "interval_s": 10.0} | keys)


def test_a_reading_is_sent_as_a_number_until_it_is_stale(
    make_house: MakeHouse, prepare_rooms: Prepare
) -> None:
    watched = Watched(make_house, prepare_rooms, section(agents=("room-1",), readings=("co2", "door")))
    house = watched.house
    house.say("z/room-1", b'{"co2": 812.5, "door": 1}')
    house.say("z/room-0", b'{"co2": 400}')  # nobody asked for it
    house.after(45.0)
    assert watched.values() == {"rooms/room-1/reading/co2": [812.5] * 4, "rooms/room-1/reading/door": [1] * 4}
    house.after(60.0)  # stale_s is 60
    assert {name: len(found) for name, found in watched.values().items()} == {
        "rooms/room-1/reading/co2": 6,
        "rooms/room-1/reading/door": 6,
    }
    house.say("z/room-1", b'{"co2": "1100.5"}')
    house.after(11.0)
    assert watched.values()["rooms/room-1/reading/co2"][-1] == 1100.5


def test_an_action_is_its_place_and_none_while_held_safe(
    make_house: MakeHouse, prepare_rooms: Prepare
) -> None:
    watched = Watched(make_house, prepare_rooms, section(actions=("fan",)))
    house = watched.house
    house.say("z/room-2", b'{"co2": 1500}')
    house.after(25.0)
    assert watched.values() == {"rooms/room-2/action/fan": [2.0] * 2}  # the third of off, low, high
    house.after(120.0)
    sent = len(watched.values()["rooms/room-2/action/fan"])
    assert sent <= 7  # safe since the reading was stale
    house.after(50.0)
    assert len(watched.values()["rooms/room-2/action/fan"]) == sent


def test_a_population_that_is_suspended_is_not_sampled(make_house: MakeHouse, prepare_rooms: Prepare) -> None:
    watched = Watched(make_house, prepare_rooms, section(agents=("0",), readings=("co2",)))
    house = watched.house
    house.populations.suspend("rooms", SuspendReason.GOVERNOR)
    house.say("z/room-0", b'{"co2": 700}')
    house.after(30.0)
    assert watched.values() == {}
    house.populations.resume("rooms", SuspendReason.GOVERNOR)
    house.after(11.0)
    assert watched.values() == {"rooms/room-0/reading/co2": [700.0]}


def test_own_figures_come_from_files_and_from_messages_that_agents_read_too(
    make_house: MakeHouse, prepare_rooms: Prepare
) -> None:
    figures = (
        FigureConfig(name="hours", path="/run/{index}", scale=0.5, offset=1.0),
        FigureConfig(name="battery", topic="z/{agent}", pointer="/battery"),
    )
    watched = Watched(make_house, prepare_rooms, section(agents=("room-1", "room-2"), figure=figures))
    house = watched.house
    assert watched.files[0].paths == ["/run/1", "/run/2"]
    watched.files[0].numbers = {1: 8.0}
    house.say("z/room-1", b'{"co2": 700, "battery": 61}')
    house.say("z/room-2", b'{"battery": "low"}')
    house.after(35.0)
    assert watched.values() == {"rooms/room-2/figure/hours": [5.0], "rooms/room-1/figure/battery": [61.0]}
    assert house.group.observations.latest(1)[0] == "600..1000 ppm"
    assert house.status.status()["unknown_topics"] == 0


def test_series_pause_while_the_model_lacks_their_names(
    make_house: MakeHouse, prepare_rooms: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(make_house, prepare_rooms, section(agents=("room-0",), readings=("co2",)))
    house = watched.house
    house.group.names = AgentNames("flat-{index}", 3, "rooms")
    for listener in house.populations.exchanged:
        listener()
    house.say("z/room-0", b'{"co2": 700}')
    house.after(30.0)
    assert watched.values() == {}
    assert house.status.status()["telemetry"]["samples_paused"] == 1
    assert "telemetry[0].agents[0]: found 'room-0', expected an agent like 'flat-0'" in caplog.text


def test_health_is_sent_beside_counters(make_house: MakeHouse, prepare_rooms: Prepare) -> None:
    watched = Watched(make_house, prepare_rooms, section(readings=("co2",)))
    watched.house.after(21.0)
    told = [decode(payload).body.get("health") for payload in watched.house.sent(TOPIC)]
    assert told[0] == {
        "clock_synchronised": 1,
        "outbox_bytes": 0,
        "starts": 3,
        "restart_reason": "killed",
        "disk_free_mb": 1200.0,
    }
    assert told[1:] == [None] * (len(told) - 1)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ([section(readings=("co",))], "telemetry[0].readings[0]: rooms.eab has no modality 'co', expected"),
        ([section(actions=("door",))], "telemetry[0].actions[0]: rooms.eab has no control 'door'"),
        ([section(beliefs=("air=bad",))], "telemetry[0].beliefs[0]: found 'air=bad', expected none of a net"),
        ([section(figures=("free_energy",))], "telemetry[0].figures: found 'free_energy', expected none of"),
        ([section(agents=("hall",), readings=("co2",))], "telemetry[0].agents[0]: found 'hall', expected an"),
        ([section(readings=("co2",))] * 2, "found series 'rooms/room-0/reading/co2' twice"),
        ([section(readings=("co2",), interval_s=0.001)], "found 30000 samples per message, expected at most"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    make_house: MakeHouse, prepare_rooms: Prepare, sections: list[TelemetryConfig], line: str
) -> None:
    config = make_house().config
    with pytest.raises(ConfigError) as caught:
        planned(prepare_rooms, config, *sections)
    assert str(caught.value).startswith("device.toml: telemetry")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_is_a_limit_of_series(make_house: MakeHouse, prepare_rooms: Prepare) -> None:
    config = make_house(size=MAX_SERIES // 2 + 1).config
    with pytest.raises(ConfigError, match=f"found {MAX_SERIES + 2} series, expected at most {MAX_SERIES}"):
        planned(prepare_rooms, config, section(readings=("co2", "door")))
    at_most = make_house(size=MAX_SERIES // 2).config
    plan = planned(prepare_rooms, at_most, section(readings=("co2", "door")))
    assert len(plan.names) == MAX_SERIES
    assert sum(column.nbytes for column in plan.columns) < 64 * 1024
