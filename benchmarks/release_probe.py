"""Measures one build of edge-agent for `benchmarks.gate`, with what all releases have: prints a JSON object.

``python release_probe.py FOLDER``: steps of golden models (microseconds per agent and step), bytes of their
tensors as stored, and processor seconds of ``edge-agent check`` (start, configuration, model). In FOLDER are
NAME.npz and ``device.toml``; its bundle is written here, since a build reads its own bundles.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent import Model, Population
from edge_agent.engine import golden
from edge_agent.wire import bundle

CHECKED = "s2_grid10_T1"
AGENTS = 1000
STEPS = 20
SECONDS = 0.4


def load(path: Path) -> tuple[Model, list[int]]:
    """Return a golden model and how many outcomes each modality has."""
    with np.load(path) as archive:
        arrays = dict(archive)

    def numbered(prefix: str) -> list[Any]:
        return [arrays[f"{prefix}_{i}"] for i in range(len(arrays)) if f"{prefix}_{i}" in arrays]

    likelihoods = numbered("A")
    model = Model.from_arrays(
        likelihoods,
        numbered("B"),
        numbered("C"),
        numbered("D"),
        policies=arrays["policies"],
        A_deps=json.loads(str(arrays["A_deps"])),
        B_deps=json.loads(str(arrays["B_deps"])),
        gamma=float(arrays["gamma"]),
    )
    return model, [tensor.shape[0] for tensor in likelihoods]


def write(path: Path, model: Model) -> None:
    """Write the bundle of a model."""
    manifest: dict[str, Any] = {"name": CHECKED, "version": "1", "kind": "pomdp", "created": 0}
    manifest |= {"source_sha256": "0" * 64, "io": {}, "memory": {}, "evaluation": {}, "requires": {}}
    bundle.write(path, manifest, model.entries() | {"golden.npz": golden.make(model)})


def step_us(model: Model, outcomes: list[int]) -> float:
    """Return the median microseconds per agent and step."""
    agents, random = Population(model, AGENTS, seed=1), np.random.default_rng(1)
    observed = [
        np.stack([random.integers(0, n, AGENTS) for n in outcomes], axis=1).astype(np.int16)
        for _ in range(STEPS)
    ]
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(took) < 2:
        begin = time.perf_counter()
        for row in observed:
            agents.step(row)
        took.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(took[1:]) / STEPS / AGENTS


def check_s(folder: Path) -> float:
    """Return the processor seconds of ``edge-agent check``."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "edge_agent", "check"]
    subprocess.run([*command, "--config", "device.toml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1])
    found: dict[str, float] = {}
    for path in sorted(folder.glob("*.npz")):
        model, outcomes = load(path)
        found[f"{path.stem}: step, us"] = step_us(model, outcomes)
        if path.stem == CHECKED:
            write(folder / "grid.eab", model)
        found[f"{path.stem}: tensors, bytes"] = sum(np.asarray(e).nbytes for e in model.entries().values())
    found["check: processor, s"] = min(check_s(folder) for _ in range(2))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
