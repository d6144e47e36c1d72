"""The wait: what ends it, and whose time of arrival it returns."""

from __future__ import annotations

import math
import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from edge_agent.adapters.loop import Loop

HOUR = 3600.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_call_ends_the_wait_with_its_time(loop: Loop) -> None:
    before = time.monotonic()
    loop.wake()
    called = time.monotonic()
    woken_at = loop.wait(math.inf)
    assert woken_at is not None
    assert before <= woken_at <= called
    assert loop.wait(-math.inf) is None


def test_a_lone_message_on_a_stream_ends_the_wait(loop: Loop, pair: tuple[socket.socket, ...]) -> None:
    found: list[bytes] = []
    loop.add_stream(pair[0], lambda: found.append(pair[0].recv(10)))
    pair[1].send(b"a")
    assert loop.wait(math.inf) is not None
    assert found == [b"a"]
    loop.remove_stream(pair[0])
    pair[1].send(b"b")
    assert loop.wait(-math.inf) is None
    assert found == [b"a"]


def test_what_comes_while_messages_are_gathered_waits_for_the_others(
    loop: Loop, pair: tuple[socket.socket, ...]
) -> None:
    loop.add_stream(pair[0], lambda: None)
    until = time.monotonic() + 0.05
    loop.gather(until)
    pair[1].send(b"a")
    heard_at = loop.wait(math.inf)
    assert heard_at is not None
    assert heard_at < until <= time.monotonic()


@pytest.mark.parametrize("what", ["deadline", "call", "descriptor"])
def test_gathering_ends_with_whatever_else_is_to_be_done(
    what: str, loop: Loop, pair: tuple[socket.socket, ...]
) -> None:
    loop.add_stream(pair[0], lambda: None)
    loop.gather(time.monotonic() + HOUR)
    pair[1].send(b"a")
    served: list[int] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.selector.register(ours, selectors.EVENT_READ, lambda fd: served.append(len(ours.recv(10))))
        if what == "call":
            loop.wake()
        elif what == "descriptor":
            theirs.send(b"abc")
        heard_at = loop.wait(time.monotonic() if what == "deadline" else math.inf)
        assert heard_at is not None
        assert served == ([3] if what == "descriptor" else [])
        loop.selector.unregister(ours)


def test_a_stream_that_can_be_written_ends_the_wait_if_that_is_wanted(
    loop: Loop, pair: tuple[socket.socket, ...]
) -> None:
    ready: list[None] = []
    loop.add_stream(pair[0], lambda: ready.append(None))
    loop.watch_writes(pair[0], True)
    loop.wait(math.inf)
    assert ready == [None]
    loop.watch_writes(pair[0], False)
    assert loop.wait(-math.inf) is None
