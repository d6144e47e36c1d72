"""``edge-hub configure``: set values in the configuration of devices, in waves, with rollback.

The file is TOML: the section ``device``, and tables ``population.NAME``, ``population.NAME.observe.MODALITY``
and ``population.NAME.act.CONTROL``. It replaces all that a hub has set there before; an empty file takes all
of it back. Each device checks the values with its own file, tries them, and keeps or undoes them; what a hub
may set is decided by the device. Otherwise like ``edge-hub deploy``.
"""

from __future__ import annotations

import argparse
import json
import secrets
import tomllib
from pathlib import Path
from typing import Any

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.releases import config_digest
from edge_hub import absent, connection, deployment, rotations
from edge_hub.commands.deploy import add_runner_arguments, add_wave_arguments, check_fleet, planned, work
from edge_hub.commands.devices import collect
from edge_hub.device_selector import select
from edge_hub.hub_folder import HubStore
from edge_hub.rollout import CONFIGURATION, parse_shares

NAME = "configuration"


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("configure", help="set values in the configuration of devices")
    parser.add_argument("file", type=Path, help="TOML file with the values")
    add_wave_arguments(parser)
    add_runner_arguments(parser)
    connection.add_service_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Begin the rollout of a configuration and see it through."""
    check_fleet(arguments)
    parse_shares(arguments.canary)
    gates, values = deployment.gates(arguments.gate), read(arguments.file)
    if arguments.hub:
        from edge_hub import remote_commands

        return remote_commands.configure(arguments, gates, values)
    store = HubStore(arguments.state)
    rotations.signers(arguments.sign, arguments.fleet, rotations.load(store, arguments.fleet))
    heard = collect(arguments)
    absent.warn(absent.find(store, arguments.broker, arguments.fleet, heard))
    digest = config_digest(values)
    id_ = f"{NAME}-{digest[:8]}-{secrets.token_hex(2)}"
    devices = select(heard.devices.values(), arguments.to)
    rollout = planned(arguments, devices, id_, (digest, NAME, CONFIGURATION))
    rollout.config = values
    return work(arguments, rollout, store)


def read(path: Path) -> dict[str, Any]:
    """Return the values in a file.

    Raises
    ------
    ConfigError
        The file is missing, not TOML, or holds what a document can't have.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
        json.dumps(found)
        check_plain(found, "configuration")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except (PeerError, TypeError) as error:
        raise ConfigError(f"{path}: {error}, expected text, numbers, lists and tables") from error
    return found
