"""Results of the emulated boards, read from the output of ``make test-arm64`` in ``build``. Measures nothing.

Sizes of processes in the guest are those of a board. Seconds are emulated (several times those of a board,
and more on a busy host) and have no target. ``--report`` stores the tables and writes the report.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.figures import Figure, arguments, at_least, at_most, show

ROOT = Path(__file__).parents[1]
PACKAGES = ("edge-agent", "edge-agent-litert", "edge-agent-onnx")
COMMAND = "make test-arm64"
NOTE = (
    "Debian arm64 with systemd as PID 1 under emulation, installed as documented, profile "
    "`zero2w`. Seconds are emulated and no promise; sizes of processes are real."
)

COUNTED = (
    "Instructions of an agent's step under emulation with counted instructions (QEMU, `-icount`), those of "
    "Python around the kernel included; the beliefs are those of the golden traces."
)


def board_figures(cpu: str, verdicts: dict[str, dict[str, Any]]) -> Iterator[Figure]:
    """Yield the figures of one board."""
    held = sum(verdict["holds"] for verdict in verdicts.values())
    yield at_least(cpu, "checks that hold", held, "of them", len(verdicts))
    memory = verdicts["life.memory"]["seen"]
    if memory is not None:
        budget = memory["budget_bytes"] / 2**20
        yield at_most(cpu, "RSS of the daemon", round(memory["rss_bytes"] / 2**20, 1), "MiB", budget)
        yield at_most(cpu, "peak of its cgroup", round(memory["cgroup_peak_bytes"] / 2**20, 1), "MiB", budget)
        yield Figure(cpu, "start until ready, emulated", round(memory["emulated_start_s"], 1), "s")
    same = [verdict["seen"] for name, verdict in verdicts.items() if name.startswith("decisions.")]
    decisions = [seen["decisions"] for seen in same if seen is not None and seen["same"]["act"]]
    yield Figure(cpu, "decisions equal to x86-64", sum(decisions), "decisions")
    for fault in ("killed", "hung", "leaking"):
        seen = verdicts[f"life.{fault}"]["seen"]
        if seen is not None:
            yield Figure(cpu, f"{fault}: back after, emulated", seen["back_s"], "s")


def package_figures() -> Iterator[Figure]:
    """Yield the sizes of the packages in ``dist``."""
    for package in PACKAGES:
        for path in (ROOT / "dist").glob(f"{package}_*+deb12_arm64.deb"):
            fields: list[str | Path] = ["dpkg-deb", "--field", path, "Installed-Size"]
            installed = subprocess.run(fields, capture_output=True, text=True, check=True).stdout
            yield Figure(package, "package", round(path.stat().st_size / 2**20, 1), "MiB")
            yield Figure(package, "installed", round(int(installed) / 1024, 1), "MiB")
    image = ROOT / "dist" / "edge-agent_arm64.tar"
    if image.exists():
        yield Figure("image", "size with Debian's python3", round(image.stat().st_size / 2**20, 1), "MiB")


def instruction_figures(cpu: str, counts: dict[str, dict[str, int]]) -> Iterator[Figure]:
    """Yield the instructions of a step on one processor, by model and by how many agents step together."""
    for model, by_agents in sorted(counts.items()):
        for agents, count in by_agents.items():
            together = "agent alone" if agents == "1" else f"of {int(agents):,} agents"
            yield Figure(model, f"{cpu}, {together}", count, "instructions")


def instruction_rows(figures: list[Figure]) -> list[dict[str, str]]:
    """Return a row a model, a column a processor and number of agents."""
    out: dict[str, dict[str, str]] = {}
    for figure in figures:
        out.setdefault(figure.case, {"model": figure.case})[figure.figure] = f"{figure.value:,.0f}"
    return list(out.values())


def rows(boards: dict[str, list[Figure]]) -> list[dict[str, str]]:
    """Return a row a figure, a column a board."""
    out: dict[str, dict[str, str]] = {}
    for cpu, figures in boards.items():
        for figure in figures:
            counted = figure.unit == "of them"
            name = figure.figure if counted else f"{figure.figure}, {figure.unit}"
            limit = "" if figure.target is None else f" (limit {figure.target:g})"
            text = f"{figure.value:g} of {figure.target:g}" if counted else f"{figure.value:g}{limit}"
            out.setdefault(name, {"figure": name})[cpu] = text
    return list(out.values())


def keep(boards: dict[str, list[Figure]], packages: list[Figure], instructions: list[Figure]) -> None:
    """Keep the tables for the report, and make it."""
    if instructions:
        counted = report.Table(COMMAND, report.today(), instruction_rows(instructions), [COUNTED])
        report.write_table("instructions", counted)
    report.write_table("board", report.Table(COMMAND, report.today(), rows(boards), [NOTE]))
    sizes = [
        {"package": item.case, "what": item.figure, "size": f"{item.value:g} {item.unit}"}
        for item in packages
    ]
    if sizes:  # a run without packages leaves those of the last one
        report.write_table("packages", report.Table(COMMAND, report.today(), sizes, []))
    report.generate()


def main() -> int:
    """Print the figures; 1 if no board was tried."""
    parser = arguments(__doc__)
    parser.add_argument("--report", action="store_true", help="keep them in the report too")
    options = parser.parse_args()
    found = sorted((ROOT / "build").glob("board-*.json"))
    if not found:
        print("build/board-*.json: not there, expected after make test-arm64", file=sys.stderr)
        return 1
    boards = {
        name: list(board_figures(name, json.loads(path.read_text())))
        for path in found
        for name in [path.stem.removeprefix("board-")]
    }
    packages = list(package_figures())
    instructions = [
        figure
        for path in sorted((ROOT / "build").glob("instructions-*.json"))
        for figure in instruction_figures(
            path.stem.removeprefix("instructions-"), json.loads(path.read_text())
        )
    ]
    everything = [*boards.values(), packages, instructions]
    show([figure for figures in everything for figure in figures], options.json)
    if options.report:
        keep(boards, packages, instructions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
