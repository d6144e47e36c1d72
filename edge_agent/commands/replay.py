"""``edge-agent replay RECORDING``: repeats a flight recording and compares it bit for bit."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.output import add_output_options, print_json, print_table
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError

if TYPE_CHECKING:
    from edge_agent.runtime.population.models import AnyModel
    from edge_agent.runtime.recording.explain import Explanation
    from edge_agent.runtime.recording.replay import Moment, Playback


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("replay", help="repeat a flight recording and compare every decision")
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a file of the flight recorder")
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="bundle file to use before those that the recording names",
    )
    parser.add_argument("--explain", nargs=2, metavar=("TICK", "AGENT"), help="explain an agent's action")
    parser.add_argument("--population", metavar="NAME", help="population of --explain (default: the first)")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0 only if every decision came out as recorded."""
    from edge_agent.runtime.recording.recorder import frames
    from edge_agent.runtime.recording.replay import replay

    try:
        data = arguments.recording.read_bytes()
    except OSError as error:
        raise ConfigError(f"{arguments.recording}: {error.strerror}") from error
    entries = list(frames(data))
    if not entries:
        raise ConfigError(f"{arguments.recording}: not a flight recording, or nothing in it is whole")
    find = _finder(arguments.bundle)
    if arguments.explain is None:
        return _report(arguments, replay(entries, find))
    found = _explain(arguments, entries, find)
    if arguments.json:
        print_json(asdict(found))
    else:
        _print_explanation(found)
    return EXIT_DONE


def _finder(bundles: list[Path]) -> Any:
    from edge_agent.runtime.population.models import load_model

    def find(path: str, digest: str) -> AnyModel:
        for candidate in (*bundles, Path(path)):
            if not candidate.exists():
                continue
            model, found = load_model(candidate)
            if found == digest:
                return model
        raise ConfigError(f"{path}: no bundle with digest {digest[:16]} there; name one with --bundle")

    return find


def _report(arguments: argparse.Namespace, found: Playback) -> int:
    if arguments.json:
        print_json(asdict(found))
    elif found.difference is None:
        print(f"{found.decisions} decisions in {found.steps} steps came out bit for bit")
    else:
        d = found.difference
        print(
            f"population {d.population}, tick {d.tick}, agent {d.agent}: recorded {d.recorded}, "
            f"replayed {d.replayed}; {found.decisions} decisions compared"
        )
    return EXIT_DONE if found.difference is None else EXIT_FAILED


def _explain(arguments: argparse.Namespace, entries: list[dict[str, Any]], find: Any) -> Explanation:
    from edge_agent.runtime.recording.explain import explain
    from edge_agent.runtime.recording.replay import replay

    tick_text, agent = arguments.explain
    if not tick_text.isdecimal():
        raise ConfigError(f"--explain: found {tick_text!r}, expected a tick number")
    population = arguments.population or entries[0]["population"]
    explained: list[Explanation] = []

    def watch(name: str, tick: int, moment: Moment) -> bool:
        if name != population or tick != int(tick_text):
            return False
        index = moment.names.find(agent)
        if index is None or index not in moment.agents:
            raise ConfigError(f"--explain: agent {agent!r} did not step in tick {tick}")
        explained.append(explain(moment, index))
        return True

    replay(entries, find, watch)
    if not explained:
        ticks = [e["tick"] for e in entries if e["kind"] == "step" and e["population"] == population]
        held = f"{min(ticks)} to {max(ticks)}" if ticks else "none"
        raise ConfigError(f"--explain: tick {tick_text} of {population} is not recorded; recorded: {held}")
    return explained[0]


def _print_explanation(found: Explanation) -> None:
    _print_decision(found)
    if found.learned is None or found.delivered is None:
        return
    counted = f"{found.learned['updates']} agents' ticks counted, new tables {found.learned['swaps']} times"
    same = "the same action" if found.delivered.chosen == found.chosen else "another action"
    print(f"\nby the delivered tables ({counted}): {same}")
    _print_decision(found.delivered)


def _print_decision(found: Explanation) -> None:
    print(f"{found.agent} observed {', '.join(found.observed)} (surprise {found.free_energy:.3f} nats)")
    if found.window is not None:
        print(f"inferred over its last {found.window} ticks")
    for factor, states in found.beliefs.items():
        print(f"believed {factor}: " + ", ".join(f"{state} {p:.3f}" for state, p in states))
    print_table(
        ["policy", "first actions", "utility", "information gain", "posterior"],
        [
            [
                option.policy,
                ", ".join(map(str, option.actions)),
                round(option.utility, 4),
                round(option.information_gain, 4),
                round(option.posterior, 4),
            ]
            for option in found.options
        ],
    )
    print(f"did {', '.join(map(str, found.chosen))}: the action whose policies have the largest posterior")
