"""Adds hub and peers to a daemon."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.commands.compose import Composed
    from edge_agent.commands.compose_daemon import DaemonBuilder
    from edge_agent.config.records import Config
    from edge_agent.runtime.recording.recorder import RecordingFile
    from edge_agent.services.configuration_checker import Compose

log = logging.getLogger("edge_agent")


def connect_hub(
    builder: DaemonBuilder,
    composed: Composed,
    wake: Callable[[], None],
    reload: Callable[[], None],
    recording_file: Callable[[], RecordingFile | None],
    compose: Compose,
) -> None:
    """Connect the device to its hub, unless it has no broker, no hub keys, or a disk on which state cannot be
    stored.

    Raises
    ------
    ConfigError
        A key file cannot be read, is not a key, or others than its owner can read it.
    """
    config, profile = composed.settings.config, composed.settings.profile
    store, kept = composed.state.state_store, composed.state.kept
    if store is None or kept is None:
        return
    from edge_agent.adapters.bundle_folder import BundleFolder
    from edge_agent.adapters.hub_state import BUNDLES
    from edge_agent.runtime.rollout.command_handlers import CommandTools
    from edge_agent.services import installer_files
    from edge_agent.services.bundle_worker import BundleWorker
    from edge_agent.services.configuration_checker import ConfigurationChecker
    from edge_agent.services.kept_state import make_hub_client
    from edge_agent.services.support_job import SupportJob
    from edge_agent.wire.package import POPULATION

    folder = Path(config.device.state_dir) / BUNDLES
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.error("hub: %s: %s; documents and commands of the hub are ignored", folder, error.strerror)
        return
    configured = {item.config.name: (item.digest, len(item.names)) for item in composed.prepared}
    installer = None
    if config.hub.release_keys and installer_files.FOLDER.is_dir():
        installer = installer_files.InstallerFiles(Path(config.device.state_dir), installer_files.FOLDER)
        configured[POPULATION] = (installer.installed(), 0)
    client = make_hub_client(config, kept, configured)
    client.active.pop(POPULATION, None)  # the installer knows what is installed
    tools = CommandTools(
        reload=reload,
        recording_file=recording_file,
        max_rate_hz=profile.max_rate_hz,
        send_learned=builder.send_learned,
        log_lines=builder.status.log_lines,
        support=SupportJob(support_command(config, composed.settings.config_path), wake),
    )
    if composed.remote_fault:
        client.configuration.lose(composed.remote_fault, client.rollouts)
    worker = BundleWorker(BundleFolder(folder), profile, config.hub, wake)
    builder.connect_hub(client, store, worker, ConfigurationChecker(compose, wake), tools, installer)


def support_command(config: Config, path: Path) -> list[str]:
    """Return the command that makes a support bundle of this device."""
    words = [sys.executable, "-m", "edge_agent", "support-bundle", "--config", str(path)]
    return [*words, "--socket", config.device.socket]


def join_peers(builder: DaemonBuilder, composed: Composed, battery: Callable[[], float | None]) -> None:
    """Connect the device to its peers, unless it has no broker or no ``peers`` section.

    Raises
    ------
    ConfigError
        A key file cannot be read, is not a key, or others than its owner can read it.
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
