"""The demo, on real data: ``make demo``.

Learns a float model from an office's readings, converts it to an int8 bundle, starts a broker, three devices
and a hub, and replays the week to 936 rooms. One device is killed half way and restarted. The demo observes
that the devices' coalition loses a member, forms again and includes the member again. Then it tries what the
controllers make of a CO2 sensor that fails (``fault_trial``), and prints a summary.
The exit status is 0 only if all checks passed; each failed check is named.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import fault_report
import fault_trial
import readings
from coalition import Observer
from controllers import Controller, OnOff, Schedule, Threshold
from edge_agent import Model
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, EdgeAgentError
from edge_agent.wire.topics import DeviceTopics
from edge_convert.readers import pymdp_npz
from fidelity import agreement
from fleet import FLEET, HEARTBEAT_S, HOST, Device, Hub, broker, fresh_directory, run_program
from hub_service import HubService
from playback import Playback, Share
from rooms import Rooms, Score

DEVICES = ("pi-cellar", "pi-north", "pi-south")
KILLED = "pi-south"
AWAY_TICKS = 25
BULK, SINGLE = 300, 12
COMPARED_ROOMS = 6
SEED = 7
HERE = Path(__file__).parent
PATIENCE_S = 10.0
RSS_LIMIT_MB = 60.0
AGREEMENT = 0.99


def rival(controller: Controller) -> Score:
    """Return the score of a rule in the same rooms."""
    rooms = Rooms(readings.load(readings.DATA), len(DEVICES) * (BULK + SINGLE), SEED)
    while not rooms.over:
        rooms.act(controller.decide(rooms.observe(), rooms.now))
    return rooms.score()


def play(directory: Path, console: Console, live: bool) -> dict[str, Any]:
    """Run the fleet through the week; return what was seen."""
    source = pymdp_npz.read(directory / "office.npz")
    model, meta = source.arrays, source.meta
    levels = {name: number for number, name in enumerate(meta["controls"][0]["values"])}
    rooms = Rooms(readings.load(readings.DATA), len(DEVICES) * (BULK + SINGLE), SEED)
    seen: dict[str, Any] = {}
    with ExitStack() as stack:
        seen["broker"], port = stack.enter_context(broker(directory / "broker"))
        console.print(f"broker: {seen['broker']}; {len(DEVICES)} devices with {BULK + SINGLE} rooms each")
        hub = stack.enter_context(Hub(directory, port, live))
        service = stack.enter_context(HubService(directory, port))
        fleet = {
            name: stack.enter_context(Device(directory, name, port, BULK, SINGLE, SEED + number))
            for number, name in enumerate(DEVICES)
        }
        address = (HOST, port)
        objective = fleet[KILLED].objective()
        observer = stack.enter_context(Observer(FLEET, objective, HEARTBEAT_S, address))
        for device in fleet.values():
            device.await_online()
        seen["coalition"] = {"start": agreement_s(observer, DEVICES)}
        shares = [
            Share(DeviceTopics(FLEET, name), number * (BULK + SINGLE), BULK, SINGLE)
            for number, name in enumerate(DEVICES)
        ]
        playback = Playback(rooms, shares, levels, len(meta["modalities"]), address)
        half = len(rooms.times) // 2
        killed: list[float] = []

        def kill() -> None:
            killed.append(time.monotonic())
            observer.forget(KILLED)
            fleet[KILLED].kill()

        playback.play({half: kill, half + AWAY_TICKS: fleet[KILLED].start})
        for device in fleet.values():
            device.await_online()
        seen["coalition"]["return"] = agreement_s(observer, DEVICES)
        course = observer.course(killed[0])
        seen["members"] = [set(agreement.members) for agreement in course]
        seen["coalition"]["loss"] = round(course[1].at - killed[0], 3)
        seen["status"] = {name: device.status() for name, device in fleet.items()}
        seen["exit"] = {name: device.stop() for name, device in fleet.items()}
        playback.close()
        seen["service"] = {"address": service.address, "messages": service.messages()}
    seen["hub"] = hub.lines()
    record = playback.record
    chosen = np.linspace(0, BULK - 1, COMPARED_ROOMS).astype(int).tolist()
    seen |= {"record": record, "score": rooms.score(), "ticks": playback.ticks}
    seen["agreement"], seen["compared"] = agreement(model, meta, record.answers[DEVICES[0]], chosen)
    return seen


def agreement_s(observer: Observer, members: tuple[str, ...]) -> float | None:
    """Return the seconds from the last of ``members`` being heard to all agreeing; None: they did not."""
    at = observer.await_agreement(members, PATIENCE_S)
    return None if at < 0 else round(at - max(observer.first_heard[name] for name in members), 3)


def summarize(seen: dict[str, Any]) -> dict[str, Any]:
    """Put the figures together; ``failed`` lists what did not happen."""
    record, status, lines = seen["record"], seen["status"], seen["hub"]
    p50, p99 = np.percentile(np.array(record.latencies or [np.inf]) * 1e3, [50, 99])
    bulk = [device["populations"]["rooms"] for device in status.values()]
    rss = {name: round(entry["rss_bytes"] / 1e6, 1) for name, entry in status.items()}
    step_us = float(np.mean([device["step_us"] for device in status.values()]))
    expected = seen["ticks"] * BULK * len(DEVICES)
    course = [line["online"] for line in lines if line["device"] == KILLED and "online" in line]
    scores = {
        "agents": seen["score"],
        "schedule": rival(Schedule()),
        "on-off": rival(OnOff()),
        "threshold": rival(Threshold()),
    }
    checks = {
        "the hub saw every device": {line["device"] for line in lines} == set(DEVICES),
        "the hub saw the killed device go and come back": _went_and_came_back(course),
        "the hub's service stored telemetry of every device": set(DEVICES)
        == {name for name, count in seen["service"]["messages"].items() if count},
        "nine decisions in ten arrived": record.decisions >= 0.9 * expected,
        "rooms with a fan of their own were told what to do": record.set_messages > 0,
        "the devices formed a coalition": seen["members"][0] == set(DEVICES),
        "the devices left formed one without the killed device": seen["members"][1]
        == set(DEVICES) - {KILLED},
        "their coalition took it back": seen["members"][2] == set(DEVICES),
        f"agreement with float64 is {AGREEMENT} or more": seen["agreement"] >= AGREEMENT,
        f"every daemon stays under {RSS_LIMIT_MB:g} MB": max(rss.values()) < RSS_LIMIT_MB,
        "every daemon ended in good order": set(seen["exit"].values()) == {EXIT_DONE},
    }
    return {
        "broker": seen["broker"],
        "hub": seen["service"],
        "devices": len(DEVICES),
        "rooms": len(DEVICES) * (BULK + SINGLE),
        "seconds": round(record.seconds, 1),
        "decisions": record.decisions + record.set_messages,
        "decisions_expected": expected,
        "latency_p50_ms": round(float(p50), 2),
        "latency_p99_ms": round(float(p99), 2),
        "agent_steps_per_s": round(1e6 / step_us) if step_us else 0,
        "agent_steps_per_s_replayed": round(record.decisions / record.seconds),
        "bytes_per_agent": max(entry["bytes_per_agent"] for entry in bulk),
        "rss_mb": rss,
        "coalition": {
            **{
                when: sorted(m)
                for when, m in zip(("before", "during", "after"), seen["members"], strict=True)
            },
            "agreed_s": {name: seen["coalition"][name] for name in ("start", "loss", "return")},
        },
        "agreement": round(seen["agreement"], 4),
        "agreement_decisions": seen["compared"],
        "scores": {
            name: {"comfort": round(score.comfort, 4), "kwh_per_room": round(score.kwh, 3)}
            for name, score in scores.items()
        },
        "failed": [name for name, held in checks.items() if not held],
    }


def _went_and_came_back(course: list[bool]) -> bool:
    """Whether ``online`` was true, then false, then true again: the goodbye at the end comes after that."""
    changes = [online for online, _ in itertools.groupby(course)]
    return changes[changes.index(True) :][:3] == [True, False, True] if True in changes else False


def print_summary(console: Console, summary: dict[str, Any], faults: fault_trial.Results) -> None:
    """Print the figures as tables."""
    table = Table(title="The office's week, decided on three devices", show_header=False)
    rows = [
        ("rooms, devices, broker", f"{summary['rooms']}, {summary['devices']}, {summary['broker']}"),
        ("decisions made", f"{summary['decisions']:,} in {summary['seconds']} s"),
        ("observation to action, p50 / p99", f"{summary['latency_p50_ms']} / {summary['latency_p99_ms']} ms"),
        (
            "agent-steps/s: kernel, replayed",
            f"{summary['agent_steps_per_s']:,}, {summary['agent_steps_per_s_replayed']:,}",
        ),
        ("bytes per agent", f"{summary['bytes_per_agent']:g}"),
        ("RSS of each daemon", ", ".join(f"{name} {mb} MB" for name, mb in summary["rss_mb"].items())),
        (
            "coalition before, during, after",
            ", ".join(str(len(summary["coalition"][name])) for name in ("before", "during", "after")),
        ),
        (
            "agreed after start, loss, return",
            ", ".join(f"{seconds} s" for seconds in summary["coalition"]["agreed_s"].values()),
        ),
        ("actions as the float64 model", f"{summary['agreement']:.2%} of {summary['agreement_decisions']:,}"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    scores = Table("controller", "occupied time at 1000 ppm CO2 or less", "fan energy, kWh per room and week")
    for name, score in summary["scores"].items():
        scores.add_row(name, f"{score['comfort']:.1%}", f"{score['kwh_per_room']:.2f}")
    console.print(scores)
    console.print(fault_report.medians(faults))
    stored = sum(summary["hub"]["messages"].values())
    console.print(
        f"The hub at {summary['hub']['address']} saw {len(summary['hub']['messages'])} devices and stored "
        f"{stored} of their messages; it is stopped now."
    )
    for name in summary["failed"]:
        console.print(f"[red]did not happen:[/] {name}")


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description="Run the main job on an office's week.")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object, last")
    parser.add_argument("--directory", type=Path, default=Path("out/demo"), help="for everything it writes")
    options = parser.parse_args()
    console = Console()
    directory = fresh_directory(options.directory)
    try:
        template = ("--template", HERE / "office.toml")
        run_program("edge-convert", "fit", readings.DATA, *template, "-o", directory / "office.npz")
        convert = ("convert", directory / "office.npz", "-o", directory / "office.eab", "--name", "office")
        run_program("edge-convert", *convert)
        seen = play(directory, console, live=console.is_terminal and not options.json)
        console.print("the same week with a CO2 sensor that fails, without broker and daemons")
        faults = fault_trial.compare(Model.load(directory / "office.eab"), readings.load(readings.DATA))
    except (EdgeAgentError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    summary = summarize(seen)
    print_summary(console, summary, faults)
    if options.json:
        print(json.dumps(summary | {"faults": fault_report.plain(faults)}))
    return EXIT_FAILED if summary["failed"] else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
