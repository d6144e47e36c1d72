"""What ``run`` puts between the daemon and its hub: the outbox on disk, and what makes it obey.

A disk that refuses the outbox must not end the daemon: it then lies beside the control socket, which is
memory on a board, smaller, and gone with the power; the log says so.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import PlatformError

if TYPE_CHECKING:
    from edge_agent.commands.compose import Composed
    from edge_agent.commands.compose_daemon import DaemonBuilder
    from edge_agent.runtime.recording.recorder import RecordingFile

log = logging.getLogger("edge_agent")


def obey_hub(
    builder: DaemonBuilder,
    composed: Composed,
    wake: Callable[[], None],
    reload: Callable[[], None],
    recording_file: Callable[[], RecordingFile | None],
) -> None:
    """Make the device obey its hub, unless it has no broker, no keys, or a disk that refuses to keep what was
    obeyed.

    Raises
    ------
    ConfigError
        A key file is not as it must be.
    """
    config, profile = composed.settings.config, composed.settings.profile
    if config.broker is None or not config.hub.keys:
        return
    from edge_agent.adapters.bundle_folder import BundleFolder
    from edge_agent.adapters.state_file import StateFile
    from edge_agent.protocol.hub_client import HubClient
    from edge_agent.runtime.rollout.command_handlers import CommandTools
    from edge_agent.services.active_bundles import BUNDLES, STATE
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
        return
    begin = partial(
        HubClient,
        DeviceTopics(config.device.fleet, config.device.name),
        Trust(config.device.fleet, keys, config.hub.threshold),
        {item.config.name: (item.digest, len(item.names)) for item in composed.prepared},
        blocks.had,
        random.Random(),  # noqa: S311 - spreads requests
    )
    try:
        client = begin(state)
    except PlatformError as error:
        log.error("hub: %s: %s; begun anew", folder / STATE, error)
        keeper.set_aside()
        client = begin(None)
    tools = CommandTools(reload=reload, recording_file=recording_file, max_rate_hz=profile.max_rate_hz)
    builder.obey_hub(client, keeper, BundleWorker(blocks, profile, wake), tools)


def join_peers(builder: DaemonBuilder, composed: Composed, battery: Callable[[], float | None]) -> None:
    """Make the device work with its peers, unless it has no broker or no ``peers``.

    Raises
    ------
    ConfigError
        A key file is not as it must be.
    """
    config, profile = composed.settings.config, composed.settings.profile
    if config.broker is None or config.peers is None:
        return
    from edge_agent.adapters.durable_files import StateDirectory
    from edge_agent.runtime.peers.loans import LoanKeys
    from edge_agent.wire import signatures

    keys = None
    if config.peers.key_file:
        files = config.peers.keys.items()
        known = {device: signatures.load_public(Path(path)) for device, path in files}
        keys = LoanKeys(signatures.load_secret(Path(config.peers.key_file)), known)
    builder.join_peers(battery, keys, profile, StateDirectory(Path(config.device.state_dir)))
