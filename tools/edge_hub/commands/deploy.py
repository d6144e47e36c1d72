"""``edge-hub deploy``: roll out a bundle to a fleet in waves, with rollback.

Runs in the foreground and serves the bundle's blocks until the rollout has ended. ``edge-hub rollout`` from
another terminal pauses, resumes or aborts it. A device that is offline is parked: the rollout continues
without it, and it takes part when it returns. After the end, ``edge-hub rollout resume`` continues for
parked devices. At the end the state of every device is printed with its reason. Exit status 0 only if at
least ``--min-success`` of the devices committed.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from edge_agent import closed_pipe
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError, PeerError
from edge_agent.wire import bundle, topics
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.population_topics import check_population_topics
from edge_hub import absent, connection, deployment, releases, rotations
from edge_hub.commands.devices import collect
from edge_hub.desired import Desired
from edge_hub.device_selector import select
from edge_hub.fleet import Device
from edge_hub.hub_folder import HubStore, default_folder
from edge_hub.rejected import printable
from edge_hub.rollout import MIN_SUCCESS, STATES, FleetRollout, Member, parse_shares, waves
from edge_hub.signed_json import Signed
from edge_hub.tables import drawn


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the parser."""
    parser = subparsers.add_parser("deploy", help="roll out a bundle in waves")
    add_rollout_arguments(parser)
    parser.add_argument("--population", help="the population; default: the only one of the devices")
    parser.add_argument(
        "--new",
        type=Path,
        metavar="TOML",
        help="configuration of a new population, for devices that do not have it",
    )
    parser.set_defaults(run=run)


def add_rollout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that begins a rollout."""
    parser.add_argument("bundle", type=Path, help="the .eab file")
    parser.add_argument(
        "--release",
        type=Path,
        metavar="FILE",
        help="the release (edge-hub sign), for devices with release keys; it is stored",
    )
    parser.add_argument(
        "--url", default="", help="http, https or file URL from which devices fetch the bundle"
    )
    add_wave_arguments(parser)
    add_runner_arguments(parser)
    connection.add_service_arguments(parser)


def add_wave_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say to whom something goes, in which waves, and when it fails."""
    parser.add_argument("--to", default="all", metavar="SELECTOR", help="all, names, patterns, key=value")
    parser.add_argument(
        "--canary",
        default="5%,25%,100%",
        metavar="SHARES",
        help="cumulative share of the devices in each wave; default: %(default)s",
    )
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="a limit for the shadow run or the trial; repeatable",
    )
    parser.add_argument(
        "--max-failures",
        type=int,
        default=0,
        help="number of devices that may fail; one more failure stops the rollout",
    )
    parser.add_argument(
        "--min-success",
        type=float,
        default=MIN_SUCCESS,
        metavar="SHARE",
        help="share of the devices that must commit; if too many fail and fewer have committed, "
        "all are reverted; default: %(default)s",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=3600.0,
        help="seconds without a report after which a device counts as failed",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=1.0,
        help="seconds without a message after which the list of devices is complete",
    )


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that runs a rollout."""
    connection.add_arguments(parser)
    parser.add_argument(
        "--sign", type=Path, action="append", default=[], metavar="KEY", help="secret key file"
    )
    parser.add_argument(
        "--expires", type=float, default=7 * 86_400.0, help="validity of a document in seconds"
    )
    parser.add_argument(
        "--state", type=Path, default=default_folder(), help="the hub's folder; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per change")
    parser.add_argument("-v", "--verbose", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    """Begin a rollout and see it through."""
    check_fleet(arguments)
    found = bundle.read(arguments.bundle)
    parse_shares(arguments.canary)
    gates = deployment.gates(arguments.gate)
    if not 0.0 <= arguments.min_success <= 1.0:
        raise ConfigError(f"--min-success: found {arguments.min_success:g}, expected 0 to 1")
    if arguments.new and not arguments.population:
        raise ConfigError("--population: found none, expected the name of the new one")
    if arguments.population:
        topics.check_name(arguments.population, "--population")
    config = population_config(arguments.new, arguments.population)
    release = _release(arguments, found.digest, config)
    if arguments.hub:
        from edge_hub import remote_commands

        return remote_commands.deploy(arguments, gates, config, release)
    store = HubStore(arguments.state)
    rotations.signers(arguments.sign, arguments.fleet, rotations.load(store, arguments.fleet))
    heard = collect(arguments)
    absent.warn(absent.find(store, arguments.broker, arguments.fleet, heard))
    devices = select(heard.devices.values(), arguments.to)
    population = arguments.population or _only_population(devices)
    store.keep_bundle(arguments.bundle, found.digest)
    if release is not None:
        releases.keep(store, arguments.fleet, release)
    id_ = f"{found.name}-{found.digest[:8]}-{secrets.token_hex(2)}"
    rollout = planned(arguments, devices, id_, (found.digest, found.name, population))
    rollout.url, rollout.config = arguments.url, config
    return work(arguments, rollout, store)


def planned(
    arguments: argparse.Namespace, devices: Sequence[Device], id_: str, what: tuple[str, str, str]
) -> FleetRollout:
    """Return a rollout to ``devices`` as the options say; ``what`` is its digest, name and population."""
    names = [device.name for device in devices]
    # Who is offline proves nothing: the first waves are of those that are there.
    there = [device.name for device in devices if device.online]
    cut = waves(there or names, parse_shares(arguments.canary), id_)
    cut[-1] += [name for name in names if there and name not in set(there)]
    rollout = FleetRollout(id_, *what, cut, {name: Member() for name in names})
    rollout.gates, rollout.max_failures = deployment.gates(arguments.gate), arguments.max_failures
    rollout.patience, rollout.min_success = arguments.patience, arguments.min_success
    return rollout


def work(arguments: argparse.Namespace, rollout: FleetRollout, store: HubStore) -> int:
    """Run a rollout to its end."""
    known = rotations.load(store, arguments.fleet)
    keys = rotations.signers(arguments.sign, arguments.fleet, known)
    with (
        store.running(rollout.id) as ours,
        connection.Connection(arguments, deployment.filters(arguments.fleet)) as link,
    ):
        if not ours:
            raise ConfigError(f"rollout {rollout.id}: another process runs it already")
        stored = releases.load(store, arguments.fleet)
        desired = Desired(link, arguments.fleet, keys, known, arguments.expires, stored)
        job = deployment.Deployment(rollout, store, link, desired)
        job.run(lambda r: show(r, arguments.json))
    show_devices(rollout, arguments.json)
    job.fleet.rejected.warn()
    return EXIT_DONE if rollout.succeeded else EXIT_FAILED


def check_fleet(arguments: argparse.Namespace) -> None:
    """Refuse to send anything to a fleet that was not named.

    Raises
    ------
    ConfigError
        ``--fleet`` was not given.
    """
    if arguments.fleet == "+":
        raise ConfigError("--fleet: found none, expected the fleet's name")


def show(rollout: FleetRollout, as_json: bool) -> None:
    """Print where a rollout stands, in one line."""
    found = deployment.summary(rollout)
    if as_json:
        _say(json.dumps(found))
        return
    counts = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    wave = f"wave {found['wave']} of {found['waves']}"
    reason = printable(rollout.reason, 500)
    _say(f"{time.strftime('%H:%M:%S')} {rollout.id} {rollout.status}, {wave}: {counts} {reason}")


def show_devices(rollout: FleetRollout, as_json: bool) -> None:
    """Print state and reason of every device: a table, or the last line of JSON with ``outcomes``."""
    if as_json:
        _say(json.dumps(deployment.summary(rollout) | {"outcomes": rollout.outcomes()}))
        return
    table = Table("device", "state", "reason")
    for name, outcome in sorted(rollout.outcomes().items()):
        table.add_row(name, outcome["state"], Text(printable(outcome["reason"], 200)))
    _say(drawn(table), end="")


def _say(text: str, end: str = "\n") -> None:
    """Print; a rollout does not end because nobody reads its lines."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        closed_pipe.discard_output()


def _release(arguments: argparse.Namespace, digest: str, config: dict[str, Any]) -> Signed | None:
    """Return the release of ``--release``, checked to be one of what is deployed."""
    if arguments.release is None:
        return None
    signed = releases.read(arguments.release)
    document = releases.document_of(signed, str(arguments.release))
    expected = {"fleet": arguments.fleet, "bundle": digest}
    if arguments.population:
        expected["population"] = arguments.population
    for key, value in expected.items():
        if document[key] != value:
            raise ConfigError(f"{arguments.release}: {key}: found {document[key]!r}, expected {value!r}")
    if config and document.get("config") != config:
        raise ConfigError(f"{arguments.release}: config: found another one than {arguments.new}")
    return signed


def population_config(path: Path | None, name: str) -> dict[str, Any]:
    """Return the configuration of a new population, {} without a file.

    Raises
    ------
    ConfigError
        The file is missing, not TOML, or holds what a population of the hub can't have.
    """
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    for key in ("name", "bundle"):
        if key in found:
            raise ConfigError(f"{path}: {key}: found {found[key]!r}, expected it on the command line alone")
    try:
        json.dumps(found)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}, expected text, numbers, lists and tables") from error
    try:
        check_plain(found, "config")
        check_population_topics(found, name)
    except (PeerError, ConfigError) as error:
        raise ConfigError(f"{path}: {str(error).removeprefix('config.')}") from error
    return found


def _only_population(devices: list[Device]) -> str:
    found = {name for device in devices for name in device.birth.get("populations", {})}
    if len(found) != 1:
        raise ConfigError(f"--population: the devices have {sorted(found)}, expected the name of one")
    return str(found.pop())
