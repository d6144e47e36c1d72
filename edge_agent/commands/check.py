"""``edge-agent check``: validates configuration, bundles and profile and prints the memory plan, without
starting the daemon.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.output import add_output_options, print_json, print_table, size_text
from edge_agent.config.remote import listed
from edge_agent.memory.arena import total

if TYPE_CHECKING:
    from edge_agent.commands.compose import Composed
    from edge_agent.runtime.assembly import Prepared


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("check", help="validate a configuration and print its memory plan")
    add_settings_options(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and ``--profile``."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the device.toml")
    parser.add_argument("--profile", metavar="NAME", help="board profile instead of the one in the file")


def tick_s(item: Prepared) -> float | None:
    """Return the seconds per tick of a population; None if each arrival is a tick."""
    from edge_agent.runtime.population.group import ticks_per_second

    if item.config.tick == "arrival":
        return None
    return 1.0 / ticks_per_second(item.config, item.binding)


def silence(item: Prepared) -> dict[str, float]:
    """Return for each observed modality the seconds for which its last value counts in later ticks."""
    usual = "unknown" if item.binding.infers else "unchanged"
    return {
        entry.modality: entry.stale_s if (entry.silence or usual) == "unchanged" else 0.0
        for entry in item.config.observe
    }


def time_text(item: Prepared) -> str:
    """Return what a tick of a population is, and what a tick without a reading means."""
    seconds, text = tick_s(item), f"{item.config.name}: "
    text += "each arrival is a tick" if seconds is None else f"one tick per {seconds:g} s"
    for name, lasts in silence(item).items():
        text += f"; {name}: " + (
            f"its last value counts in each tick until it is {lasts:g} s old"
            if lasts
            else "not observed in a tick without a reading"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; BudgetError (exit status 3) if it does not fit."""
    from edge_agent.commands.broker_settings import check_broker
    from edge_agent.commands.compose import compose
    from edge_agent.services.kept_state import configured_trust, has_hub

    composed = compose(arguments.config, arguments.profile)
    check_broker(composed.settings.config, arguments.config)
    if has_hub(composed.settings.config):
        configured_trust(composed.settings.config)
    plan, shown = composed.plan, _shown_agents(composed)
    if arguments.json:
        print_json(
            {
                "home_assistant": shown,
                "telemetry": _telemetry(composed),
                "set_by_hub": dict(listed(composed.remote)),
                "not_applied_of_hub": composed.remote_fault,
                "budget": plan.budget,
                "total": plan.total,
                "arena": plan.arena,
                "missing": plan.missing,
                "lines": [asdict(line) for line in plan.lines],
                "time": [
                    {"population": item.config.name, "tick_s": tick_s(item), "silence": silence(item)}
                    for item in composed.prepared
                ],
            }
        )
    else:
        print_table(
            ["owner", "what", "bytes", "arena offset"],
            [
                [line.owner, line.what, line.nbytes, "" if line.offset is None else str(line.offset)]
                for line in plan.lines
            ],
        )
        free = plan.budget - plan.total
        print(
            f"total {size_text(plan.total)} of {size_text(plan.budget)} "
            f"({composed.settings.profile.board}), "
            + (f"{size_text(free)} free" if free >= 0 else f"{plan.missing} bytes missing")
        )
        for item in composed.prepared:
            print(time_text(item))
        for row in shown:
            print(
                f"home assistant: {row['population']}: {row['agents']} of {row['size']} agents, "
                f"{row['entities']} entities, at most {row['messages_per_s']:g} messages per second"
            )
        for line in telemetry_lines(composed):
            print(line)
        for key, value in listed(composed.remote):
            print(f"set by the hub: {key} = {value}")
        if composed.remote_fault:
            print(f"not applied of the hub: {composed.remote_fault}")
    plan.check(composed.budget_source)
    return 0


def _telemetry(composed: Composed) -> dict[str, Any] | None:
    """Return what the series of chosen agents cost; None without any."""
    samples = composed.samples
    if samples is None:
        return None
    limit = composed.settings.profile.telemetry_bytes_s * 3600.0
    return {
        "series": len(samples.names),
        "bytes_per_hour": round(samples.bytes_per_hour),
        "memory_bytes": total(samples.columns) + sum(line.nbytes for line in samples.lines),
        "limit_bytes_per_hour": round(limit),
    }


def telemetry_lines(composed: Composed) -> list[str]:
    """Return what the series of chosen agents cost, for people."""
    cost = _telemetry(composed)
    if cost is None:
        return []
    text = (
        f"telemetry: {cost['series']} series, at most {size_text(cost['bytes_per_hour'])} per hour before "
        f"compression, {size_text(cost['memory_bytes'])} of memory"
    )
    if 0 < cost["limit_bytes_per_hour"] < cost["bytes_per_hour"]:
        text += f"; thinned to the profile's {size_text(cost['limit_bytes_per_hour'])} per hour"
    return [text]


def _shown_agents(composed: Composed) -> list[dict[str, Any]]:
    """Return what the agents in Home Assistant cost, a row per population that shows some."""
    from edge_agent.commands.compose import shown_agents

    sizes = {item.config.name: len(item.names) for item in composed.prepared}
    return [
        {
            "population": name,
            "size": sizes[name],
            "agents": shown.agents,
            "entities": shown.agents * shown.entities.per_agent,
            "messages_per_s": round(shown.messages_per_s, 2),
        }
        for name, shown in shown_agents(composed).items()
    ]
