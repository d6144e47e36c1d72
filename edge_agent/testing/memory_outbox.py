"""An outbox store in memory that can be slow, fail, and simulate power cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent.protocol.outbox_store import Batch, Contents, OutboxEntry, Range, Written, merged


class MemoryOutboxStore:
    """A `protocol.outbox_store.Store`; ``wake`` is called when a transaction has ended.

    Attributes
    ----------
    slow : bool
        While set, transactions stay under way until `finish`.
    failing : str
        While not empty, transactions end with this reason and change nothing.
    """

    def __init__(self, name: str = "memory", wake: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self._wake = wake
        self.slow = False
        self.failing = ""
        self.entries: dict[int, OutboxEntry] = {}
        self.last = 0
        self._skipped: tuple[Range, ...] = ()
        self._begun: Batch | None = None
        self._result: Written | None = None

    def contents(self) -> Contents:
        """Return what is there."""
        size = sum(len(e.data) for e in self.entries.values())
        return Contents(self.name, self.last, len(self.entries), size)

    def write(self, batch: Batch) -> None:
        """Begin a transaction."""
        self._begun = batch
        if not self.slow:
            self.finish()

    @property
    def at_work(self) -> bool:
        """Whether a transaction is under way."""
        return self._begun is not None

    def finish(self) -> None:
        """End the transaction that is under way."""
        batch, self._begun = self._begun, None
        if batch is None:
            return
        self._result = Written(self.failing)
        self._wake()
        if self.failing:
            return
        for first, last in batch.remove:
            for seq in [s for s in self.entries if first <= s <= last]:
                del self.entries[seq]
        self._skipped = merged([r for r in self._skipped if r not in batch.reported] + list(batch.skipped))
        for entry in batch.append:
            self.entries[entry.seq] = entry
            self.last = entry.seq

    def power_cut(self) -> None:
        """Forget the transaction that is under way, and who wrote here."""
        self._begun = self._result = None

    def written(self) -> Written | None:
        """Return how it ended, once."""
        result, self._result = self._result, None
        return result

    def read(self, first: int, last: int, limit: int) -> Sequence[OutboxEntry]:
        """Return durable entries, ascending."""
        return [self.entries[s] for s in sorted(self.entries) if first <= s <= last][:limit]

    def oldest(self, limit: int, before: float | None) -> Sequence[Range]:
        """Return (number, bytes) of the oldest entries that may be given up."""
        candidates = [e for _, e in sorted(self.entries.items()) if e.priority > 0]
        if before is not None:
            candidates = [e for e in candidates if e.t < before]
        elif candidates:
            least = max(e.priority for e in self.entries.values())
            candidates = [e for e in candidates if e.priority == least]
        return [(e.seq, len(e.data)) for e in candidates[:limit]]

    def skipped(self, limit: int) -> Sequence[Range]:
        """Return ranges that were thinned out and not reported yet."""
        return self._skipped[:limit]
