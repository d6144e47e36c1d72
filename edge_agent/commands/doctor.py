"""``edge-agent doctor``: what on this board will hurt, each finding with its remedy."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.adapters import doctor_checks
from edge_agent.adapters.config_files import Reading
from edge_agent.adapters.doctor_checks import Finding
from edge_agent.commands.output import add_output_options, print_json
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("doctor", help="say what on this board will hurt, and what helps")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="also look at what this device.toml names"
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
    """Return all findings; a configuration that is wrong is one of them."""
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
    findings.append(doctor_checks.budget((device["memory_mb"] or document["profile"]["memory_mb"]) * 2**20))
    if broker is not None:
        findings.append(doctor_checks.reachable(broker["host"], broker["port"]))
        names = [broker[key] for key in ("password_file", "key_file") if broker[key]]
        findings += doctor_checks.secrets([Path(name) for name in names])
    return findings
