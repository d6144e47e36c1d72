"""A daemon with Home Assistant discovery and a manual clock; see ``home_assistant_rules``."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.errors import PlatformError
from edge_agent.runtime.reporting.home_assistant import SETTLE_S
from edge_agent.wire import discovery
from edge_agent.wire.topics import DeviceTopics
from tests.unit.runtime.home_assistant_rules import DISCOVERY_S, HomeAssistant

MakeHouse = Callable[..., Any]
TOPICS = DeviceTopics("home", "dev")
CONFIG = discovery.topic("ha", TOPICS)


def shown(prefix: str, store: Any = None) -> Callable[[DaemonBuilder], None]:
    return lambda builder: builder.show_home_assistant(prefix, 10.0, store)


class Folder:
    """A state directory in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False

    def save(self, name: str, data: bytes) -> None:
        if self.full:
            raise PlatformError(f"{name}: No space left on device")
        self.files[name] = data

    def load(self, name: str) -> bytes | None:
        return self.files.get(name)


class Home:
    """A Home Assistant and, one after the other, daemons at one broker."""

    def __init__(self, make_house: MakeHouse, prepare_rooms: Callable[..., Any]) -> None:
        self._make, self._prepare = make_house, prepare_rooms
        self.folder = Folder()
        self.home_assistant = HomeAssistant(CONFIG)
        self.retained: dict[str, bytes] = {}
        self.read = 0

    def start(self, *populations: str, prefix: str = "ha") -> Any:
        """Start a daemon with these populations beside ``rooms``."""
        self.read = 0
        self.house = self._make(extend=shown(prefix, self.folder))
        for name in populations:
            config = replace(self.house.group.config, name=name, history_kb=1)
            self.house.populations.change([self._prepare(config)], [])
        self.house.start()
        self.after(0.0)
        return self.house

    def after(self, seconds: float) -> None:
        """Let time pass, and Home Assistant read what was published."""
        end = self.house.clock.monotonic() + seconds
        while True:
            self._listen()
            if self.house.clock.monotonic() >= end:
                return
            self.house.after(min(0.5, end - self.house.clock.monotonic()))

    def stop(self) -> None:
        self.house.daemon.stop()
        self.house.broker.run()
        self._listen()

    def restart_home_assistant(self) -> None:
        """Restart it: the broker gives it what is retained, and when it has dealt with that it is online."""
        self.home_assistant.restart()
        for topic, payload in self.retained.items():
            self.home_assistant.receive(topic, payload, self.house.clock.monotonic())
        self.after(DISCOVERY_S)
        self.house.say("ha/status", b"online")
        self._listen()

    def ids(self, *populations: str) -> set[str]:
        return {id_ for name in ("", *populations) for id_ in discovery.component_ids(TOPICS, name)}

    def _listen(self) -> None:
        for publication in self.house.broker.log[self.read :]:
            if publication.retain and publication.topic.startswith("ha/"):
                self.retained[publication.topic] = publication.payload
            self.home_assistant.receive(publication.topic, publication.payload, self.house.clock.monotonic())
        self.read = len(self.house.broker.log)


@pytest.fixture
def home(make_house: MakeHouse, prepare_rooms: Callable[..., Any]) -> Home:
    return Home(make_house, prepare_rooms)


def test_it_announces_itself_on_every_connect_and_tells_how_it_is(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0, extend=shown("ha"))
    house.start()
    house.after(35.5)
    states = [json.loads(payload) for payload in house.sent(house.topics.state)]
    assert [state["rss"] for state in states] == [123] * 7  # at 0, 1, 3, 7, 15, 25 and 35 s
    assert states[-1]["populations"]["rooms"]["agents"] == 3
    assert states[-1]["populations"]["rooms"]["decisions"] > states[0]["populations"]["rooms"]["decisions"]
    assert len(house.sent(CONFIG)) == 1
    assert house.broker.retained[CONFIG]

    house.broker.stop()
    house.after(60.0)
    house.broker.start()
    house.after(120.0)
    assert len(house.sent(CONFIG)) == 2


def test_an_outage_is_waited_out_and_not_in_a_busy_loop(make_house: MakeHouse) -> None:
    house = make_house(extend=shown("ha"))
    house.start()
    house.after(11.0)
    house.broker.stop()
    house.after(60.0)
    assert house.daemon.run_once() > house.clock.monotonic()


def test_the_first_state_that_is_heard_comes_before_the_interval_has_passed(home: Home) -> None:
    home.start()
    home.after(8.0)
    assert home.home_assistant.registry == home.ids("rooms")
    assert not home.home_assistant.unavailable()


def test_an_orderly_stop_is_said_at_once(home: Home) -> None:
    home.start()
    home.after(30.0)
    home.stop()
    assert home.home_assistant.unavailable() == home.ids("rooms")
    assert not home.home_assistant.problems


def test_state_is_said_again_when_home_assistant_has_started(home: Home) -> None:
    home.start()
    home.after(21.0)  # the next state would come at 35 s
    home.restart_home_assistant()
    home.after(5.0)
    assert not home.home_assistant.unavailable()


def test_a_flood_of_births_is_answered_once_a_second(home: Home) -> None:
    house = home.start()
    house.after(30.0)
    before = len(house.sent(CONFIG))
    for _ in range(50):
        house.say("ha/status", b"online")
        house.after(0.05)
    assert len(house.sent(CONFIG)) - before <= 4
    house.broker.publish("ha/status", b"online", qos=0, retain=True)
    house.say("ha/status", b"offline")


def test_the_sensors_of_a_population_that_is_gone_are_removed_at_once(
    home: Home, prepare_rooms: Callable[..., Any]
) -> None:
    house = home.start()
    home.after(15.0)
    halls = replace(house.populations.groups["rooms"].config, name="halls")
    house.populations.change([prepare_rooms(halls)], [])
    home.after(15.0)
    assert home.home_assistant.registry == home.ids("rooms", "halls")
    house.populations.change([], ["halls"])
    home.after(1.0)
    assert home.home_assistant.registry == home.ids("rooms")
    assert not home.home_assistant.problems


def test_a_population_that_is_gone_after_a_restart_is_removed(home: Home) -> None:
    home.start("halls")
    home.after(30.0)
    home.stop()
    assert home.home_assistant.registry == home.ids("rooms", "halls")
    home.start()
    home.after(SETTLE_S + 5.0)
    assert home.home_assistant.registry == home.ids("rooms")
    assert not home.home_assistant.problems


def test_home_assistant_may_be_down_when_a_population_goes(home: Home) -> None:
    home.start("halls")
    home.after(30.0)
    home.stop()
    known = set(home.home_assistant.registry)
    home.start()
    home.after(60.0)
    home.home_assistant.registry = known  # it slept through all of that
    home.restart_home_assistant()
    home.after(SETTLE_S + 5.0)
    assert home.home_assistant.registry == home.ids("rooms")
    home.restart_home_assistant()  # what is known to be gone is not said for ever
    home.after(SETTLE_S + 5.0)
    assert json.loads(home.retained[CONFIG])["components"].keys() == home.ids("rooms")
    assert not home.home_assistant.problems


def test_a_population_that_comes_back_is_no_longer_gone(home: Home) -> None:
    home.start("halls")
    home.after(5.0)
    home.stop()
    home.start()
    home.after(5.0)  # not removed yet
    home.stop()
    home.start("halls")
    home.after(2 * SETTLE_S)
    assert home.home_assistant.registry == home.ids("rooms", "halls")
    assert not home.home_assistant.unavailable()


def test_the_announcement_is_taken_back_when_the_option_is_taken_out(home: Home) -> None:
    home.start()
    home.after(30.0)
    home.stop()
    house = home.start(prefix="")
    home.after(30.0)
    assert home.retained[CONFIG] == b""
    assert not home.home_assistant.registry
    assert not house.sent(house.topics.state)
    assert len(house.sent(CONFIG)) == 1
    house = home.start(prefix="")  # once is enough
    home.after(30.0)
    assert not house.sent(CONFIG)
    assert not home.home_assistant.problems


def test_a_device_that_moved_leaves_nothing_behind(home: Home) -> None:
    home.start()
    home.after(30.0)
    home.stop()
    house = home.start(prefix="ha/elsewhere")
    home.after(30.0)
    assert house.sent(CONFIG) == [b""]
    assert house.sent(discovery.topic("ha/elsewhere", TOPICS))


def test_more_populations_than_a_broker_takes_are_not_all_shown(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number:060d}" for number in range(120)]
    house = home.start(*names)
    home.after(20.0)
    (payload,) = {*house.sent(CONFIG)[-1:]}
    assert 150_000 < len(payload) < 200_000
    shown = home.home_assistant.registry
    assert home.ids("rooms", *names[:10]) < shown < home.ids("rooms", *names)
    assert not home.home_assistant.unavailable()
    assert len(house.sent(house.topics.state)[-1]) < 100_000
    assert "of 121 populations" in caplog.text


def test_a_disk_that_refuses_does_not_keep_it_from_announcing(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.folder.full = True
    home.start()
    home.after(30.0)
    assert home.home_assistant.registry == home.ids("rooms")
    assert "home-assistant.json: No space left on device" in caplog.text


@pytest.mark.parametrize(
    "record",
    [b"{", b"[]", b"[" * 100_000, b'{"topic": 7}', b'{"populations": [1]}', b'{"stale": {}}', b"\xff"],
)
def test_a_damaged_record_is_said_and_ignored(
    home: Home, record: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    home.folder.files["home-assistant.json"] = record
    home.start()
    home.after(30.0)
    assert home.home_assistant.registry == home.ids("rooms")
    assert "home assistant: home-assistant.json" in caplog.text
