"""Ends a command whose output pipe was closed: ``edge-agent status | head -1``.

Theory of operation. Python writes to a pipe when its buffer is full and again at exit. If the pipe is closed,
either write fails, the second with a message that cannot be caught. So remaining output is flushed here. If
that fails because the pipe is closed, standard output becomes ``/dev/null`` and the command ends normally.
rich does the same when it prints a table, but exits with status 1.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

from edge_agent.errors import EXIT_DONE


def run(main: Callable[[], int]) -> int:
    """Run a command and write out what it printed; return its exit status, 0 if its reader left before."""
    status, before = EXIT_DONE, _goes_nowhere()
    try:
        try:
            status = main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_gone():  # it was another pipe
            raise
        discard_output()
    except SystemExit:
        if before or not _goes_nowhere():
            raise
    return status


def discard_output() -> None:
    """Let standard output go nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _goes_nowhere() -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stdout.fileno()), os.stat(os.devnull))  # noqa: PTH116
    except (OSError, AttributeError):  # it is closed, or no file
        return True


def _reader_gone() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
