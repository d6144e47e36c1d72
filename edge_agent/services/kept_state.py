"""Reads and checks the stored hub state at start, before it is used.

Theory of operation. The state is read once at each start, checked, and only then handed on: its bundles and
populations to the memory plan, the rest to the hub client. A state that is damaged, of another device or
another version of its format is set aside. So is one with which the daemon failed to start several times
(`adapters.starts`); its document is then refused until the hub sends a newer one. The device starts with
its configured bundles either way, and stays reachable; what was set aside is said in the log and the birth
message.

``check`` and a reload look at the state and change nothing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import ConfigError, PlatformError

if TYPE_CHECKING:
    from edge_agent.adapters.hub_state import HubState, Kept
    from edge_agent.adapters.starts import StartCount
    from edge_agent.config.records import Config
    from edge_agent.protocol.hub_client import HubClient
    from edge_agent.wire.documents import Trust

log = logging.getLogger("edge_agent")

CHECKPOINT = "checkpoint"


@dataclass(slots=True)
class KeptState:
    """What the start found. ``state_store`` is None if nothing can be kept; the hub is then ignored."""

    kept: Kept | None = None
    state_store: HubState | None = None
    starts: StartCount | None = None

    @property
    def client(self) -> dict[str, Any] | None:
        """The hub client's state, None if there is none."""
        return None if self.kept is None else self.kept.state

    @property
    def remote(self) -> Mapping[str, Any]:
        """What the hub set in the configuration and is in force; empty if there is nothing."""
        found: Mapping[str, Any] = ((self.client or {}).get("configuration") or {}).get("values") or {}
        return found

    @property
    def lost(self) -> tuple[str, ...]:
        """A line for each file that could not be used."""
        return () if self.kept is None else self.kept.lost


def look(config: Config) -> KeptState:
    """Return the state as it is now; nothing is changed."""
    if not has_hub(config):
        return KeptState()
    try:
        return KeptState(_files(config).look())
    except PlatformError as error:
        log.warning("hub: %s; the configured bundles run", error)
        return KeptState()


def open_state(config: Config) -> KeptState:
    """Return the state, checked; what cannot be used is set aside.

    Raises
    ------
    ConfigError
        A key file cannot be read, is not a key, or others than its owner can read it.
    """
    if not has_hub(config):
        return KeptState()  # and none of this is loaded
    from edge_agent.adapters.hub_state import Kept
    from edge_agent.adapters.starts import StartCount, board_boot

    folder = Path(config.device.state_dir)
    starts = StartCount(folder, board_boot())
    too_many = starts.begin()
    state_store = _files(config)
    try:
        kept = _without_failed(state_store, folder) if too_many else _checked(state_store, config)
    except PlatformError as error:
        log.error("hub: %s; documents and commands of the hub are ignored", error)
        return KeptState(Kept(lost=(str(error),)), None, starts)
    except ConfigError:
        starts.end()
        raise
    for line in kept.lost:
        log.error("hub: %s", line)
    return KeptState(kept, state_store, starts)


def has_hub(config: Config) -> bool:
    """Whether the device has a hub."""
    return config.broker is not None and bool(config.hub.keys)


def configured_trust(config: Config) -> Trust:
    """Return the hub's keys of the configuration.

    Raises
    ------
    ConfigError
        A key file is missing or damaged, or a key has both roles.
    """
    from edge_agent.wire import signatures
    from edge_agent.wire.documents import Trust

    hub = config.hub
    keys = tuple(signatures.load_public(Path(key)).raw for key in hub.keys)
    release_keys = tuple(signatures.load_public(Path(key)).raw for key in hub.release_keys)
    for path, raw in zip(hub.release_keys, release_keys, strict=True):
        if raw in keys:
            raise ConfigError(f"{path}: is in hub.keys and hub.release_keys, expected one role for each key")
    return Trust(config.device.fleet, keys, hub.threshold, 0, release_keys, hub.release_threshold)


def make_hub_client(config: Config, kept: Kept, configured: dict[str, tuple[str, int]]) -> HubClient:
    """Return the hub client, restored from the stored state.

    Raises
    ------
    PlatformError
        It is not what a hub client of this device and version kept.
    ConfigError
        A key file cannot be read, is not a key, or others than its owner can read it.
    """
    from edge_agent.adapters.bundle_folder import BundleFolder
    from edge_agent.adapters.hub_state import BUNDLES
    from edge_agent.protocol.hub_client import HubClient
    from edge_agent.wire.topics import DeviceTopics

    return HubClient(
        DeviceTopics(config.device.fleet, config.device.name),
        configured_trust(config),
        configured,
        BundleFolder(Path(config.device.state_dir) / BUNDLES).had,
        random.Random(),  # noqa: S311 - spreads requests
        kept.state,
        kept.floor,
    )


def _files(config: Config) -> HubState:
    from edge_agent.adapters.hub_state import HubState

    return HubState(Path(config.device.state_dir), f"{config.device.fleet}/{config.device.name}")


def _checked(state_store: HubState, config: Config) -> Kept:
    from edge_agent.adapters.hub_state import Kept

    kept = state_store.read()
    try:
        make_hub_client(config, kept, {})
    except PlatformError as error:
        found = state_store.refuse(str(error))
        return Kept(None, found.floor, (*kept.lost, *found.lost))
    return kept


def _without_failed(state_store: HubState, folder: Path) -> Kept:
    """Set aside what the last starts failed with: the hub's state, or else the checkpoint."""
    from edge_agent.adapters.hub_state import Kept
    from edge_agent.adapters.starts import LIMIT
    from edge_agent.adapters.state_file import StateFile

    kept, reason = state_store.read(), f"{LIMIT} starts with it failed"
    if kept.state is not None:
        found = state_store.refuse(reason, above=kept.state)
        return Kept(None, found.floor, (*kept.lost, *found.lost))
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        return kept
    name = StateFile(checkpoint).set_aside().name
    return Kept(None, kept.floor, (*kept.lost, f"{CHECKPOINT}: {reason}; set aside as {name}"))
