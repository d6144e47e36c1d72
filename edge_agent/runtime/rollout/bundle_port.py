"""The port for receiving and verifying bundles: slow work runs in threads, and results are returned as news.

`services.bundle_worker.BundleWorker` is the one of the daemon.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.config.records import PopulationConfig
from edge_agent.runtime.assembly import Prepared
from edge_agent.wire.blocks import Cut


@dataclass(frozen=True, slots=True)
class Fetched:
    """News: a download ended; ``reason`` is "" if the bundle is complete."""

    bundle: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """News: a bundle was read and its golden vectors run; ``prepared`` is the reason if it was refused."""

    population: str
    bundle: str
    prepared: Prepared | str


@dataclass(frozen=True, slots=True)
class Completed:
    """News: all blocks of a package bundle are in its file; ``reason`` is why not, "" if they are."""

    bundle: str
    reason: str


News = Fetched | Verified | Completed


class BundlePort(Protocol):
    """Where bundles arrive; failures of `write` are PlatformError."""

    def write(self, cut: Cut, index: int, data: bytes) -> None:
        """Write a block."""

    def download(self, cut: Cut) -> None:
        """Begin to fetch ``cut.url``; `Fetched` follows."""

    def verify(self, config: PopulationConfig, bundle: str, signers: Collection[bytes] | None) -> None:
        """Begin to verify a complete bundle; `Verified` follows.

        One of ``signers`` must have signed its file, unless that is None: a release names its digest.
        """

    def admit(
        self, name: str, config: Mapping[str, Any], bundle: str, signers: Collection[bytes] | None
    ) -> None:
        """Begin to check what a new population is made of, and to verify its bundle; `Verified` follows."""

    def path(self, bundle: str) -> str:
        """Return where a complete bundle is."""

    def keep(self, bundles: Collection[str]) -> None:
        """Remove all bundles but these."""

    def complete(self, bundle: str) -> None:
        """Begin to make the file of a package bundle durable under its name; `Completed` follows."""

    def news(self) -> Sequence[News]:
        """Return what ended since the last call."""
