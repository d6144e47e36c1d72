from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.testing.mosquitto import Mosquitto


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    brokers: list[Mosquitto] = []

    def make(*lines: str) -> Mosquitto:
        directory = tmp_path / f"broker{len(brokers)}"
        directory.mkdir()
        brokers.append(Mosquitto(directory, lines))
        brokers[-1].start()
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()
