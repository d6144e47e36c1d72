"""``edge-agent doctor``: checks this board for common problems and suggests fixes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.adapters import doctor_checks, retained_check
from edge_agent.adapters.config_files import Reading
from edge_agent.adapters.doctor_checks import Finding
from edge_agent.adapters.login import log_in
from edge_agent.adapters.looped_client import replaces_io
from edge_agent.commands.broker_settings import client_id, expired, mqtt_settings
from edge_agent.commands.output import add_output_options, print_json
from edge_agent.config import records as config_records
from edge_agent.config.records import Config
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_agent.services.kept_state import configured_trust


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("doctor", help="check this board for common problems and suggest fixes")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="also check the files and the broker that this device.toml names",
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; exit 1 if one of them is not good."""
    findings = examine(arguments.config)
    if arguments.json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.good else 'BAD '} {finding.what}: {finding.found}")
            if not finding.good:
                print(f"     {finding.remedy}")
    return EXIT_DONE if all(finding.good for finding in findings) else EXIT_FAILED


def examine(config: Path | None) -> list[Finding]:
    """Return all findings; an invalid configuration is one of them."""
    findings = list(doctor_checks.board())
    if config is None:
        return findings
    try:
        document = Reading(config).result()
    except ConfigError as error:
        return [*findings, Finding("configuration", False, str(error), "correct the file")]
    device, broker = document["config"]["device"], document["config"]["broker"]
    findings.append(Finding("configuration", True, str(config)))
    findings.append(doctor_checks.disk(Path(device["state_dir"])))
    findings += doctor_checks.owners(Path(device["state_dir"]))
    findings.append(doctor_checks.budget((device["memory_mb"] or document["profile"]["memory_mb"]) * 2**20))
    if broker is not None:
        built = config_records.build(document["config"])
        findings += _broker(built, config)
        if built.hub.keys:
            findings.append(_hub_keys(built))
        names = [broker[key] for key in ("password_file", "key_file") if broker[key]]
        findings += doctor_checks.secrets([Path(name) for name in names])
    return findings


def _hub_keys(config: Config) -> Finding:
    """Say who may tell this device what to run."""
    try:
        trust = configured_trust(config)
    except ConfigError as error:
        return Finding("hub keys", False, str(error), "correct the file or hub.keys and hub.release_keys")
    director = f"{trust.threshold} of {len(trust.keys)}"
    if trust.has_release_keys:
        release = f"{trust.release_threshold} of {len(trust.release_keys)}"
        return Finding("hub keys", True, f"director {director}, release {release}")
    found = f"{director}; whoever has them can run any bundle here (hub.release_keys separates the roles)"
    return Finding("hub keys", True, found)


def _broker(config: Config, path: Path) -> Iterator[Finding]:
    """Log in as the device would, under another client identifier: the daemon may be connected."""
    assert config.broker is not None  # noqa: S101 - the caller's condition, for the type checker
    try:
        settings = mqtt_settings(config.broker, f"{client_id(config)}-doctor", path)
        line = expired(config.broker)
        login = log_in(settings)
    except ConfigError as error:
        yield Finding("broker", False, str(error), "correct the file or the key")
        return
    if line:
        yield Finding("certificate", False, line, "have it renewed, and check the clock")
    yield doctor_checks.login(f"{settings.host}:{settings.port}", login)
    if not login.reason:
        yield retained_check.retained_messages(settings, config.device.fleet, config.device.name)
    if not replaces_io():
        yield Finding(
            "message path",
            False,
            "this paho-mqtt does not let its connection be served by the daemon's loop, so a message costs "
            "three times the processor time",
            "install paho-mqtt 2.1 or 2.2",
        )
    if not login.limited:
        yield Finding(
            "packet lengths",
            False,
            "this paho-mqtt does not let them be checked, so one long message can take all memory",
            "install paho-mqtt 2.1 or 2.2",
        )
