"""Backlog and live messages share the connection; each number is sent once and in order."""

from edge_agent.protocol.lanes import Lanes
from edge_agent.protocol.outbox_store import OutboxEntry
from edge_agent.testing.memory_outbox import MemoryOutboxStore


def filled(last: int) -> MemoryOutboxStore:
    store = MemoryOutboxStore()
    store.entries = {seq: OutboxEntry(seq, 0.0, 1, b"x") for seq in range(1, last + 1)}
    return store


def taken(lanes: Lanes, store: MemoryOutboxStore) -> list[tuple[int, bool]]:
    found = []
    while True:
        entry, historical = lanes.pop(store)
        if entry is None:
            return found
        found.append((entry.seq, historical))


def test_three_of_the_backlog_go_for_each_new_one_until_one_lane_is_empty() -> None:
    for last in (9, 0, 30):
        lanes = Lanes(last)
        lanes.add(last + 1, last + 5)
        found = taken(lanes, filled(last + 5))
        assert [seq for seq, historical in found if historical] == list(range(1, last + 1))
        assert [seq for seq, historical in found if not historical] == list(range(last + 1, last + 6))
        live = [place for place, (_, historical) in enumerate(found) if not historical]
        assert live == {9: [3, 7, 11, 12, 13], 0: [0, 1, 2, 3, 4], 30: [3, 7, 11, 15, 19]}[last]


def test_little_is_read_ahead_and_every_number_goes_once() -> None:
    lanes, store = Lanes(500), filled(500)
    for seq in range(1, 501):
        assert lanes.pop(store)[0] == store.entries[seq]
        assert len(lanes.ahead()) < 32
    assert taken(lanes, store) == []
