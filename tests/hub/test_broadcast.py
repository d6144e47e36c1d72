"""The ring of events: whoever follows it misses nothing without being told."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from edge_hub.api.broadcast import CHUNK, QUIET, Broadcast, Event


def numbers(_: Broadcast, events: list[Event]) -> bytes:
    return b" ".join(b"%d" % event.number for event in events)


def say(ring: Broadcast, count: int) -> None:
    for n in range(count):
        ring.say("x", n)
    ring.flush()


@given(st.lists(st.integers(0, 12), max_size=20), st.integers(0, 3))
def test_a_viewer_that_keeps_up_has_each_event_once_and_in_order(bursts: list[int], every: int) -> None:
    ring, cursor, seen = Broadcast(20), 0, []
    for turn, count in enumerate(bursts):
        say(ring, count)
        if turn % (every + 1) == 0:
            while cursor < ring.last:
                data, cursor = ring.events_after(cursor, numbers)
                if not data:
                    seen = list(range(1, cursor + 1))  # it was told to load anew
                seen += map(int, data.split())
    assert seen == list(range(1, cursor + 1))


def test_who_falls_behind_is_told_so_once() -> None:
    ring = Broadcast(10)
    say(ring, 3)
    say(ring, 20)
    assert ring.events_after(0, numbers) == (b"", 23)
    assert ring.resyncs == 1
    say(ring, 1)
    assert ring.events_after(23, numbers) == (b"24", 24)


def test_viewers_at_the_same_place_share_the_same_bytes() -> None:
    ring, made = Broadcast(), []

    def encode(_: Broadcast, events: list[Event]) -> bytes:
        made.append(len(events))
        return b"x"

    say(ring, 5)
    first, second = ring.events_after(0, encode)[0], ring.events_after(0, encode)[0]
    assert first is second
    assert made == [5]


def test_what_was_said_is_given_at_the_next_flush_and_in_parts_of_bounded_size() -> None:
    ring = Broadcast()
    ring.say("x", 1)
    assert ring.events_after(0, numbers) == (b"", 0)
    ring.flush()
    assert ring.events_after(0, numbers) == (b"1", 1)
    say(ring, 2 * CHUNK)
    data, cursor = ring.events_after(1, numbers)
    assert (len(data.split()), cursor) == (CHUNK, CHUNK + 1)


def test_an_id_of_another_ring_or_of_none_is_no_place_to_go_on() -> None:
    ring = Broadcast(5)
    say(ring, 9)
    assert ring.cursor(ring.id(7)) == 7
    assert ring.cursor(ring.id(3)) is None
    assert ring.cursor(ring.id(10)) is None
    for text in (
        "",
        "x",
        "-",
        f"{ring.name}-",
        f"{ring.name}-x",
        f"{ring.name}--1",
        "ffffffff-7",
        f"{ring.name}-٣",
    ):
        assert ring.cursor(text) is None


def test_waiting_ends_with_an_event_or_a_long_quiet() -> None:
    async def both() -> tuple[bool, bool]:
        ring = Broadcast()
        waiting = asyncio.create_task(ring.wait(0))
        await asyncio.sleep(0)
        say(ring, 1)
        found = await waiting
        waiting = asyncio.create_task(ring.wait(1))
        for _ in range(QUIET):
            await asyncio.sleep(0)
            assert not waiting.done()
            ring.flush()
        return found, await waiting

    assert asyncio.run(both()) == (True, False)


def test_a_viewer_that_another_process_gave_more_waits_for_it_here() -> None:
    async def resumed() -> int | None:
        ring = Broadcast()
        ring.late_s = 30.0
        waiting = asyncio.create_task(ring.resume("ring-2"))
        for number in (1, 2):
            await asyncio.sleep(0)
            assert not waiting.done()
            ring.follow("ring", number, [("x", b"")])
            ring.flush()
        return await waiting

    assert asyncio.run(resumed()) == 2


def test_a_viewer_that_waited_in_vain_must_load_anew() -> None:
    async def resumed() -> int | None:
        ring = Broadcast()
        ring.late_s = 0.001
        return await ring.resume("ring-2")

    assert asyncio.run(resumed()) is None
