from contextlib import closing
from pathlib import Path

from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub.archive import Archive

TOPIC = "edge/v1/f/a/up/telemetry"


def say(seq: int, outbox: str | None = "x", t: float = 0.0, **body: object) -> tuple[str, bytes]:
    named = {} if outbox is None else {"outbox": outbox}
    return TOPIC, messages.encode(Message(named | body, seq=seq, t=t))


def test_repetitions_fall_away_and_gaps_are_what_is_missing(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "t.db")
    stored = archive.store([say(n) for n in (1, 2, 2, 7)])
    assert stored == {("f", "a", "x"): [1, 2, 2, 7]}
    archive.store([say(8, skipped=[[2, 4], [4, 5]])])
    (row,) = archive.gaps()
    assert (row["messages"], row["thinned"], row["gaps"]) == (4, 3, 1)
    assert (archive.stored, archive.repeated) == (4, 1)
    archive.close()
    with closing(Archive(tmp_path / "t.db")) as again:
        (row,) = again.gaps()
    assert row["gaps"] == 1


def test_without_an_outbox_a_restart_loses_nothing(tmp_path: Path) -> None:
    with closing(Archive(tmp_path / "t.db")) as archive:
        archive.store([say(1, None, 10.0), say(1, None, 20.0), say(1, None, 20.0)])
        assert (archive.stored, archive.gaps()) == (2, [])


def test_malformed_ones_are_counted_and_the_rest_is_stored(tmp_path: Path) -> None:
    noise = [(TOPIC, b"x"), ("elsewhere", b""), say(2**63), say(4, skipped=[5]), say(5, rss="much")]
    with closing(Archive(tmp_path / "t.db")) as archive:
        archive.store([*noise, say(1)])
    assert (archive.stored, archive.malformed) == (1, 5)
