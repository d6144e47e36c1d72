"""The log about the broker: one line per change, regardless of the number of attempts."""

from __future__ import annotations

import logging
import random

import pytest

from edge_agent.protocol.ports import Acked, Connected, Disconnected, Publication
from edge_agent.protocol.session import Send, Session, SessionSettings
from edge_agent.runtime.reporting.connection_log import MAX_REASONS, STEADY_S, ConnectionLog


class Bench:
    """A session that events are given to by hand."""

    def __init__(self) -> None:
        birth = Publication("birth", b"")
        self.session = Session(SessionSettings(backoff_cap=1.0), lambda _: birth, [], random.Random(0))
        self.log = ConnectionLog(self.session, "house:1883")
        self.now = 0.0
        self.session.start(self.now)

    def happens(self, event: Connected | Disconnected) -> None:
        for effect in self.session.handle(event, self.now):
            if isinstance(effect, Send):
                self.session.handle(Acked(effect.token), self.now)
        self.wait(0.0)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.session.tick(self.now)
        self.log.update(self.now)


@pytest.fixture
def bench(caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.INFO, "edge_agent")
    return Bench()


CONNECTED = "broker: house:1883: connected (MQTT 5)"
DOWN = "broker: house:1883: Connection refused; trying again"


def test_a_broker_that_is_down_for_long_is_one_line(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        bench.happens(Disconnected("house:1883: Connection refused"))
        bench.wait(2.0)
    assert caplog.messages == [DOWN]
    bench.happens(Connected(5))
    bench.wait(STEADY_S)
    bench.happens(Disconnected("house:1883: Connection refused"))
    assert caplog.messages == [DOWN, CONNECTED, DOWN]


def test_a_wrong_password_is_said_though_the_broker_was_down_before(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for reason in ("down", "wrong password") * 10:
        bench.happens(Disconnected(reason))
        bench.wait(2.0)
    assert caplog.messages == ["broker: down; trying again", "broker: wrong password; trying again"]


def test_connections_that_do_not_hold_are_not_said_each_time(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        bench.happens(Connected(5))
        bench.wait(0.5)
        bench.happens(Disconnected("too long"))
        bench.wait(2.0)
    assert caplog.messages == [CONNECTED, "broker: too long; trying again"]
    bench.happens(Connected(5))
    bench.wait(STEADY_S)
    assert caplog.messages[2:] == [CONNECTED]


def test_reasons_that_never_repeat_take_no_memory(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        bench.happens(Disconnected(f"reason {number}"))
        bench.wait(2.0)
    assert len(caplog.messages) == 100
    assert len(bench.log._said) == MAX_REASONS
