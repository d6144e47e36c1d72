"""The outbox: what a device measured is on disk before it is sent, and leaves the disk once the broker
has it.

Theory of operation. Bodies are compressed and gathered in memory, numbered when they are handed to the
store (one transaction every ``flush_seconds``: SD cards wear), and sent only when the store says that
they are durable. So a number that was ever on the wire is never used again, after a power cut included,
and the numbers of one outbox have no holes. What the broker acknowledged is removed with the next
transaction; a crash in between sends it twice, and receivers drop repetitions by number. An outbox that
had to be started anew numbers from 1 under another name (``outbox`` in the body).

Two lanes. What was stored before the connection came up is historical, marked so, and sent oldest first;
what is measured now is live. Three historical messages go for each live one, so a backlog drains and the
present is not starved; within a lane numbers only go up.

Limits. Over ``max_bytes`` the oldest entries of the least important priority are thinned out: every
second one of a chunk goes, so that a long outage gets coarser towards the past and an entry of priority 0
(state) is never given up for samples. Entries past ``max_age`` go the same way, whole. What is gone is
told to the receiver as ranges of numbers (``skipped``), so it is never mistaken for a loss. In memory
there is what waits for the store (at most ``pending_bytes``; beyond that new entries push out old ones,
counted), one chunk a lane, and what is in flight.

A broker can acknowledge a message and lose it: Mosquitto does when it is killed. With ``confirm`` an
entry stays until the hub says that it has stored it (``down/confirm``); what was not confirmed goes again
once `OVERTAKEN` later ones were, on every connect, and when nothing was confirmed for
``confirm_seconds``. At most `UNCONFIRMED` entries are out at a time.

How a main loop uses it: ``append`` when something was measured; ``effects += outbox.turn(session, now,
t)`` in every round; ``outbox.delivered(token)`` on `Delivered`; ``outbox.confirmed(payload)`` on
``down/confirm``; ``outbox.online()`` on `Online`; ``outbox.deadline`` joins the session's.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgpack

from edge_agent.errors import PeerError
from edge_agent.protocol.ports import Publication
from edge_agent.protocol.session import Effect, Session
from edge_agent.wire import bodies, messages

STATE = 0
"""Priority of what is never thinned out."""
SAMPLES = 1
"""Priority of what may be."""

HISTORICAL_PER_LIVE = 3
UNCONFIRMED = 2000
OVERTAKEN = 100
_CHUNK = 32
_THIN = 256
_RANGES = 64
_SKIPPED_A_MESSAGE = 200

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One message: number, Unix time it was made, priority (0 is highest), compressed body."""

    seq: int
    t: float
    priority: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction: what to add, which ranges of numbers to remove, which thinned ranges to note or
    forget.
    """

    append: tuple[Entry, ...] = ()
    remove: tuple[Range, ...] = ()
    skipped: tuple[Range, ...] = ()
    told: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """How a transaction ended; ``failed`` is the reason if nothing of it happened."""

    failed: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds: its name, the highest number ever used (0: none), entries and bytes."""

    name: str
    last: int
    entries: int
    size: int


class Store(Protocol):
    """Where entries are durable. `write` may take its time elsewhere; one transaction at a time."""

    def contents(self) -> Contents:
        """Return what is there."""

    def write(self, batch: Batch) -> None:
        """Begin a transaction: all of it or nothing."""

    def written(self) -> Written | None:
        """Return how the transaction ended, once; None while it is under way."""

    def read(self, first: int, last: int, limit: int) -> Sequence[Entry]:
        """Return durable entries with ``first <= seq <= last``, ascending, at most ``limit``."""

    def oldest(self, limit: int, before: float | None) -> Sequence[Range]:
        """Return (number, bytes) of the oldest entries that may be given up, ascending.

        Those of the least important priority (never 0); with ``before``, those made before that Unix time.
        """

    def skipped(self, limit: int) -> Sequence[Range]:
        """Return ranges of numbers that were thinned out and not told yet, ascending."""


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Limits: ``max_bytes`` on disk, ``max_age`` in seconds (0: none), what may wait in memory in bytes."""

    max_bytes: int = 64 * 1024 * 1024
    max_age: float = 0.0
    flush_seconds: float = 2.0
    pending_bytes: int = 1024 * 1024
    reserve: int = 4
    confirm: bool = False
    confirm_seconds: float = 60.0


@dataclass(slots=True)
class OutboxCounters:
    """Entries since start.

    Stored, sent, delivered; thinned out by limits, pushed out before they were stored (``overflow``),
    damaged on the disk; and transactions that failed.
    """

    stored: int = 0
    sent: int = 0
    delivered: int = 0
    thinned: int = 0
    overflow: int = 0
    damaged: int = 0
    malformed: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Lane:
    """Ranges still to be read, and the entries read ahead."""

    ranges: deque[list[int]] = field(default_factory=deque)
    ahead: deque[Entry] = field(default_factory=deque)

    def next(self, store: Store) -> Entry | None:
        while not self.ahead and self.ranges:
            first, last = self.ranges[0]
            found = store.read(first, last, _CHUNK)
            self.ahead.extend(found)
            if len(found) < _CHUNK:
                self.ranges.popleft()
            else:
                self.ranges[0][0] = found[-1].seq + 1
        return self.ahead[0] if self.ahead else None

    def add(self, first: int, last: int) -> None:
        if first > last:
            return
        if self.ranges and self.ranges[-1][1] + 1 >= first:
            self.ranges[-1][1] = last
        else:
            self.ranges.append([first, last])
        if len(self.ranges) > _RANGES:  # a flapping link: send some twice rather than remember more
            self.ranges = deque([[self.ranges[0][0], last]])


class Outbox:
    """The state machine; see the module's head.

    Parameters
    ----------
    settings : OutboxSettings
        Limits.
    topic : str
        Where entries are published (QoS 1).
    store : Store
        Where they are durable.
    """

    def __init__(self, settings: OutboxSettings, topic: str, store: Store) -> None:
        self.settings = settings
        self.counters = OutboxCounters()
        self._due: float | None = None
        self.failure = ""
        self._topic = topic
        self._store = store
        contents = store.contents()
        self.name = contents.name
        self.size = contents.size
        self._last = self._durable = contents.last
        self._pending: deque[tuple[float, int, bytes]] = deque()
        self._pending_bytes = self._writing_bytes = 0
        self._writing: Batch | None = None
        self._historical = _Lane()
        self._live = _Lane()
        self._historical.add(1, contents.last)
        self._since_live = 0
        self._in_flight: dict[int, tuple[int, int, tuple[Range, ...]]] = {}
        self._removable: list[Range] = []
        self._told: list[Range] = []
        self._unreadable: list[Range] = []
        self._unconfirmed: dict[int, tuple[int, tuple[Range, ...], int]] = {}
        self._early: set[int] = set()
        self._resend_at: float | None = None
        self._undo: tuple[list[Range], list[Range], list[Range]] = ([], [], [])
        self._to_tell = True

    @property
    def backlog(self) -> int:
        """Bytes stored or waiting to be stored, not acknowledged."""
        return self.size + self._pending_bytes + self._writing_bytes

    @property
    def writing(self) -> bool:
        """Whether the store is at work."""
        return self._writing is not None

    @property
    def durable(self) -> int:
        """The highest number that is on disk, or was."""
        return self._durable

    @property
    def deadline(self) -> float | None:
        """When `turn` has something to store; None while there is nothing, or the store is at work."""
        return self._due if self._writing is None else None

    def append(self, body: Mapping[str, Any], t: float, now: float, priority: int = SAMPLES) -> None:
        """Take a telemetry body in; ``t`` is the Unix time it was made."""
        data = zlib.compress(msgpack.packb(body), 1)
        self._pending.append((t, priority, data))
        self._pending_bytes += len(data)
        self._bound_pending()
        soon = now + self.settings.flush_seconds
        if self._due is None or len(self._pending) == 1:  # what is only to be removed has more time
            self._due = soon if self._due is None else min(self._due, soon)

    def online(self) -> None:
        """Take note that the connection came up: what is stored and not sent is historical from now on."""
        live, self._live = self._live, _Lane()
        self._again(list(self._unconfirmed), live)

    def _again(self, numbers: list[int], live: _Lane | None = None) -> None:
        """Send entries again that the broker lost, before what is historical already (and ``live``)."""
        unsent = [(seq, seq) for seq in numbers]
        for lane in (self._historical, live or _Lane()):
            unsent += [(entry.seq, entry.seq) for entry in lane.ahead]
            unsent += [(first, last) for first, last in lane.ranges]
        self._historical = _Lane(deque([first, last] for first, last in merged(unsent)))
        for seq in numbers:
            del self._unconfirmed[seq]
        self._resend_at = None

    def in_flight(self, token: int) -> int:
        """Return the number of the entry that was sent with this token, 0 if it is not one of ours."""
        return self._in_flight.get(token, (0, 0, ()))[0]

    def delivered(self, token: int) -> None:
        """Note that the broker has the message; tokens of other publications are ignored."""
        sent = self._in_flight.pop(token, None)
        if sent is not None:
            seq, size, told = sent
            self.counters.delivered += 1
            if not self.settings.confirm or seq in self._early:
                self._early.discard(seq)
                self._removable.append((seq, size))
                self._told.extend(told)
            else:
                self._unconfirmed[seq] = (size, told, self.counters.delivered)

    def confirmed(self, payload: bytes) -> None:
        """Take in what the hub says it has stored; a malformed message is counted and ignored."""
        try:
            body = messages.decode(payload).body
            bodies.check(bodies.CONFIRM, body, "confirm")
        except PeerError:
            self.counters.malformed += 1
            return
        if not self.settings.confirm or body["outbox"] != self.name:
            return
        newest = 0
        flying = {seq for seq, _, _ in self._in_flight.values()}
        for pair in body["ranges"]:
            match pair:
                case [int(first), int(last)]:
                    for seq in [s for s in self._unconfirmed if first <= s <= last]:
                        size, told, order = self._unconfirmed.pop(seq)
                        newest = max(newest, order)
                        self._removable.append((seq, size))
                        self._told.extend(told)
                        self._resend_at = None
                    # The hub was faster than the broker's acknowledgement.
                    self._early.update(s for s in flying if first <= s <= last)
                case _:
                    self.counters.malformed += 1
        late = [seq for seq, (_, _, order) in self._unconfirmed.items() if order < newest - OVERTAKEN]
        if late:
            self._again(late)

    def turn(self, session: Session, now: float, t: float) -> list[Effect]:
        """Store what is due and send what the session has room for; ``t`` is Unix time."""
        self._collect(now)
        if self._writing is None and self._due is not None and now >= self._due:
            self._flush(t)
        if self._unconfirmed:
            if self._resend_at is None:
                self._resend_at = now + self.settings.confirm_seconds
            elif now >= self._resend_at:
                self._again(list(self._unconfirmed))
        effects: list[Effect] = []
        reserve = min(self.settings.reserve, session.limit // 2)  # room for replies and actions
        while session.credit > reserve and len(self._unconfirmed) < UNCONFIRMED:
            entry, historical = self._choose()
            if entry is None:
                break
            body = _unpacked(entry.data)
            if body is None:  # the disk has changed it
                self.counters.damaged += 1
                self._removable.append((entry.seq, len(entry.data)))
                self._unreadable.append((entry.seq, entry.seq))
                continue
            told = self._untold()
            token, sends = session.publish(self._publication(entry, body, historical, told), now)
            self._in_flight[token] = (entry.seq, len(entry.data), told)
            self.counters.sent += 1
            effects += sends
        if self._removable and self._due is None:
            self._due = now + 5 * self.settings.flush_seconds
        return effects

    def close(self, t: float, wait: Callable[[], object]) -> None:
        """Store what is pending. ``wait`` blocks until the store has news."""
        self.failure = ""
        while True:
            self._collect(0.0)
            if self._writing is not None:
                wait()
            elif self.failure or not (self._pending or self._removable):
                return
            else:
                self._flush(t)

    def _bound_pending(self) -> None:
        limit = self.settings.pending_bytes - self._writing_bytes
        while self._pending_bytes > limit and len(self._pending) > 1:
            worst = max(priority for _, priority, _ in self._pending)
            index = next(i for i, entry in enumerate(self._pending) if entry[1] == worst)
            self._pending_bytes -= len(self._pending[index][2])
            del self._pending[index]
            self.counters.overflow += 1

    def _flush(self, t: float) -> None:
        entries = [
            Entry(self._last + 1 + i, made, priority, data)
            for i, (made, priority, data) in enumerate(self._pending)
        ]
        gone, freed = self._excess(sum(len(e.data) for e in entries), t)
        removable = [(seq, seq) for seq, _ in self._removable] + gone
        self.size -= sum(size for _, size in self._removable) + freed
        self.counters.thinned += len(gone)
        skipped = merged(gone + self._unreadable)
        batch = Batch(tuple(entries), merged(removable), skipped, tuple(self._told))
        self._undo = (self._removable, self._told, self._unreadable)
        self._writing, self._writing_bytes = batch, self._pending_bytes
        self._pending.clear()
        self._pending_bytes = 0
        self._removable = []
        self._told = []
        self._unreadable = []
        self._due = None
        self._store.write(batch)

    def _excess(self, coming: int, t: float) -> tuple[list[Range], int]:
        """Choose what is given up for the limits: its numbers as ranges of one, and its bytes."""
        busy = {seq for seq, _, _ in self._in_flight.values()} | {seq for seq, _ in self._removable}
        busy |= self._unconfirmed.keys()
        busy |= {entry.seq for lane in (self._historical, self._live) for entry in lane.ahead}
        gone: dict[int, int] = {}
        if self.settings.max_age:
            gone |= dict(self._store.oldest(_THIN, t - self.settings.max_age))
        needed = self.size + coming - self.settings.max_bytes
        limit = _THIN
        while needed > sum(gone.values()):
            found = self._store.oldest(limit, None)
            gone |= {seq: size for seq, size in thin(found) if seq not in busy}
            if len(found) < limit:
                break
            limit *= 2
        gone = {seq: size for seq, size in gone.items() if seq not in busy}
        return [(seq, seq) for seq in sorted(gone)], sum(gone.values())

    def _collect(self, now: float) -> None:
        if self._writing is None:
            return
        result = self._store.written()
        if result is None:
            return
        batch, self._writing = self._writing, None
        self._writing_bytes = 0
        if result.failed:
            self.failure = result.failed
            self.counters.failures += 1
            self._pending.extendleft((e.t, e.priority, e.data) for e in reversed(batch.append))
            self._pending_bytes += sum(len(e.data) for e in batch.append)
            self._bound_pending()
            removable, told, unreadable = self._undo
            self._removable += removable
            self._told += told
            self._unreadable += unreadable
            self._due = now + 5 * self.settings.flush_seconds
            contents = self._store.contents()
            if contents.name != self.name:  # it was set aside and started anew
                self.name, self._last, self._durable = contents.name, contents.last, contents.last
                self._historical, self._live = _Lane(), _Lane()
                self._historical.add(1, contents.last)
                self._in_flight, self._removable, self._told = {}, [], []
                self._unconfirmed, self._early = {}, set()
                self._unreadable = []
            self.size = contents.size
            return
        self.failure = ""
        self._to_tell = self._to_tell or bool(batch.skipped)
        if batch.append:
            first, last = batch.append[0].seq, batch.append[-1].seq
            self._last = self._durable = last
            self.size += sum(len(e.data) for e in batch.append)
            self.counters.stored += len(batch.append)
            self._live.add(first, last)

    def _choose(self) -> tuple[Entry | None, bool]:
        historical = self._historical.next(self._store)
        live = self._live.next(self._store)
        if live is not None and (historical is None or self._since_live >= HISTORICAL_PER_LIVE):
            self._since_live = 0
            return self._live.ahead.popleft(), False
        if historical is not None:
            self._since_live += 1
            return self._historical.ahead.popleft(), True
        return None, False

    def _untold(self) -> tuple[Range, ...]:
        if not self._to_tell:
            return ()
        telling = {r for _, _, told in self._in_flight.values() for r in told} | set(self._told)
        telling |= {r for _, told, _ in self._unconfirmed.values() for r in told}
        if telling:
            return ()  # one message at a time carries them
        ranges = tuple(self._store.skipped(_SKIPPED_A_MESSAGE))
        self._to_tell = bool(ranges)
        return ranges

    def _publication(
        self, entry: Entry, body: dict[str, Any], historical: bool, told: tuple[Range, ...]
    ) -> Publication:
        body["outbox"] = self.name
        if historical:
            body["historical"] = True
        if told:
            body["skipped"] = [list(r) for r in told]
        message = messages.Message(body, id=f"{self.name}-{entry.seq}", seq=entry.seq, t=entry.t)
        return Publication(self._topic, messages.encode(message), content_type="application/msgpack")


def _unpacked(data: bytes) -> dict[str, Any] | None:
    try:
        body: dict[str, Any] = msgpack.unpackb(zlib.decompress(data), strict_map_key=False)
    except (zlib.error, ValueError, TypeError, msgpack.UnpackException):
        return None
    return body


def thin(entries: Sequence[Range]) -> list[Range]:
    """Return every second of (number, bytes) pairs, the oldest first: what is given up of a full chunk."""
    return list(entries[::2])


def merged(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Return the same numbers as few ascending ranges."""
    out: list[list[int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return tuple((first, last) for first, last in out)
