"""Conditions for every input of every decoder.

Only errors of our own tree come out; a second of processor time and 256 MiB are enough. Memory is bounded by
the operating system (``RLIMIT_DATA``), relative to what the process takes before the input: an allocation
that is too large fails with MemoryError, which is not one of ours.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.errors import EdgeAgentError

MEMORY_BYTES = 256 * 1024 * 1024
SECONDS = 1.0
Decode = Callable[[bytes], None]


class TooSlowError(AssertionError):
    """One input took more than `SECONDS` of processor time."""


def holds(decode: Decode, data: bytes) -> None:
    """Decode; whatever comes out of here is a crash."""
    start = time.process_time()
    with suppress(EdgeAgentError):
        decode(data)
    spent = time.process_time() - start
    if spent > SECONDS:
        raise TooSlowError(f"{spent:.1f} s of processor time for {len(data)} bytes")


@contextmanager
def bounded(extra: int = MEMORY_BYTES) -> Iterator[None]:
    """Let this process take ``extra`` bytes more than it has, and no more."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    words = Path("/proc/self/status").read_text().split()
    taken = int(words[words.index("VmData:") + 1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (taken + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
