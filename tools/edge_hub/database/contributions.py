"""What devices learned, as they sent it: contributions in pieces, each checked before it is kept.

Theory of operation. A contribution is named by device, population, bundle and epoch; its pieces come in any
order, and again. A piece is compared by a digest of what it says: the same one again changes nothing, another
one under the same name is refused. Every message is a transaction of its own, since there are few: a device
sends at most once per hour. Numbers of the outbox are noted, so that they are no gap in telemetry.

What is refused for good is confirmed to the device all the same, which would send it for ever otherwise. A
device that is not in the registry may be there soon: the broker delivers births to another process.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from edge_agent.errors import PeerError
from edge_agent.wire import messages
from edge_hub.database import bundles, sql
from edge_hub.database.engine import Database
from edge_hub.domain.days import DAY_S

if TYPE_CHECKING:  # numpy: a fleet that learns nothing does without
    from edge_agent.wire.learned import Piece

AHEAD_S = DAY_S
"""An epoch so long after the hub's clock is refused."""
STORED, REPEATED, REFUSED, UNKNOWN = "stored", "repeated", "refused", "unknown"


class Learned(NamedTuple):
    """A message on ``up/learned``; ``outbox`` is "" where none numbers it."""

    fleet: str
    device: str
    outbox: str
    seq: int
    received: float
    skipped: list[tuple[int, int]]
    piece: Piece
    payload: bytes


class Outcome(NamedTuple):
    """What became of a message: STORED, REPEATED, REFUSED for good, or UNKNOWN, of a device not known yet."""

    state: str
    reason: str = ""


class StoredEpoch(NamedTuple):
    """A contribution that is there: of how many pieces, and the messages of those that came."""

    device: str
    epoch: int
    received: float
    pieces: int
    payloads: list[bytes]


class _UnknownError(PeerError):
    """The device may be known later."""


def store(database: Database, message: Learned) -> Outcome:
    """Keep a piece. Committed when this returns.

    Raises
    ------
    PlatformError
        The database is not there; nothing is stored.
    """
    try:
        with database.write() as connection:
            device = _device(connection, message)
            try:
                state, reason = _keep(connection, device, message), ""
            except PeerError as error:
                state, reason = REFUSED, str(error)
            _note(connection, device, message)
    except _UnknownError as error:
        return Outcome(UNKNOWN, str(error))
    except PeerError as error:  # a retired device, or a value that the database can't hold
        return Outcome(REFUSED, str(error))
    return Outcome(state, reason)


def sources(database: Database, fleet: str, population: str) -> dict[str, str]:
    """Return the bundles that a population learned under, each with its source's digest, "" if not known."""
    query = (
        "SELECT DISTINCT c.bundle FROM contributions c JOIN devices d ON d.id = c.device_id "
        "WHERE d.fleet = ? AND c.population = ? ORDER BY c.bundle"
    )
    with database.read() as connection:
        digests = [str(row[0]) for row in sql.run(connection, query, (fleet, population))]
    known = {digest: bundles.one(database, digest) for digest in digests}
    return {
        digest: "" if found is None else str(found["manifest"].get("source_sha256", ""))
        for digest, found in known.items()
    }


def stored_epochs(
    database: Database, fleet: str, population: str, bundle: str, after: tuple[str, int] = ("", 0)
) -> Iterator[StoredEpoch]:
    """Yield the contributions to a bundle after those of a device and epoch, by device and epoch."""
    query = (
        "SELECT c.id, d.name, c.epoch, c.received, c.pieces FROM contributions c "
        "JOIN devices d ON d.id = c.device_id "
        "WHERE d.fleet = ? AND c.population = ? AND c.bundle = ? "
        "AND (d.name > ? OR (d.name = ? AND c.epoch > ?)) ORDER BY d.name, c.epoch"
    )
    parts = "SELECT body FROM increments WHERE contribution_id = ? ORDER BY piece"
    with database.read() as connection:
        for id_, device, epoch, received, pieces in sql.run(
            connection, query, (fleet, population, bundle, after[0], *after)
        ).all():
            payloads = [bytes(row[0]) for row in sql.run(connection, parts, (id_,))]
            yield StoredEpoch(device, epoch, received, pieces, payloads)


def digest(piece: Piece) -> str:
    """Return the SHA-256 in hex over what a piece says, however it was compressed."""
    total = hashlib.sha256(repr((piece.whole, piece.number)).encode())
    total.update(piece.places.tobytes())
    total.update(piece.units.tobytes())
    return total.hexdigest()


def _device(connection: Connection, message: Learned) -> int:
    query = "SELECT id, born, forgotten FROM devices WHERE fleet = ? AND name = ?"
    row = sql.run(connection, query, (message.fleet, message.device)).first()
    if row is None or not row.born:
        raise _UnknownError(f"learned: device {message.device} is not in the registry")
    if row.forgotten:
        raise PeerError(f"learned: device {message.device} was retired")
    return int(row.id)


def _keep(connection: Connection, device: int, message: Learned) -> str:
    piece, whole = message.piece, message.piece.whole
    _check_model(connection, device, message)
    if whole.epoch > message.received + AHEAD_S:
        raise PeerError(
            f"learned: epoch {whole.epoch} is after the hub's clock, {int(message.received)}, "
            f"expected at most {AHEAD_S:.0f} s"
        )
    key = (device, whole.population, whole.bundle, whole.epoch)
    tensors = json.dumps([[t.name, t.shape, t.bits] for t in whole.tensors])
    head = (whole.updates, whole.shift, whole.pieces, tensors)
    sql.run(
        connection,
        "INSERT INTO contributions (device_id, population, bundle, epoch, received, updates, shift, pieces, "
        "tensors) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (*key, message.received, *head),
    )
    query = (
        "SELECT id, updates, shift, pieces, tensors FROM contributions "
        "WHERE device_id = ? AND population = ? AND bundle = ? AND epoch = ?"
    )
    id_, *known = sql.run(connection, query, key).one()
    if tuple(known) != head:
        raise PeerError(f"learned: epoch {whole.epoch} of {whole.population} came before with other counts")
    there = sql.one(
        connection,
        "SELECT digest FROM increments WHERE contribution_id = ? AND piece = ?",
        (id_, piece.number),
    )
    if there is not None:
        if there != digest(piece):
            raise PeerError(
                f"learned: piece {piece.number} of epoch {whole.epoch} of {whole.population} came before "
                "with other counts"
            )
        return REPEATED
    sql.run(
        connection,
        "INSERT INTO increments (contribution_id, piece, digest, body) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (id_, piece.number, digest(piece), message.payload),
    )
    return STORED


def _check_model(connection: Connection, device: int, message: Learned) -> None:
    whole = message.piece.whole
    query = "SELECT bundle FROM populations WHERE device_id = ? AND name = ?"
    runs = sql.one(connection, query, (device, whole.population))
    if runs is None:
        raise PeerError(f"learned: {message.device} has no population {whole.population}")
    content = sql.one(connection, "SELECT content FROM bundles WHERE digest = ?", (whole.bundle,))
    if content is None:
        query = (
            "SELECT 1 FROM populations p JOIN devices d ON d.id = p.device_id "
            "WHERE d.fleet = ? AND p.name = ? AND p.bundle = ? LIMIT 1"
        )
        if sql.one(connection, query, (message.fleet, whole.population, whole.bundle)) is None:
            raise PeerError(
                f"learned: of model {whole.bundle[:12]}, expected one that {whole.population} runs, "
                f"as {runs[:12]}"
            )
        return
    from edge_agent.wire import learned

    wanted = learned_cells(bytes(content))
    found = {tensor.name: tensor.cells for tensor in whole.tensors}
    if found != wanted:
        raise PeerError(
            f"learned: counts {learned.names(whole.tensors)}, model {whole.bundle[:12]} learns "
            + (", ".join(f"{name} ({cells} cells)" for name, cells in sorted(wanted.items())) or "nothing")
        )


def learned_cells(content: bytes) -> dict[str, int]:
    """Return the cells of each tensor that a stored bundle learns: it was verified when it came."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if "model.json" not in archive.namelist():
            return {}
        learning: Mapping[str, Any] = json.loads(archive.read("model.json")).get("learning", {})
        cells = {
            f"{kind}_{i}": int(one["rows"]) * int(one["width"])
            for kind in "AB"
            for i, one in enumerate(learning.get(kind, []))
            if one is not None
        }
        for i, one in enumerate(learning.get("D", [])):
            if one:
                cells[f"D_{i}"] = _values(archive.read(f"pD_{i}.npy"))
    return cells


def _values(npy: bytes) -> int:
    import numpy as np

    return int(np.load(io.BytesIO(npy), allow_pickle=False).size)


def _note(connection: Connection, device: int, message: Learned) -> None:
    if not message.outbox:
        return
    sql.run(
        connection,
        "INSERT INTO outboxes (device_id, outbox) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (device, message.outbox),
    )
    query = "SELECT id FROM outboxes WHERE device_id = ? AND outbox = ?"
    outbox = sql.one(connection, query, (device, message.outbox))
    sql.run(
        connection,
        "INSERT INTO learned_numbers (outbox_id, seq, received) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (outbox, message.seq, message.received),
    )
    sql.many(
        connection,
        "INSERT INTO skipped (outbox_id, first, last) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(outbox, first, last) for first, last in message.skipped],
    )


def pieces(payloads: list[bytes]) -> list[Piece]:
    """Return the pieces of stored messages."""
    from edge_agent.wire import learned

    return [learned.from_body(messages.decode(payload).body) for payload in payloads]
