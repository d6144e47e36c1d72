"""``python -m benchmarks.soak --minutes 30 [--seed N] [--report]``; exit status 0 only if everything held."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Screen

from benchmarks import machine, report
from benchmarks.plots import Curves
from benchmarks.soak import verdict
from benchmarks.soak.abuse import Abuse
from benchmarks.soak.hub import end
from benchmarks.soak.lab import DEVICES, Lab
from benchmarks.soak.verdict import TRACEBACK, Check
from benchmarks.soak.watch import Watch, curve
from edge_agent.errors import PlatformError

SETTLE_S = 120.0


def soak(folder: Path, seconds: float, seed: int, say: Console) -> tuple[list[Check], Curves]:
    """Abuse them for so long, every kind at least once; return the verdict and the daemons' memory."""
    lab = Lab(folder)
    try:
        lab.start()
        watch, abuse, start = Watch(lab), Abuse(lab, seed), time.monotonic()
        watch.start()
        lacking = set(abuse.kinds)

        def passed() -> float:
            return time.monotonic() - start - watch.late_s  # while the machine stands still, nobody is abused

        for kind in abuse.script():
            if not lacking and passed() >= seconds:
                break
            say.print(f"{passed():6.0f} s  {kind}")
            try:
                abuse.do(kind)
            except PlatformError as error:
                abuse.failures.append(f"{kind}: {error}")
                break
            except KeyboardInterrupt:
                say.print("interrupted: the verdict is about what was done")
                break
            lacking.discard(kind)
        lasted = passed()
        abuse.close()
        over, since = time.monotonic(), time.time()
        while not lab.complete(since) and time.monotonic() - over < SETTLE_S:
            time.sleep(0.5)
        settled, stored, alerts = time.monotonic() - over, lab.stored(), lab.hub.alerts()
        watch.stop()
        statuses = {name: _status(lab, name) for name in DEVICES}
        codes = end(lab.daemons, 10.0)
        telemetry, codes = lab.hub.telemetry(), codes | end(lab.hub.processes.running, 30.0)
        log = lab.hub.processes.log()
    finally:
        lab.close()
    mute = [name for name, status in statuses.items() if status is None]
    bad = [
        name
        for name, status in statuses.items()
        if status is not None and status["populations"]["rooms"]["bundle"] == lab.bad_digest
    ]
    logs = sum((folder / name / "log").read_text(errors="replace").count(TRACEBACK) for name in DEVICES)
    done = ", ".join(f"{count} × {kind}" for kind, count in abuse.done.items())
    checks = [
        Check("done", done),
        Check("abused for", f"{lasted / 60:.1f} minutes"),
        *verdict.loss(stored, DEVICES),
        Check("telemetry complete after the end", f"{settled:.1f} s", f"{SETTLE_S:g}", settled < SETTLE_S),
        *(
            check
            for name in DEVICES
            for check in verdict.checks_of(name, watch.samples[name], abuse.filled(name))
        ),
        *verdict.hub_checks(watch.hub, telemetry, alerts, log),
        Check(
            "what did not end as it should",
            "; ".join(abuse.failures) or "0",
            "0",
            not abuse.failures,
        ),
        Check("devices that do not answer", ", ".join(mute) or "0", "0", not mute),
        Check("devices that run the bad bundle", ", ".join(bad) or "0", "0", not bad),
        Check("tracebacks in the logs", str(logs), "0", logs == 0),
        Check(
            "ended on SIGTERM with status 0",
            ", ".join(f"{name}: {code}" for name, code in codes.items() if code) or f"{len(codes)}",
            f"{len(codes)}",
            not any(codes.values()),
        ),
        Check("hub: processes that ended by themselves, started again", f"{lab.hub.started_again}"),
        Check("the machine stood still, in all", f"{watch.late_s:.1f} s"),
    ]
    return checks, {name: curve(watch.samples[name], start) for name in DEVICES}


def _status(lab: Lab, name: str) -> dict[str, Any] | None:
    """Ask a daemon, again for `SETTLE_S` if it does not answer on a busy machine."""
    end = time.monotonic() + SETTLE_S
    while (status := lab.status(name)) is None and time.monotonic() < end:
        time.sleep(0.5)
    return status


def main() -> int:
    """Run it and print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="at least; each kind of abuse happens once"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="keep the verdict for the report, and make it")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line of the verdict")
    options = parser.parse_args()
    say = Console(stderr=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        checks, curves = soak(Path(folder), 60 * options.minutes, options.seed, say)
    held = all(check.holds is not False for check in checks)
    if options.json:
        for check in checks:
            print(json.dumps(check.row | {"holds": check.holds}), flush=True)
    else:
        screen = Screen("check", "found", "limit", "holds", title="held" if held else "NOT HELD")
        for check in checks:
            screen.add_row(*(str(value) for value in check.row.values()))
        Console().print(screen)
    if options.report:
        command = f"make soak MINUTES={options.minutes:g} SEED={options.seed}"
        minutes, load = (time.monotonic() - begun) / 60, machine.describe()["load_before"]
        verdict_ = "held" if held else "not held"
        notes = [
            f"Verdict: {verdict_}. {minutes:.0f} minutes, commit {machine.commit()}, load at the end {load}."
        ]
        rows = [check.row for check in checks]
        report.write_table("soak", report.Table(command, report.today(), rows, notes, curves))
        report.generate()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
