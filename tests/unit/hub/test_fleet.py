import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_hub.fleet import Fleet, Gaps
from edge_hub.tables import fleet_table

T = "edge/v1/f/a/up/"


def say(fleet: Fleet, channel: str, body: dict[str, object], seq: int = 0) -> object:
    return fleet.handle(T + channel, messages.encode(Message(body, seq=seq)), 100.0)


def test_a_row_is_put_together_from_birth_and_telemetry() -> None:
    fleet = Fleet()
    say(fleet, "birth", bodies.birth(True, "a", "0.1", "b1", "pi4b-1gb", {"rooms": ("d1", 300)}))
    say(fleet, "telemetry", {"populations": {"rooms": {"tick": 5, "decisions": 7}}, "rss": 10, "new": 1})
    row = fleet.devices["a"].row()
    assert (row["online"], row["agents"], row["tick"], row["decisions"], row["rss"]) == (True, 300, 5, 7, 10)


def test_deltas_merge_and_history_does_not_change_the_present() -> None:
    fleet = Fleet()
    say(fleet, "telemetry", {"populations": {"rooms": {"tick": 5, "decisions": 7}}})
    say(fleet, "telemetry", {"populations": {"rooms": {"tick": 6}}, "delta": True})
    say(fleet, "telemetry", {"populations": {"rooms": {"tick": 1, "decisions": 1}}, "historical": True})
    assert fleet.devices["a"].populations == {"rooms": {"tick": 6, "decisions": 7}}


def test_the_will_turns_a_device_offline() -> None:
    fleet = Fleet()
    for online in (True, False):
        say(fleet, "birth", bodies.birth(online, "a", "0.1", "b1", "p", {}))
    assert not fleet.devices["a"].online


def test_bad_messages_are_counted_and_change_nothing() -> None:
    fleet = Fleet()
    say(fleet, "birth", bodies.birth(True, "a", "0.1", "b1", "p", {}))
    before = fleet.devices["a"].row()
    assert say(fleet, "birth", {"online": "yes", "device": "a"}) is None
    assert say(fleet, "telemetry", {"populations": {"rooms": 3}}) is None
    assert say(fleet, "telemetry", {"populations": {"rooms": {"tick": "x"}}}) is None
    assert fleet.handle(T + "birth", b"\xff\xff", 0.0) is None
    assert fleet.handle("elsewhere", b"", 0.0) is None
    assert fleet.rejected.count == 4
    assert fleet.devices["a"].row() == before


@given(
    count=st.integers(1, 200),
    lost=st.sets(st.integers(2, 199)),
    again=st.lists(st.integers(0, 199), max_size=20),
    shuffle=st.randoms(),
)
def test_gaps_are_exactly_the_numbers_that_never_came(
    count: int, lost: set[int], again: list[int], shuffle: object
) -> None:
    sent = [n for n in range(1, count + 1) if n not in lost]
    late = [sent[i % len(sent)] for i in again]
    gaps = Gaps()
    order = sent[1:] + late
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    fresh = [gaps.note(n) for n in [sent[0], *order]]
    assert sum(fresh) == len(sent)
    assert gaps.missing == set(range(1, max(sent))) - set(sent)
    assert gaps.duplicates == len(late)


def test_thinned_numbers_are_no_gap() -> None:
    gaps = Gaps()
    gaps.note(1)
    gaps.skip([[2, 9]])
    gaps.note(10)
    assert gaps.missing == set()
    gaps.note(20)
    gaps.skip([[11, 11], [14, 18]])
    assert gaps.missing == {12, 13, 19}


def test_a_wild_sequence_number_costs_bounded_memory() -> None:
    gaps = Gaps(limit=1000)
    gaps.note(1)
    gaps.note(2**60)
    assert len(gaps.missing) <= 1000


def test_numbers_count_for_gaps_only_in_an_outbox() -> None:
    fleet = Fleet()
    for seq in (1, 5):
        say(fleet, "telemetry", {"populations": {}}, seq)
    assert fleet.devices["a"].row()["gaps"] == 0
    for outbox, seq in (("x", 1), ("x", 5), ("y", 1), ("y", 3)):
        say(fleet, "telemetry", {"populations": {}, "outbox": outbox}, seq)
    assert fleet.devices["a"].row()["gaps"] == 1


@given(width=st.integers(50, 160))
def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(width: int) -> None:
    fleet = Fleet()
    say(fleet, "birth", bodies.birth(True, "a", "0.1", "b1", "pi4b", {"rooms": ("d1", 30_000)}))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(fleet_table(fleet, 100.0, width))
    printed = console.export_text()
    assert max(map(len, printed.splitlines())) <= width
    assert "…" not in printed
    assert {"device", "a", "online", "30,000", "decisions"} <= set(printed.split())
    if width >= 150:
        assert {"profile", "pi4b", "rollout"} <= set(printed.split())
