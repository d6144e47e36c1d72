import math
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PlatformError
from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_hub.archive import Archive
from edge_hub.rejected import MAX_KEPT, MAX_PAYLOAD

TOPIC = "edge/v1/f/a/up/telemetry"


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what a test opens: an open database at its end is a warning, and so an error."""
    opened: list[Archive] = []
    made = Archive.__init__

    def note(self: Archive, path: Path) -> None:
        made(self, path)
        opened.append(self)

    monkeypatch.setattr(Archive, "__init__", note)
    yield
    for archive in opened:
        archive.close()


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
    (row,) = Archive(tmp_path / "t.db").gaps()
    assert row["gaps"] == 1


def test_without_an_outbox_a_restart_loses_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "t.db")
    archive.store([say(1, None, 10.0), say(1, None, 20.0), say(1, None, 20.0)])
    assert (archive.stored, archive.gaps()) == (2, [])


def test_malformed_ones_are_counted_and_the_rest_is_stored(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "t.db")
    noise = [(TOPIC, b"x"), ("elsewhere", b""), say(2**63), say(4, skipped=[5]), say(5, rss="much")]
    archive.store([*noise, say(1)])
    assert (archive.stored, archive.rejected.count) == (1, 5)


def test_one_message_that_is_wrong_costs_itself_alone_and_is_set_aside_with_its_reason(
    tmp_path: Path,
) -> None:
    archive = Archive(tmp_path / "t.db")
    deep: object = 1
    for _ in range(1010):
        deep = [deep]
    bad = [
        {b"bytes": 1},
        {"a": msgpack.Timestamp(1, 0)},
        {"a": msgpack.ExtType(5, b"x")},
        {"populations": {"p": {"tick": math.inf}}},
        {1: 1, "a": 2},
        {"rss": -1},
    ]
    payloads = [msgpack.packb({"v": 1, "seq": 1, "body": body}) for body in bad]
    payloads.append(b"\x82\xa1v\x01\xa4body\x81\xa1a" + b"\x91" * 1010 + b"\xc0")
    stored = archive.store([say(1), *((TOPIC, payload) for payload in payloads), say(2)])
    assert stored == {("f", "a", "x"): [1, 2]}
    aside = archive.set_aside()
    assert [row["topic"] for row in aside] == [TOPIC] * len(payloads)
    assert [row["size"] for row in aside] == [len(payload) for payload in payloads]
    for row, said in zip(
        aside, ("bytes", "Timestamp", "ExtType", "inf", "int", "rss", "levels"), strict=True
    ):
        assert said in row["reason"]
    archive.close()
    assert len(Archive(tmp_path / "t.db").set_aside()) == len(payloads)


def test_what_is_set_aside_is_bounded_and_counted(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "t.db")
    for _ in range(3):
        archive.store([(TOPIC, bytes(100_000))] * 700 + [say(1)])
    aside = archive.set_aside()
    assert (len(aside), aside[-1]["id"]) == (MAX_KEPT, 2100)
    archive.close()
    assert (tmp_path / "t.db").stat().st_size < 2 * MAX_KEPT * MAX_PAYLOAD


def test_a_defect_of_ours_is_no_reason_to_stop_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    archive = Archive(tmp_path / "t.db")
    monkeypatch.setattr("edge_hub.archive.topics.parse", lambda topic: {}[topic])
    assert archive.store([(TOPIC, b"")]) == {}
    (row,) = archive.set_aside()
    assert row["reason"].startswith("unforeseen")
    assert "unforeseen" in caplog.text


def test_a_database_that_refuses_is_one_line_and_nothing_is_half_stored(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "t.db")
    other = sqlite3.connect(tmp_path / "t.db")
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON telemetry WHEN new.seq = 2 "
        "BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(PlatformError, match=r"t\.db: full"):
        archive.store([say(1), say(2)])
    other.execute("DROP TRIGGER full")
    other.close()
    assert archive.gaps() == []
    archive.store([say(1), say(2)])
    assert archive.gaps()[0]["messages"] == 2


key = (
    st.sampled_from(list(bodies.TELEMETRY)) | st.text(max_size=4) | st.binary(max_size=4) | st.integers(0, 3)
)
leaf = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4)
leaf |= st.binary(max_size=4) | st.builds(msgpack.Timestamp, st.integers(0, 2**34), st.just(0))
value = st.recursive(
    leaf, lambda v: st.lists(v, max_size=3) | st.dictionaries(key, v, max_size=3), max_leaves=9
)


@given(st.lists(st.dictionaries(key, value, max_size=4), min_size=1, max_size=5))
def test_whatever_a_device_sends_the_others_are_stored(sent: list[dict[object, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder) / "t.db")
        hostile = TOPIC.replace("/a/", "/b/")
        batch = [(hostile, msgpack.packb({"v": 1, "seq": 1, "body": body})) for body in sent]
        stored = archive.store([*batch, say(7)])
        archive.gaps()
        archive.close()
    assert stored["f", "a", "x"] == [7]
    assert archive.rejected.unforeseen == 0
    assert archive.rejected.count + sum(map(len, stored.values())) == len(sent) + 1
