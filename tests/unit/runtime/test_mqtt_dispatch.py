"""What is published at QoS 0 is counted as what became of it, and is tried again where it found no room."""

from __future__ import annotations

import pytest

from .conftest import House


@pytest.mark.parametrize("room", [True, False])
def test_an_action_without_room_is_counted_as_dropped_and_sent_with_the_next_step(
    room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = House()
    made.start()
    client, counters = made.link._client, made.link.session.counters
    before = counters.sent, counters.dropped
    if not room:
        monkeypatch.setattr(client, "send", lambda *_: False)
    made.say("z/room-0", b'{"co2": 1500, "door": 0}')
    assert made.sent("z/room-0/set") == ([b'{"fan": "high"}'] if room else [])
    assert (counters.sent - before[0], counters.dropped - before[1]) == ((1, 0) if room else (0, 1))
    monkeypatch.undo()
    made.after(0.2)
    made.say("z/room-0", b'{"co2": 1500, "door": 0}')
    assert made.sent("z/room-0/set") == [b'{"fan": "high"}']


def test_an_action_without_a_connection_is_dropped_and_sent_after_it() -> None:
    made = House()
    made.start()
    made.broker.stop()
    made.settle()
    dropped = made.link.session.counters.dropped
    made.group.inputs.message("z/room-0", b'{"co2": 1500}', made.clock.monotonic(), made.clock.time())
    made.after(0.2)
    assert made.link.session.counters.dropped > dropped
    made.broker.start()
    made.after(10.0)
    made.say("z/room-0", b'{"co2": 1500}')
    assert made.sent("z/room-0/set") == [b'{"fan": "high"}']
