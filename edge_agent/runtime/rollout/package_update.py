"""Updates of the daemon itself: hands a package bundle to the installer and reports what became of it.

Theory of operation. The bundle arrives in blocks as any other. Once its file is complete the installer is
asked for it, a root helper outside this process (``edge_agent.package_installer``). It checks the bundle,
installs it, restarts the daemon, watches it, and leaves a result. This process, or the one after the restart,
reads the result and tells the hub client how the rollout ended. Nothing in the bundle is used here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.errors import PlatformError
from edge_agent.protocol.hub_client import HubClient
from edge_agent.protocol.hub_effects import HubEffect, Leave
from edge_agent.protocol.ports import Clock
from edge_agent.protocol.rollout import Commit, RollBack, RolloutEffect, StartShadow, Trial, Verify
from edge_agent.runtime.rollout.bundle_port import Completed
from edge_agent.wire.package import POPULATION

log = logging.getLogger("edge_agent")

POLL_S = 2.0


@dataclass(frozen=True, slots=True)
class InstallerAnswer:
    """What the installer did: the package is installed, or why it is not."""

    installed: bool
    reason: str


class InstallerPort(Protocol):
    """The installer; failures are PlatformError."""

    def installed(self) -> str:
        """Return the digest of the package bundle that this daemon was installed from, "" if from none."""
        ...

    def keep(self, message: bytes) -> None:
        """Keep the signed message that asks for a package; the installer checks it."""

    def ask(self, bundle: str, trial_s: float) -> None:
        """Ask for the installation of a complete bundle, unless that was done already."""

    def answer(self, bundle: str) -> InstallerAnswer | None:
        """Return what became of it, None if that is not known yet."""
        ...

    def close(self) -> None:
        """Withdraw what was asked for, or record its answer."""


class PackageUpdate:
    """The update that is under way.

    Parameters
    ----------
    client : HubClient
        Who decides.
    installer : InstallerPort
        Who installs.
    complete : callable
        Begins to make the file of a bundle durable; `Completed` follows.
    clock : Clock
        Time.
    """

    def __init__(
        self, client: HubClient, installer: InstallerPort, complete: Callable[[str], None], clock: Clock
    ) -> None:
        self._client = client
        self._installer = installer
        self._complete = complete
        self._clock = clock
        self._asked = ""
        self._look_at = math.inf

    @property
    def deadline(self) -> float:
        """When `answered` has something to do, monotonic seconds."""
        return self._look_at

    def installed(self) -> dict[str, tuple[str, int]]:
        """Return what is installed, as one of the populations of `HubClient`."""
        return {POPULATION: (self._installer.installed(), 0)}

    def keep(self, message: bytes) -> None:
        """Keep a message on the desired topic, if it is in force and asks for a package."""
        document = self._client.twin.document or {}
        if POPULATION not in document.get("populations", {}):
            return
        try:
            self._installer.keep(message)
        except PlatformError as error:  # the installer will say that it is missing
            log.error("hub: %s", error)

    def perform(self, effect: RolloutEffect | Leave) -> list[HubEffect]:
        """Carry out what the hub client asks for."""
        match effect:
            case Verify(_, bundle):
                self._complete(bundle)
            case Trial(_, bundle):
                return self._try(bundle)
            case Commit(_, bundle):
                log.info("hub: edge-agent was installed from package bundle %.12s", bundle)
                self._end()
            case RollBack(_, _, reason):
                log.warning("hub: the update of edge-agent is given up: %s", reason)
                self._end()
            case StartShadow() | Leave():
                pass  # a package has no shadow run, and is not removed
        return []

    def completed(self, item: Completed) -> list[HubEffect]:
        """Go on with a bundle whose file is complete."""
        if item.reason:
            return self._client.failed(POPULATION, item.bundle, item.reason, *self._now())
        return self._client.verified(POPULATION, item.bundle, *self._now())

    def answered(self) -> list[HubEffect]:
        """Tell the hub client what the installer answered, if it did."""
        if self._clock.monotonic() < self._look_at:
            return []
        self._look_at = self._clock.monotonic() + POLL_S
        answer = self._installer.answer(self._asked)
        if answer is None:
            return []
        if answer.installed:
            return self._client.committed(POPULATION, self._asked, *self._now())
        return self._client.failed(POPULATION, self._asked, answer.reason, *self._now())

    def _try(self, bundle: str) -> list[HubEffect]:
        rollout = self._client.rollouts[POPULATION]
        try:
            self._installer.ask(bundle, rollout.gates.trial_seconds)
        except PlatformError as error:
            return self._client.failed(POPULATION, bundle, str(error), *self._now())
        log.info("hub: the installer is asked for package bundle %.12s", bundle)
        self._asked, self._look_at = bundle, self._clock.monotonic() + POLL_S
        return []

    def _end(self) -> None:
        self._installer.close()
        self._asked, self._look_at = "", math.inf

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()
