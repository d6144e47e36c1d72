"""A daemon that shows itself to Home Assistant, on a manual clock."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edge_agent.commands.compose_daemon import DaemonBuilder
from edge_agent.wire import discovery

MakeHouse = Callable[..., Any]


def shown(prefix: str) -> Callable[[DaemonBuilder], None]:
    return lambda builder: builder.show_home_assistant(prefix, 10.0)


def test_it_announces_itself_on_every_connect_and_tells_how_it_is(make_house: MakeHouse) -> None:
    house = make_house(step="rate", rate_hz=1.0, extend=shown("homeassistant"))
    config = discovery.topic("homeassistant", house.topics)
    house.start()
    house.after(31.0)
    states = [json.loads(payload) for payload in house.sent(house.topics.state)]
    assert [state["rss"] for state in states] == [123] * 4
    assert states[-1]["populations"]["rooms"]["agents"] == 3
    assert states[-1]["populations"]["rooms"]["decisions"] > states[0]["populations"]["rooms"]["decisions"]
    assert len(house.sent(config)) == 1
    assert house.broker.retained[config]

    house.broker.stop()
    house.after(60.0)
    house.broker.start()
    house.after(120.0)
    assert len(house.sent(config)) == 2


def test_an_outage_is_waited_out_and_not_in_a_busy_loop(make_house: MakeHouse) -> None:
    house = make_house(extend=shown("homeassistant"))
    house.start()
    house.after(11.0)
    house.broker.stop()
    house.after(60.0)
    assert house.daemon.turn() > house.clock.monotonic()


def test_the_sensors_of_a_population_that_is_gone_are_removed(
    make_house: MakeHouse, prepare_rooms: Callable[..., Any]
) -> None:
    house = make_house(extend=shown("ha"))
    house.start()
    house.after(11.0)
    halls = replace(house.populations.groups["rooms"].config, name="halls")
    house.populations.change([prepare_rooms(halls)], [])
    house.after(11.0)
    house.populations.change([], ["halls"])
    house.after(11.0)
    first, second, third = (
        json.loads(payload)["components"] for payload in house.sent(discovery.topic("ha", house.topics))
    )
    ids = set(discovery.components(house.topics, "halls"))
    assert second.keys() - first.keys() == ids
    assert {id_ for id_, component in third.items() if component == {"platform": "sensor"}} == ids
