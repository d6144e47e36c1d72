"""Free ports for the servers of tests and benchmarks, which run at the same time in many processes.

A port is free to all from its drawing until a server listens there, and again while the server is down. So
each process has a block of ports of its own, by binding a socket to the block's name: the kernel gives a name
to one process at a time, takes it back when the process ends, and has names per network namespace, as ports.
"""

from __future__ import annotations

import errno
import functools
import itertools
import random
import socket
from collections.abc import Iterator

from edge_agent.errors import PlatformError

_PORTS, _BLOCK = range(10000, 32700), 100


@functools.cache
def _own_ports() -> Iterator[int]:
    """Return this process's ports, over and over."""
    firsts = list(_PORTS[::_BLOCK])
    random.SystemRandom().shuffle(firsts)
    for first in firsts:
        owner = socket.socket(socket.AF_UNIX)
        try:
            owner.bind(f"\0edge-agent-ports-{first}")
        except OSError as error:
            owner.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            owner.detach()  # open, and so its name taken, until the process ends
            return itertools.cycle(range(first, first + _BLOCK))
    raise PlatformError(f"ports {_PORTS.start} to {_PORTS.stop - 1}: other processes have them all")


def free_port() -> int:
    """Return a free port of the loopback interface.

    It lies below those that Linux gives to outgoing connections, so that none of them takes it while a
    server is down, and in this process's block, so that no other process draws it.

    Raises
    ------
    PlatformError
        All ports belong to other processes.
    """
    return next(port for port in _own_ports() if not _listening(port))


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
