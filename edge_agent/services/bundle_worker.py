"""Fetches, reads and verifies bundles of the hub in threads beside the loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.bundle_folder import BundleFolder
from edge_agent.adapters.config_files import checked_population
from edge_agent.config.profile import Profile
from edge_agent.config.records import HubConfig, PopulationConfig, build_population
from edge_agent.errors import BundleError, EdgeAgentError
from edge_agent.runtime import assembly
from edge_agent.runtime.population import models
from edge_agent.runtime.rollout.bundle_port import Completed, Fetched, News, Verified
from edge_agent.wire import bundle as bundles
from edge_agent.wire.blocks import Cut

if TYPE_CHECKING:
    from edge_agent.runtime.population.models import AnyModel

log = logging.getLogger("edge_agent")


class BundleWorker:
    """A `runtime.rollout.bundle_port.Workshop`.

    Parameters
    ----------
    blocks : BundleFolder
        Where bundles arrive.
    profile : Profile
        The board's limits.
    hub : HubConfig
        How long downloads may take, and where redirects may lead.
    wake : callable
        Called from a thread when there is news.
    """

    def __init__(
        self, blocks: BundleFolder, profile: Profile, hub: HubConfig, wake: Callable[[], None]
    ) -> None:
        self._blocks = blocks
        self._hub = hub
        self._profile = profile
        self._wake = wake
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()

    def write(self, cut: Cut, index: int, data: bytes) -> None:
        """Write a block."""
        self._blocks.write(cut, index, data)

    def download(self, cut: Cut) -> None:
        """Begin to fetch ``cut.url``."""
        self._blocks.download(
            cut,
            lambda digest, reason: self._tell(Fetched(digest, reason)),
            self._hub.download_s,
            self._hub.redirects_elsewhere,
        )

    def verify(self, config: PopulationConfig, bundle: str, signers: Collection[bytes] | None) -> None:
        """Begin to verify a complete bundle."""
        self._begin(config.name, bundle, signers, lambda _path: config)

    def admit(
        self, name: str, config: Mapping[str, Any], bundle: str, signers: Collection[bytes] | None
    ) -> None:
        """Begin to check what a new population is made of, and to verify its bundle."""
        self._begin(
            name,
            bundle,
            signers,
            lambda path: build_population(checked_population({**config, "name": name, "bundle": path})),
        )

    def _begin(
        self,
        name: str,
        bundle: str,
        signers: Collection[bytes] | None,
        config: Callable[[str], PopulationConfig],
    ) -> None:
        def work() -> None:
            try:
                path = str(self._blocks.finish(bundle))
                found = assembly.prepare(
                    replace(config(path), bundle=path),
                    self._profile,
                    f"population {name}",
                    lambda where: _load(where, bundle, signers),
                )
            except EdgeAgentError as error:
                self._tell(Verified(name, bundle, str(error)))
            except Exception as error:  # the outermost call of a thread: without news the rollout never ends
                log.exception("hub: bundle %.12s cannot be verified", bundle)
                self._tell(Verified(name, bundle, f"{type(error).__name__}: {error}"))
            else:
                self._tell(Verified(name, bundle, found))

        threading.Thread(target=work, name="verify", daemon=True).start()

    def complete(self, bundle: str) -> None:
        """Begin to make the file of a package bundle durable."""

        def work() -> None:
            reason = ""
            try:
                self._blocks.finish(bundle)
            except EdgeAgentError as error:
                reason = str(error)
            self._tell(Completed(bundle, reason))

        threading.Thread(target=work, name="complete", daemon=True).start()

    def path(self, bundle: str) -> str:
        """Return where a complete bundle is."""
        return str(self._blocks.path(bundle))

    def keep(self, bundles: Collection[str]) -> None:
        """Remove all bundles but these."""
        self._blocks.keep(bundles)

    def news(self) -> Sequence[News]:
        """Return what ended since the last call."""
        found: list[News] = []
        while not self._news.empty():
            found.append(self._news.get())
        return found

    def _tell(self, item: News) -> None:
        self._news.put(item)
        self._wake()


def _load(path: Path, digest: str, signers: Collection[bytes] | None) -> tuple[AnyModel, str]:
    found = bundles.read(path)
    if found.digest != digest:
        raise BundleError(f"{path}: its digest is {found.digest}, expected {digest}")
    if signers is not None and (found.signer is None or found.signer.raw not in signers):
        raise BundleError(f"{path}: not signed by a key of the hub")
    return models.of_bundle(found), found.digest
