"""What comes faster than the loop takes it: QoS 0 gives way and is counted, everything else stays."""

from edge_agent.adapters.mqtt import _Inbox
from edge_agent.protocol.ports import Disconnected, Received


def test_the_inbox_holds_no_more_bytes_of_qos_0_than_it_may() -> None:
    woken: list[None] = []
    inbox = _Inbox(10, lambda: woken.append(None))
    large = [Received("t", bytes(6), qos, False) for qos in (0, 0, 1)]
    for event in (*large, Disconnected("gone")):
        inbox.put(1, event)
    assert [event for _, event in inbox.take()] == [large[0], large[2], Disconnected("gone")]
    assert (inbox.counters.overflow, len(woken)) == (1, 3)
    inbox.put(1, large[1])  # there is room again
    assert [event for _, event in inbox.take()] == [large[1]]
    assert inbox.counters.overflow == 1
