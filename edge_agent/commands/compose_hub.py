"""What ``run`` puts between the daemon and its hub: the outbox on disk, and what makes it obey.

A disk that refuses the outbox must not end the daemon: it then lies beside the control socket, which is
memory on a board, smaller, and gone with the power; the log says so.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import PeerError, PlatformError

if TYPE_CHECKING:
    from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
    from edge_agent.commands.compose import Composed
    from edge_agent.config.profile import Profile
    from edge_agent.config.records import Config
    from edge_agent.protocol.ports import Clock
    from edge_agent.runtime.peers.coordinator import PeerCoordinator
    from edge_agent.runtime.recording.recorder import Recorder
    from edge_agent.runtime.reporting.home_assistant import HomeAssistantPublisher
    from edge_agent.runtime.reporting.telemetry_publisher import TelemetryPublisher
    from edge_agent.runtime.rollout.hub_driver import HubDriver

log = logging.getLogger("edge_agent")

OUTBOX = "outbox.db"
STATE = "follower.json"
BUNDLES = "bundles"
VOLATILE_BYTES = 4_000_000
DAY_S = 86_400.0


class TelemetryLink:
    """The uplink and the store under it.

    Parameters
    ----------
    config : Config
        The device's configuration.
    profile : Profile
        The board's limits.
    wake : callable
        Wakes the loop, from any thread.

    Raises
    ------
    PlatformError
        Neither the state directory nor the socket's takes the outbox.
    """

    def __init__(self, config: Config, profile: Profile, wake: Callable[[], None]) -> None:
        from edge_agent.protocol.outbox import Outbox, OutboxSettings
        from edge_agent.protocol.telemetry import Telemetry
        from edge_agent.runtime.assembly import OUTBOX_PENDING_BYTES
        from edge_agent.runtime.reporting.telemetry_publisher import TelemetryPublisher
        from edge_agent.wire.topics import DeviceTopics

        limit = int(config.hub.outbox_mb * 1e6)
        try:
            self._store = _open(Path(config.device.state_dir), wake)
        except PlatformError as error:
            folder = Path(config.device.socket).parent
            log.warning("telemetry: %s; kept in %s instead, until the power goes", error, folder)
            self._store, limit = _open(folder, wake), min(limit, VOLATILE_BYTES)
        settings = OutboxSettings(
            max_bytes=limit,
            max_age=config.hub.outbox_days * DAY_S,
            pending_bytes=OUTBOX_PENDING_BYTES,
            confirm=config.hub.confirm,
        )
        topics = DeviceTopics(config.device.fleet, config.device.name)
        self._outbox = Outbox(settings, topics.telemetry, self._store)
        self.uplink: TelemetryPublisher = TelemetryPublisher(
            Telemetry(config.device.telemetry_s, profile.telemetry_bytes_s),
            self._outbox,
            lambda: self._store.damaged,
        )

    def close(self, t: float, wait: Callable[[], object]) -> None:
        """Store what is pending and close the file; ``wait`` blocks until the loop is woken."""
        self._outbox.close(t, wait)
        self._store.close()


def _open(folder: Path, wake: Callable[[], None]) -> SqliteOutboxStore:
    from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"{folder}: {error.strerror}") from error
    return SqliteOutboxStore(folder / OUTBOX, wake)


def make_announcing(config: Config) -> HomeAssistantPublisher | None:
    """Return what shows the device to a Home Assistant; None if there is none."""
    if config.broker is None or not config.broker.home_assistant:
        return None
    from edge_agent.runtime.reporting.home_assistant import HomeAssistantPublisher

    return HomeAssistantPublisher(config.broker.home_assistant, config.device.telemetry_s)


def make_following(
    composed: Composed,
    clock: Clock,
    wake: Callable[[], None],
    reload: Callable[[], None],
    recorder: Callable[[], Recorder | None],
) -> HubDriver | None:
    """Return what makes the device obey its hub; None without a broker, without keys, or if the disk
    refuses to keep what was obeyed.

    Raises
    ------
    ConfigError
        A key file is not as it must be.
    """
    config, profile = composed.settings.config, composed.settings.profile
    if config.broker is None or not config.hub.keys:
        return None
    from edge_agent.adapters.bundle_folder import BundleFolder
    from edge_agent.adapters.state_file import StateFile
    from edge_agent.protocol.hub_client import HubClient
    from edge_agent.runtime.rollout.command_handlers import CommandTools
    from edge_agent.runtime.rollout.hub_driver import HubDriver
    from edge_agent.services.bundle_worker import BundleWorker
    from edge_agent.wire import signatures
    from edge_agent.wire.documents import Trust
    from edge_agent.wire.topics import DeviceTopics

    folder = Path(config.device.state_dir)
    keys = tuple(signatures.load_public(Path(key)).raw for key in config.hub.keys)
    keeper, blocks = StateFile(folder / STATE), BundleFolder(folder / BUNDLES)
    try:
        (folder / BUNDLES).mkdir(mode=0o700, parents=True, exist_ok=True)
        state = keeper.read()
    except (OSError, PlatformError) as error:
        log.error("hub: %s; it is not obeyed", error)
        return None
    begin = partial(
        HubClient,
        DeviceTopics(config.device.fleet, config.device.name),
        Trust(config.device.fleet, keys, config.hub.threshold),
        {item.config.name: (item.digest, len(item.names)) for item in composed.prepared},
        blocks.had,
        random.Random(),  # noqa: S311 - spreads requests
    )
    try:
        follower = begin(state)
    except PlatformError as error:
        log.error("hub: %s: %s; begun anew", folder / STATE, error)
        keeper.set_aside()
        follower = begin(None)
    tools = CommandTools(reload=reload, recorder=recorder, max_rate_hz=profile.max_rate_hz)
    return HubDriver(follower, keeper, BundleWorker(blocks, profile, wake), tools, clock)


def make_peering(composed: Composed, clock: Clock) -> PeerCoordinator | None:
    """Return what makes the device work with its peers; None without a broker or without ``peers``.

    Raises
    ------
    ConfigError
        A key file is not as it must be.
    """
    config, profile = composed.settings.config, composed.settings.profile
    if config.broker is None or config.peers is None:
        return None
    from edge_agent.adapters.durable_files import StateDirectory
    from edge_agent.runtime.peers.coordinator import PeerCoordinator
    from edge_agent.runtime.peers.loans import LoanKeys
    from edge_agent.wire import signatures

    keys = None
    if config.peers.key_file:
        files = config.peers.keys.items()
        known = {device: signatures.load_public(Path(path)) for device, path in files}
        keys = LoanKeys(signatures.load_secret(Path(config.peers.key_file)), known)
    return PeerCoordinator(config, clock, keys, profile, StateDirectory(Path(config.device.state_dir)))


def followed(config: Config) -> Config:
    """Return the configuration with the bundles that the hub rolled out and the populations it added."""
    if config.broker is None or not config.hub.keys:
        return config
    from edge_agent.adapters.state_file import StateFile
    from edge_agent.config.records import build_population
    from edge_agent.protocol.hub_client import active_of

    folder = Path(config.device.state_dir)
    here = {entry.name for entry in config.population}
    try:
        state = StateFile(folder / STATE).read() or {}
        active = active_of(state)
        added = [build_population(e) for name, e in state.get("added", {}).items() if name not in here]
    except (PlatformError, PeerError, KeyError, TypeError, AttributeError) as error:
        log.warning("hub: %s; the configured bundles run", error)
        return config
    paths = {name: folder / BUNDLES / f"{digest}.eab" for name, digest in active.items()}
    population = tuple(
        replace(entry, bundle=str(paths[entry.name])) if entry.name in paths else entry
        for entry in (*config.population, *added)
    )
    return replace(config, population=population)
