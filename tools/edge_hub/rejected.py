"""Messages that the hub could not process: counted, the newest stored with their reasons.

Theory of operation. Every command processes each message inside `Rejected.around`. A message that breaks the
protocol is recorded, and the next one is processed. The same applies if the hub's own code fails on a
message: the defect is logged with its traceback, and one device cannot stop the hub for all others. Errors of
the hub itself (no broker, no disk) are raised.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from edge_agent.errors import EdgeAgentError, PeerError

MAX_KEPT = 1000
MAX_PAYLOAD = 4096
MAX_TEXT = 500

log = logging.getLogger("edge_hub")


class Rejection(NamedTuple):
    """One message: Unix time, topic and reason (cut), bytes of the payload, and its first `MAX_PAYLOAD`."""

    t: float
    topic: str
    reason: str
    size: int
    payload: bytes


class Rejected:
    """The messages that one command could not take in.

    ``count`` is of all, ``unforeseen`` of those on which our own code failed; ``kept`` are the newest.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.count = 0
        self.unforeseen = 0
        self.kept: deque[Rejection] = deque(maxlen=MAX_KEPT)
        self._now = now

    @property
    def last(self) -> str:
        """Why the last one was rejected, "" if none was."""
        return self.kept[-1].reason if self.kept else ""

    @contextmanager
    def around(self, topic: str, payload: bytes) -> Iterator[None]:
        """Note the message if the block fails because of it, and go on after the block."""
        try:
            yield
        except PeerError as error:
            self._note(topic, payload, str(error))
        except EdgeAgentError:
            raise
        except Exception as error:
            self.unforeseen += 1
            log.exception("unforeseen, with a message on %r", topic)
            self._note(topic, payload, f"unforeseen {type(error).__name__}: {error}")

    def warn(self) -> None:
        """Print on standard error how many there were, if any."""
        if self.count:
            print(f"edge-hub: {self.count} messages rejected, the last: {self.last}", file=sys.stderr)

    def _note(self, topic: str, payload: bytes, reason: str) -> None:
        self.count += 1
        where = printable(topic, MAX_TEXT)
        self.kept.append(
            Rejection(self._now(), where, printable(reason, MAX_TEXT), len(payload), payload[:MAX_PAYLOAD])
        )


def printable(text: str, most: int) -> str:
    """Return ``text`` as one line of at most ``most`` characters that no terminal takes for a command."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(c if c.isprintable() else "?" for c in cut)
