"""A campaign: ``python -m tests.fuzz --seconds 600 [--target NAME] [--jobs 2]``, which ``make fuzz`` runs.

Theory of operation. Each target gets its seconds of processor time, measured from outside, so that a busy
machine takes nothing away. It gets them in slices, in turn with the others; what was done stands in
``build/fuzz/NAME/total.json`` after every slice and counts in the next campaign, until ``--fresh`` begins
anew. A slice that crashed has left its input under ``build/fuzz/NAME/crashes``; what is found goes into
``build/fuzz/NAME/corpus``, where the next slice goes on. Executions and edges are libFuzzer's own; edges
count instrumented Python alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.report import Table, today, write_table
from tests.fuzz import TARGETS

WORK = Path("build/fuzz")
CORPUS = Path(__file__).parent / "corpus"
MAX_LENGTH = 8192
SLICE_SECONDS = 60.0
STUCK_SECONDS = 3600
NOTES = (
    "cpu_s: processor time of the target, in slices; running it again adds to these figures.",
    "edges: libFuzzer's count of instrumented Python alone.",
    "crashes: of the code as it stands; what crashed before is mended and its input in tests/fuzz/corpus.",
    "What must hold: only errors of edge_agent/errors.py come out, 1 s of processor time an input, 256 MiB "
    "of data beyond the process's own.",
    "LiteRT and ONNX Runtime are not instrumented; LiteRT runs in a process of its own and is left out of "
    "the target tflite.",
)
COUNT = re.compile(r"^(?:#|stat::number_of_executed_units: )(\d+)\s", re.MULTILINE)
EDGES = re.compile(r"\bcov: (\d+)")


@dataclass(slots=True)
class Total:
    """What was done for one target."""

    cpu_s: float = 0.0
    executions: int = 0
    edges: int = 0
    crashes: int = 0


def main() -> int:
    """Run the campaign, print the table, write the report; 1 if something crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every decoder.")
    parser.add_argument("--seconds", type=float, default=600.0, help="processor time a target (600)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one (repeatable)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (2)")
    parser.add_argument("--fresh", action="store_true", help="forget the figures of earlier campaigns")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    for name in names:
        prepare(name, options.fresh)
    with ThreadPoolExecutor(options.jobs) as pool:
        while behind := [name for name in names if total(name).cpu_s < options.seconds]:
            list(pool.map(lambda name: extend(name, options.seconds), behind))
    totals = {name: total(name) for name in TARGETS if (WORK / name / "total.json").exists()}
    print(table(totals))
    report(totals, options.seconds)
    return int(any(totals[name].crashes for name in names))


def prepare(name: str, fresh: bool) -> None:
    """Make the folders of a target; forget its figures if that is asked for."""
    for part in ("corpus", "crashes"):
        (WORK / name / part).mkdir(parents=True, exist_ok=True)
    if fresh:
        (WORK / name / "total.json").unlink(missing_ok=True)


def total(name: str) -> Total:
    """Return the figures so far."""
    path = WORK / name / "total.json"
    return Total(**json.loads(path.read_text())) if path.exists() else Total()


def extend(name: str, seconds: float) -> None:
    """Fuzz one target for a slice, up to ``seconds`` of processor time in all."""
    figures = total(name)
    found = run(name, WORK / name, min(SLICE_SECONDS, seconds - figures.cpu_s))
    figures.cpu_s = round(figures.cpu_s + max(found.cpu_s, 1.0), 1)
    figures.executions += found.executions
    figures.edges = max(figures.edges, found.edges)
    figures.crashes += found.crashes
    (WORK / name / "total.json").write_text(json.dumps(asdict(figures)))
    print(f"{name}: {figures}", flush=True)


def run(name: str, folder: Path, seconds: float) -> Total:
    """Run until the time is used up or an input crashes."""
    command = [sys.executable, "-m", "tests.fuzz.child", name]
    command += [f"-artifact_prefix={folder}/crashes/", f"-timeout={STUCK_SECONDS}", "-rss_limit_mb=0"]
    command += [f"-max_len={MAX_LENGTH}", "-print_final_stats=1", f"{folder}/corpus", str(CORPUS / name)]
    command.insert(-2, f"-report_slow_units={STUCK_SECONDS}")  # a machine that stands still is no slow input
    before = len(list((folder / "crashes").iterdir()))
    log = folder / "log"
    spent = 0.0
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            times = process.cpu_times()
            spent = times.user + times.system
            if spent >= seconds:
                child.terminate()
                child.wait()
            time.sleep(0.2)
    text = log.read_text(errors="replace")
    counts = [int(count) for count in COUNT.findall(text)]
    crashes = len(list((folder / "crashes").iterdir())) - before
    if not counts and not crashes:
        raise SystemExit(f"{name}: did not start, see {log}")
    if crashes:
        log.rename(folder / f"crash-{time.time_ns()}.log")
    return Total(spent, max(counts, default=0), max(map(int, EDGES.findall(text)), default=0), crashes)


def table(totals: dict[str, Total]) -> str:
    """Return the figures for people."""
    lines = [f"{'target':12} {'processor s':>11} {'executions':>11} {'edges':>6} {'crashes':>7}"]
    for name, figures in totals.items():
        row = (name, figures.cpu_s, figures.executions, figures.edges, figures.crashes)
        lines.append("{:12} {:11.0f} {:11,} {:6} {:7}".format(*row))
    return "\n".join(lines)


def report(totals: dict[str, Total], seconds: float) -> None:
    """Write the figures for the benchmarks' report."""
    rows = [{"target": name, **asdict(figures)} for name, figures in totals.items()]
    write_table("fuzz", Table(f"make fuzz SECONDS={seconds:g}", today(), rows, list(NOTES)))


if __name__ == "__main__":
    sys.exit(main())
