"""Compares this tree with the last release, both built here: ``python -m benchmarks.gate [--json]``.

Theory of operation. The release is the commit of ``results/baseline.json``. `release_probe` measures one
build in a fresh process; a pair is the release and this tree, one after the other. Of six pairs the least
ratio is the lower end of a 97 % interval for their median (1 - 2 / 2**6), so a figure is a regression if six
pairs are all above `1 + TOLERANCE`; the first pair that is not ends the measurement of a figure that holds.
What is measured takes seconds; ``make bench-check`` compares everything else, and the tests compare decisions
(``tests/golden``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.figures import arguments
from benchmarks.golden_models import path_of
from benchmarks.latency import NO_LIMITS, processor_s
from benchmarks.message_load import Load
from benchmarks.regression import TOLERANCE
from benchmarks.release import release_build
from edge_agent.errors import PlatformError
from edge_agent.testing.mosquitto import Mosquitto

PROBE = Path(__file__).with_name("release_probe.py")
CASES = ("s1_grid5_T1", "s2_grid10_T1", "s3_tmaze_T2", "s4_grid10x4_T1")
PAIRS = 6
READY_S = 30.0
ACCEPTED = {"check: processor, s": 1.15}
"""What this tree is known to take more of than the release, and why: configuration has 35 modules more."""
AGENTS, RATE, STREAM_S = 200, 2000.0, 2.0
CONFIG = """\
[device]
name = "dev"
state_dir = "state"
[broker]
host = "127.0.0.1"
port = {port}
[[population]]
name = "grid"
bundle = "grid.eab"
size = {agents}
agents = "a{{index}}"
step = "arrival"
rate_hz = 1
[[population.observe]]
modality = "0"
topic = "z/{{agent}}"
[[population.act]]
control = "0"
topic = "z/{{agent}}/set"
"""


def probe(python: Path, folder: Path) -> dict[str, float]:
    """Measure the build that an interpreter finds, with a broker of its own."""
    broker = Mosquitto(folder, NO_LIMITS)
    broker.start()
    try:
        (folder / "device.toml").write_text(CONFIG.format(port=broker.port, agents=AGENTS))
        return _probe(python, folder) | {"message: processor, us": _message_us(python, folder, broker.port)}
    finally:
        broker.stop()


def _probe(python: Path, folder: Path) -> dict[str, float]:
    # Bytecode of both is written in the same way: pip writes that of the release, and nobody this tree's.
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([python, PROBE, folder], stdout=subprocess.PIPE, env=environment, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _message_us(python: Path, folder: Path, port: int) -> float:
    """Return the daemon's processor time per observation that becomes an action."""
    words: list[str | Path] = [python, "-m", "edge_agent", "run", "--config", "device.toml"]
    daemon = subprocess.Popen([*words, "--profile", "pi5"], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        load, end = Load(port, AGENTS), time.monotonic() + READY_S
        while not load.answers:
            if time.monotonic() > end or daemon.poll() is not None:
                raise PlatformError(f"{python}: the daemon did not answer in {READY_S:g} s")
            load.lone(1)
        before = processor_s(daemon.pid)
        sent, _, _ = load.stream(RATE, STREAM_S)
        used = processor_s(daemon.pid) - before
        load.close()
    finally:
        daemon.terminate()
        daemon.wait()
    return 1e6 * used / sent


def compare(release: Path, folder: Path) -> dict[str, list[float]]:
    """Return the ratios of each figure, this tree's to the release's, above 1: worse."""
    ratios: dict[str, list[float]] = {}
    for _ in range(PAIRS):
        before, now = probe(release, folder), probe(Path(sys.executable), folder)
        for name, value in before.items():
            ratios.setdefault(name, []).append(now[name] / value)
        if not worse(ratios):
            break
    return ratios


def worse(ratios: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the figures that are regressions."""
    return [name for name, found in ratios.items() if min(found) > ACCEPTED.get(name, 1.0) * (1 + TOLERANCE)]


def main() -> int:
    """Compare and print; 1 if something is worse."""
    options = arguments(__doc__).parse_args()
    baseline = results.read_baseline(results.BASELINE)
    commit = baseline.commit.rstrip("+")
    try:
        release = release_build(commit).python
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for case in CASES:
                shutil.copy(path_of(case), folder)
            ratios = compare(release, folder)
    except (PlatformError, subprocess.CalledProcessError) as error:
        print(f"benchmarks.gate: {error}", file=sys.stderr)
        return 1
    lost = worse(ratios)
    if options.json:
        print(json.dumps({"release": baseline.release, "ratios": ratios, "worse": lost}))
    else:
        table = Table("figure", f"times that of {baseline.release}", "pairs", "holds")
        for name, found in ratios.items():
            table.add_row(name, f"{min(found):.3f}", str(len(found)), "**no**" if name in lost else "yes")
        Console().print(table)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
