"""Writes a model and observations for ``driver.c``, says what the driver should write, and builds it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import population as engine
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "edge_agent" / "engine" / "kernel"
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Wno-psabi")
WIDE = {"baseline": (32, 16, ()), "avx2": (64, 32, ("-mavx2",))}
WIDE["avx512"] = (64, 64, ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"))


def build(folder: Path, compiler: str, isas: Sequence[str], *extra: str) -> Path:
    """Compile the kernel and the driver; return the program."""
    objects = []

    def compile_(source: Path, name: str, *options: str) -> None:
        objects.append(folder / f"{name}.o")
        files = (f"-I{KERNEL}", "-c", str(source), "-o", str(objects[-1]))
        subprocess.run([compiler, *FLAGS, *extra, *options, *files], check=True)

    widths = [f"-DWIDE_{name.upper()}={wide}" for name, (wide, _, _) in WIDE.items()]
    for name in isas:
        wide, vector, flags = WIDE[name]
        for label, lanes, width in (("4", 4, 16), ("16", 16, 16), ("wide", wide, vector)):
            strip = f"strip_{name}_{label}"
            options = (f"-DSTRIP={strip}", f"-DLANES={lanes}", f"-DVECTOR_BYTES={width}")
            compile_(KERNEL / "strip.c", strip, *flags, *options)
    for source in ("tick.c", "pool.c", "isa.c"):
        compile_(KERNEL / source, source[:-2], "-D_GNU_SOURCE", *widths)
    compile_(Path(__file__).with_name("driver.c"), "driver")
    program = folder / "driver"
    subprocess.run([compiler, *extra, *map(str, objects), "-pthread", "-o", str(program)], check=True)
    return program


def dump(path: Path, model: Model, observations: np.ndarray[Any, Any]) -> None:
    """Write ``model`` and ``observations`` int64 [T, N, M] for the driver."""
    plan = model.plan(model.policy_len, True)
    rows = engine._strip_rows(model)
    agents = observations.shape[1]
    blobs: list[Any] = [
        np.array([len(model.A), len(model.B), len(model.policies), plan.values, rows, agents], "<i4"),
        np.array([len(model.tensors)], "<i4"),
        np.array([model.gamma, model.alpha], "<f4"),
    ]
    room = np.zeros(sum(3 * len(t.palette) for t in model.tensors), np.float32)
    none: tuple[tuple[int, ...], ...] = ((),) * (len(model.tensors) - len(model.A) - len(model.B))
    for i, deps in enumerate((*model.A_deps, *model.B_deps, *none)):
        tensor = engine._tensor(model, i, room)
        mixed = model.mixed[i]
        blobs += [np.array([*tensor[:3], len(mixed.pattern)], "<i4"), np.array(tensor[3:5], "<f4")]
        blobs += [*tensor[5:], np.array(deps, "<i4")]
    blobs += [np.array([model.alike.patterns], "<i4"), *model.alike[1:]]
    blobs += [np.concatenate(model.D), model.policies[:, 0].astype(np.uint8), plan.ops, plan.fold, plan.lists]
    blobs.append(np.ascontiguousarray(observations, "<i8"))
    with path.open("wb") as file:
        for blob in blobs:
            data = np.ascontiguousarray(blob).tobytes()
            file.write(np.int64(len(data)).tobytes().ljust(64, b"\0"))
            file.write(data.ljust(-(-len(data) // 64) * 64, b"\0"))


def expected(model: Model, observations: np.ndarray[Any, Any]) -> bytes:
    """Return what the driver writes for them."""
    agents = Population(model, observations.shape[1], seed=7)
    out = b""
    for tick in observations:
        actions = agents.step(tick)
        G, q_pi = agents.evaluate()
        out += actions.tobytes() + agents.free_energy.tobytes() + G.tobytes() + q_pi.tobytes()
    return out + agents.codes().tobytes()
