"""What devices learned: taken in, checked, confirmed, kept once; on SQLite and on PostgreSQL."""

import contextlib
import hashlib
import io
import json
import time
import zipfile
import zlib

import numpy as np
import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bodies, learned, messages
from edge_agent.wire.increments import Counts, Increments
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.database import contributions, devices, expiry, sql
from edge_hub.database.contributions import REFUSED, REPEATED, STORED, UNKNOWN, Outcome
from edge_hub.database.engine import Database
from edge_hub.database.gaps import gaps
from edge_hub.database.telemetry import Numbers
from edge_hub.ingest import decode, registry_messages
from edge_hub.ingest.registrar import Registrar
from edge_hub.ingest.worker import Worker
from tests.hub.test_ingest import Ear, broker, report, running, until

NOW = 1_790_000_000.0
EPOCH = int(NOW) - 900
BUNDLE, OTHER = "ab" * 32, "cd" * 32
TENSORS = (Counts("A_0", (3, 4), 12), Counts("B_0", (2, 4, 4), 24))


def increments(seed: int = 1, tensors: tuple[Counts, ...] = TENSORS) -> Increments:
    cells = sum(t.cells for t in tensors)
    units = np.zeros(cells, np.int64)
    units[np.random.default_rng(seed).integers(0, cells, 9)] = 1 << 12
    return Increments(BUNDLE, tensors, 50, units)


def body(seed: int = 1, epoch: int = EPOCH, bundle: str = BUNDLE, **change: object) -> messages.Body:
    return learned.to_bodies(increments(seed), "rooms", bundle, epoch)[0] | {"outbox": "x"} | change


def message(device: str = "a", seq: int = 1, **change: object) -> contributions.Learned:
    sent = body(**change)  # type: ignore[arg-type]
    return decode.learned("lab", device, messages.encode(Message(sent, seq=seq, t=NOW)), NOW)


def register(database: Database, *names: str, bundle: str = BUNDLE) -> None:
    numbers = Numbers()
    births = []
    for name in names:
        said = bodies.birth(True, name, "0.1", "b", "pi4", {"rooms": (bundle, 5)})
        births.append(registry_messages.birth("lab", name, messages.encode(Message(said, t=NOW)), NOW))
    with database.write() as connection:
        numbers.find_devices(connection, {("lab", name) for name in names})
        devices.note_births(connection, numbers.devices, births)


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(sql.one(connection, f"SELECT count(*) FROM {table}"))


def kept(database: Database) -> tuple[int, int]:
    return count(database, "contributions"), count(database, "increments")


def test_an_epoch_that_comes_twice_counts_once(database: Database) -> None:
    register(database, "a", "b")
    states = [contributions.store(database, message(seq=n)).state for n in (1, 1, 2)]
    assert states == [STORED, REPEATED, REPEATED]
    assert contributions.store(database, message("b")).state == STORED
    assert kept(database) == (2, 2)
    sent = list(contributions.stored_epochs(database, "lab", "rooms", BUNDLE))
    assert [(one.device, one.epoch, one.pieces) for one in sent] == [("a", EPOCH, 1), ("b", EPOCH, 1)]
    back = learned.assembled(contributions.pieces(sent[0].payloads), TENSORS)
    assert (back.units == increments().units).all()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"bundle": OTHER}, "of model cdcdcdcdcdcd, expected one that rooms runs, as abababababab"),
        ({"seed": 2}, f"piece 0 of epoch {EPOCH} of rooms came before with other counts"),
        ({"updates": 51}, f"epoch {EPOCH} of rooms came before with other counts"),
        ({"shift": 1}, f"epoch {EPOCH} of rooms came before with other counts"),
        ({"epoch": int(NOW) + 100_000}, "is after the hub's clock"),
        ({"population": "halls"}, "a has no population halls"),
    ],
)
def test_what_does_not_belong_is_refused_in_one_line_and_changes_nothing(
    database: Database, change: dict[str, object], line: str
) -> None:
    register(database, "a")
    contributions.store(database, message())
    outcome = contributions.store(database, message(seq=2, **change))
    assert outcome.state == REFUSED
    assert line in outcome.reason
    assert "\n" not in outcome.reason
    assert kept(database) == (1, 1)


def test_a_device_that_is_not_known_may_be_known_later(database: Database) -> None:
    outcome = contributions.store(database, message())
    assert outcome == Outcome(UNKNOWN, "learned: device a is not in the registry")
    assert count(database, "devices") == 0
    register(database, "a")
    assert contributions.store(database, message()).state == STORED


def test_a_retired_device_is_refused_for_good(database: Database) -> None:
    register(database, "a")
    with database.write() as connection:
        sql.run(connection, "UPDATE devices SET forgotten = ?", (True,))
    assert contributions.store(database, message()).state == REFUSED
    assert kept(database) == (0, 0)


def bundle(tensors: tuple[Counts, ...]) -> bytes:
    """What a stored bundle says that it learns."""
    out = io.BytesIO()
    parts = {
        kind: [{"rows": t.shape[0], "width": t.cells // t.shape[0]} for t in tensors if t.name[0] == kind]
        for kind in "AB"
    }
    learning = parts | {"D": [True] if any(t.name == "D_0" for t in tensors) else []}
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model.json", json.dumps({"learning": learning}))
        prior = io.BytesIO()
        np.save(prior, np.ones(4, np.float32))
        archive.writestr("pD_0.npy", prior.getvalue())
    return out.getvalue()


@pytest.mark.parametrize(
    ("learns", "state"),
    [
        (TENSORS, STORED),
        (TENSORS[:1], REFUSED),
        ((*TENSORS, Counts("D_0", (4,), 12)), REFUSED),
        ((), REFUSED),
    ],
)
def test_counts_are_held_against_the_model_that_the_hub_has(
    database: Database, learns: tuple[Counts, ...], state: str
) -> None:
    register(database, "a", bundle=OTHER)
    with database.write() as connection:
        sql.run(
            connection,
            "INSERT INTO bundles (digest, name, version, kind, size, manifest, signer, uploaded, "
            "uploaded_by, content) VALUES (?, '', '', '', 0, '{}', '', 0, '', ?)",
            (BUNDLE, bundle(learns)),
        )
    assert contributions.store(database, message()).state == state


def test_what_was_learned_is_no_gap_of_the_outbox(database: Database) -> None:
    from tests.hub.test_store import say, store

    register(database, "a")
    store(database, say(1), say(4))
    assert gaps(database)[0]["gaps"] == 2
    contributions.store(database, message(seq=2))
    contributions.store(database, message(seq=3, seed=5))  # refused: nothing is missing all the same
    assert gaps(database)[0]["gaps"] == 0


def test_old_contributions_go_whole(database: Database) -> None:
    register(database, "a")
    contributions.store(database, message())
    expiry.learned(database, NOW, NOW)
    assert kept(database) == (1, 1)
    expiry.learned(database, NOW + 1, NOW + 1)
    assert (*kept(database), count(database, "learned_numbers")) == (0, 0, 0)


@pytest.mark.broker
def test_a_worker_keeps_what_is_right_confirms_it_and_puts_the_rest_aside(
    database: Database, mosquitto: Mosquitto
) -> None:
    ear = Ear(mosquitto.port, "edge/v1/+/+/down/confirm")
    topic = DeviceTopics("lab", "a").learned
    said = bodies.birth(True, "a", "0.1", "b", "pi4", {"rooms": (BUNDLE, 5)})
    big = Increments(BUNDLE, (Counts("B_0", (200, 200), 24),), 50, np.full(40_000, 1 << 14, np.int64))
    many = learned.to_bodies(big, "rooms", BUNDLE, EPOCH + 5)
    assert len(many) == 3
    negative = np.frombuffer(np.array([[-1]], "<i8").tobytes(), np.uint8).tobytes()
    bad = body() | {"listed": 1, "data": zlib.compress(b"\1\0\0\0" + negative)}
    worker = Worker(database, broker(mosquitto))
    with contextlib.closing(ear), running(worker, Registrar(database, broker(mosquitto))):
        ear.say(DeviceTopics("lab", "a").birth, messages.encode(Message(said, t=time.time())), retain=True)
        until(lambda: count(database, "populations") == 1)
        until(lambda: worker.subscriber.online)
        for seq, one in enumerate([*many[::-1], body(), bad, body(bundle=OTHER), body()], 1):
            ear.say(topic, messages.encode(Message(one | {"outbox": "x"}, seq=seq, t=time.time())))
        ear.say(*report("a", 8))
        ear.say(topic, b"\0")
        until(lambda: count(database, "rejected") == 3)
        until(lambda: {n for _, r in map(_confirmed, list(ear.heard)) for n in r} == {1, 2, 3, 4, 6, 7, 8})
    assert kept(database) == (2, 4)
    assert (worker.counters.learned, worker.counters.rejected) == (5, 3)
    with database.read() as connection:
        reasons = sorted(row[0] for row in sql.run(connection, "SELECT reason FROM rejected"))
    assert reasons[0].startswith("data: A_0 has -1 units in a cell")
    assert reasons[1].startswith("learned: of model cdcdcdcdcdcd")
    assert reasons[2].startswith("message: ")
    sent = [
        one for one in contributions.stored_epochs(database, "lab", "rooms", BUNDLE) if one.epoch == EPOCH + 5
    ]
    assert learned.assembled(contributions.pieces(sent[0].payloads), big.tensors).encoded() == big.encoded()


def _confirmed(heard: tuple[str, bytes]) -> tuple[str, set[int]]:
    told = messages.decode(heard[1]).body
    assert told["outbox"] == "x"
    return heard[0], {n for first, last in told["ranges"] for n in range(first, last + 1)}


def test_the_digest_names_what_a_piece_says(database: Database) -> None:
    one, same, other = (message(**change).piece for change in ({}, {"outbox": "y"}, {"seed": 2}))
    assert contributions.digest(one) == contributions.digest(same) != contributions.digest(other)
    assert len(contributions.digest(one)) == len(hashlib.sha256().hexdigest())
