"""``edge-agent status``: shows the state of the running daemon."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_agent.adapters.control import ask
from edge_agent.commands.output import add_output_options, print_json, print_table, size_text
from edge_agent.config.records import DeviceConfig

_COLUMNS = ("agents", "ticks", "steps", "actions", "missed", "stale", "latency_p50_ms", "latency_p99_ms")
DEFAULT_SOCKET = DeviceConfig(name="x").socket


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("status", help="show the state of the running daemon")
    add_socket_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def add_socket_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--socket``."""
    parser.add_argument(
        "--socket",
        type=Path,
        default=Path(DEFAULT_SOCKET),
        metavar="PATH",
        help="the daemon's control socket",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the status."""
    status = ask(arguments.socket, {"ask": "status"})
    if arguments.json:
        print_json(status)
        return 0
    broker = status["broker"]
    print(f"{status['fleet']}/{status['device']}, up {status['uptime_s']:.0f} s")
    print(f"memory   {size_text(status['rss_bytes'])} of {size_text(status['budget_bytes'])}")
    print(f"broker   {broker['state']}{', ' + broker['reason'] if broker.get('reason') else ''}")
    if status["peers"] is not None:
        print(f"peers    {_peers(status['peers'])}")
    print(f"step     {status['step_us']} µs per agent")
    print_table(
        ["population", *_COLUMNS, "faults"],
        [
            [name, *(entry[key] for key in _COLUMNS), _faults(entry["faults"])]
            for name, entry in status["populations"].items()
        ],
    )
    for name, entry in status["populations"].items():
        if entry.get("unavailable"):
            print(f"{name}: offline now: {', '.join(entry['unavailable'])}")
    return 0


def _peers(peers: dict[str, Any]) -> str:
    coalition = peers["coalition"]
    if coalition is None:
        together = "in no coalition"
    else:
        members = ", ".join(f"{name} ({role})" for name, role in coalition["members"].items())
        standing = "" if coalition["confirmed"] else ", not yet confirmed"
        together = f"{coalition['objective']}: {members}{standing}"
    counts = ", ".join(f"{peers[key]} {key}" for key in ("refused", "lost", "duplicates"))
    return f"{peers['here']} here; {together}; evidence: {counts}"


def _faults(faults: dict[str, int]) -> str:
    return " ".join(f"{kind}:{count}" for kind, count in faults.items()) or "none"
