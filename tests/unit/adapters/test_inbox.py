"""What comes faster than the loop takes it: the sender waits, QoS 0 gives way and is counted."""

import threading

from edge_agent.adapters.mqtt_inbox import EVENT_BYTES, Inbox
from edge_agent.protocol.ports import Disconnected, Received

SIZE = EVENT_BYTES + 1 + 6
LARGE = [Received("t", bytes(6), qos, False) for qos in (0, 0, 1)]


def test_the_inbox_holds_no_more_bytes_of_qos_0_than_it_may() -> None:
    woken: list[None] = []
    inbox = Inbox(SIZE + 4, lambda: woken.append(None), room_s=0.0, patience_s=0.0)
    for event in (*LARGE, Disconnected("gone")):
        inbox.put(1, event)
    assert [event for _, event in inbox.drain()] == [LARGE[0], LARGE[2], Disconnected("gone")]
    assert (inbox.counters.overflow, len(woken)) == (1, 3)
    inbox.put(1, LARGE[1])  # there is room again
    assert [event for _, event in inbox.drain()] == [LARGE[1]]
    assert inbox.counters.overflow == 1


def test_messages_without_a_byte_take_room_too() -> None:
    inbox = Inbox(10 * SIZE, lambda: None, room_s=0.0)
    for _ in range(1000):
        inbox.put(1, Received("t", b"", 0, False))
    assert len(inbox.drain()) <= 10 * SIZE // EVENT_BYTES
    assert inbox.counters.overflow > 900


def test_a_sender_of_qos_1_waits_until_the_loop_has_taken() -> None:
    woken = threading.Event()
    inbox = Inbox(SIZE, woken.set, patience_s=60.0)
    sender = threading.Thread(target=lambda: [inbox.put(1, LARGE[2]) for _ in range(5)])
    sender.start()
    taken = 0
    while taken < 5:
        assert woken.wait(60.0)
        woken.clear()
        found = len(inbox.drain())
        assert found <= 1
        taken += found
    sender.join()
