"""A day without a broker, in simulated time, with the real store."""

import random
import threading
import tracemalloc
from pathlib import Path

from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.protocol.outbox import STATE, Outbox, OutboxSettings
from edge_agent.protocol.outbox_store import Batch, Written
from edge_agent.protocol.ports import Publication
from edge_agent.protocol.session import Delivered, Online, Session, SessionSettings, carry_out
from edge_agent.testing.broker import MemoryBroker
from edge_agent.testing.clock import ManualClock
from edge_agent.wire import messages
from edge_hub.fleet import Gaps

LIMIT = 400_000
DAY = 86_400


class _Watched(SqliteOutboxStore):
    """Knows whether a transaction's end is still to be heard of."""

    under_way = False

    def write(self, batch: Batch) -> None:
        self.under_way = True
        super().write(batch)

    def written(self) -> Written | None:
        result = super().written()
        self.under_way = self.under_way and result is None
        return result


def test_a_day_offline_fits_its_limits_and_comes_back_without_gaps(tmp_path: Path) -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    broker.stop()
    news = threading.Event()
    store = _Watched(tmp_path / "outbox.db", news.set)
    settings = OutboxSettings(max_bytes=LIMIT, flush_seconds=60.0)
    box = Outbox(settings, "t", store)
    client = broker.client("device")
    session = Session(SessionSettings(), lambda online: Publication("birth", b""), [], random.Random(0))
    rng = random.Random(1)

    def run_once() -> None:
        now = clock.monotonic()
        effects = [e for event in client.events() for e in session.handle(event, now)]
        effects += session.tick(now)
        effects += box.advance(session, now, clock.time())
        for effect in carry_out(effects, client):
            if isinstance(effect, Delivered):
                box.delivered(effect.token)
            elif isinstance(effect, Online):
                box.online()
        broker.run()
        while store.under_way:  # the store works in a thread of its own
            assert news.wait(10)
            news.clear()
            box.advance(session, now, clock.time())

    list(carry_out(session.start(0.0), client))
    tracemalloc.start()
    for second in range(0, DAY, 5):
        hourly = second % 3600 == 0
        body = {"populations": {"rooms": {"tick": second, "level": rng.random()}}}
        box.append(body, clock.time(), clock.monotonic(), STATE if hourly else 1)
        if second % 30 == 0:
            run_once()
        clock.advance(5.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert box.size <= LIMIT * 1.05
    assert (tmp_path / "outbox.db").stat().st_size < 4 * LIMIT
    assert box.counters.thinned > 5000

    broker.start()
    for _ in range(5000):
        run_once()
        clock.advance(0.5)
        if box.backlog == 0:
            break
    gaps, hours = Gaps(), set()
    for publication in broker.log:
        if publication.topic == "t":
            message = messages.decode(publication.payload)
            gaps.skip(message.body.get("skipped", ()))
            gaps.note(message.seq)
            hours.add(message.body["populations"]["rooms"]["tick"])
    assert box.backlog == 0
    assert gaps.missing == set()
    assert hours >= {*range(0, DAY, 3600), DAY - 5}
    store.close()
