"""Where the shares of a simulated fleet run: processes of this machine, or a Ray cluster.

Ray is optional and imported here alone. Its workers need this repository's packages (``ray start`` in the
same environment on each machine) and must reach the broker under the address that is given.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Event
from typing import Any, Protocol

from benchmarks.fleet.devices import Report, Share, simulate
from edge_agent.errors import PlatformError


class Pool(Protocol):
    """Runs shares at the same time."""

    def start(self, shares: Sequence[Share]) -> None:
        """Begin."""

    def stop(self) -> None:
        """Let every share end: it drains, then reports."""

    def results(self) -> list[Report]:
        """Wait for all reports.

        Raises
        ------
        PlatformError
            A share ended without one.
        """

    def end(self) -> None:
        """Kill what still runs."""


_PR_SET_PDEATHSIG = 1
_stopped: Event | None = None


def _inherit(stopped: Event) -> None:
    global _stopped  # a process of the pool gets its event when it starts
    _stopped = stopped
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # devices go with the program that was killed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _simulate(share: Share) -> Report:
    assert _stopped is not None
    return simulate(share, _stopped.is_set)


class Processes:
    """Processes of this machine."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._pool: Any = None
        self._running: Any = None

    def start(self, shares: Sequence[Share]) -> None:
        """Begin."""
        self._pool = self._context.Pool(len(shares), _inherit, (self._stop,))
        self._running = self._pool.map_async(_simulate, shares, chunksize=1)

    def stop(self) -> None:
        """Let every share end."""
        self._stop.set()

    def results(self) -> list[Report]:
        """Wait for all reports."""
        found: list[Report] = self._running.get()
        return found

    def end(self) -> None:
        """Kill what still runs."""
        self._pool.terminate()
        self._pool.join()


class _Flag:
    """Whether shares on other machines are to stop."""

    def __init__(self) -> None:
        self._value = False

    def set(self) -> None:
        self._value = True

    def get(self) -> bool:
        return self._value


class RayPool:
    """Tasks of a Ray cluster, one core each.

    Parameters
    ----------
    address : str
        The cluster, as ``ray.init`` takes it: ``auto``, ``ray://HOST:PORT``; ``local`` starts one here.

    Raises
    ------
    PlatformError
        Ray is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise PlatformError("ray is not installed; install it with: pip install ray") from None
        self._ray = ray
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
        self._flag = ray.remote(_Flag).options(num_cpus=0).remote()
        self._running: list[Any] = []

    def start(self, shares: Sequence[Share]) -> None:
        """Begin."""
        task = self._ray.remote(_ray_share)
        self._running = [task.remote(share, self._flag) for share in shares]

    def stop(self) -> None:
        """Let every share end."""
        self._ray.get(self._flag.set.remote())

    def results(self) -> list[Report]:
        """Wait for all reports."""
        try:
            found: list[Report] = self._ray.get(self._running)
        except self._ray.exceptions.RayError as error:
            raise PlatformError(f"ray: {str(error).splitlines()[-1]}") from error
        return found

    def end(self) -> None:
        """Leave the cluster; its tasks end with it."""
        self._ray.shutdown()


def _ray_share(share: Share, flag: Any) -> Report:
    import ray

    stopped: Callable[[], bool] = lambda: bool(ray.get(flag.get.remote()))  # noqa: E731
    return simulate(share, stopped)
