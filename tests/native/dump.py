"""Writes a model, observations and the expected output for ``driver.c``, and builds it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import kernel_args
from edge_agent.engine.kernel_weights import integer_weights, spread_of, weight_count
from edge_agent.engine.model import Model
from edge_agent.engine.population import SELECTIONS, Population

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "edge_agent" / "engine" / "kernel"
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra", "-Wno-psabi")
WIDE = {"baseline": (32, 16, ()), "avx2": (64, 32, ("-mavx2", "-mfma"))}
WIDE["avx512"] = (64, 64, ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"))


def build(folder: Path, compiler: str, isas: Sequence[str], *extra: str) -> Path:
    """Compile the kernel and the driver; return the program."""
    objects = [*_objects(folder, compiler, isas, ("tick.c", "pool.c", "isa.c"), extra), folder / "driver.o"]
    _compile(compiler, Path(__file__).with_name("driver.c"), objects[-1], extra)
    program = folder / "driver"
    subprocess.run([compiler, *extra, *map(str, objects), "-pthread", "-o", str(program)], check=True)
    return program


def build_extension(folder: Path, compiler: str, isas: Sequence[str], *extra: str) -> Path:
    """Compile the kernel as Python's extension, position independent by ``extra``; return it."""
    extra = (*extra, "-DPy_LIMITED_API=0x030b0000", f"-I{sysconfig.get_path('include')}")
    objects = _objects(folder, compiler, isas, ("module.c", "core_new.c", "tick.c", "pool.c", "isa.c"), extra)
    extension = folder / "_kernel.abi3.so"
    command = [compiler, "-shared", *extra, *map(str, objects), "-pthread", "-o", str(extension)]
    subprocess.run(command, check=True)
    return extension


def _compile(compiler: str, source: Path, out: Path, options: Sequence[str]) -> None:
    if out.exists():  # for the other of driver and extension
        return
    subprocess.run([compiler, *FLAGS, *options, f"-I{KERNEL}", "-c", str(source), "-o", str(out)], check=True)


def _objects(
    folder: Path, compiler: str, isas: Sequence[str], sources: Sequence[str], extra: Sequence[str]
) -> list[Path]:
    jobs: list[tuple[Path, Path, Sequence[str]]] = []
    for name in isas:
        wide, vector, flags = WIDE[name]
        for label, lanes, width in (("4", 4, 16), ("16", 16, vector), ("wide", wide, vector)):
            for kind, macros in (("strip", ()), ("rules_1", ("-DRULES_1",)), ("extended", ("-DEXTENDED",))):
                if kind == "extended" and label == "wide":
                    continue
                strip = f"{kind}_{name}_{label}"
                options = (*extra, *flags, f"-DSTRIP={strip}", f"-DLANES={lanes}", f"-DVECTOR_BYTES={width}")
                jobs.append((KERNEL / "strip.c", folder / f"{strip}.o", (*options, *macros)))
    widths = [f"-DWIDE_{name.upper()}={wide}" for name, (wide, _, _) in WIDE.items()]
    for source in sources:
        out = folder / f"{source[:-2]}.o"
        jobs.append((KERNEL / source, out, (*extra, "-D_GNU_SOURCE", *widths)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a strip with sanitizers takes half a minute
        list(pool.map(lambda job: _compile(compiler, *job), jobs))
    return [out for _, out, _ in jobs]


def dump(path: Path, model: Model, observations: np.ndarray[Any, Any]) -> None:
    """Write ``model`` and ``observations`` int64 [T, N, M] for the driver."""
    plan = model.plan(model.policy_len, True)
    rows = kernel_args.strip_rows(model)
    agents = observations.shape[1]
    blobs: list[Any] = [
        np.array([len(model.A), len(model.B), len(model.policies), plan.values, rows, agents], "<i4"),
        np.array([len(model.tensors)], "<i4"),
        np.array(kernel_args.options(model)[:4], "<f4"),
        np.array([plan.penalties, *kernel_args.options(model)[4:8], *_selection(model), model.depth], "<i4"),
        *kernel_args.options(model)[8:11],
        np.array(kernel_args.options(model)[11][:2], "<i4"),
        np.array(kernel_args.options(model)[11][2:], "<f4"),
    ]
    room = np.zeros(kernel_args.table_floats(model), np.float32)
    weights = integer_weights(model, np.zeros(weight_count(model), np.int16))
    none: tuple[tuple[int, ...], ...] = ((),) * (len(model.tensors) - len(model.A) - len(model.B))
    for i, deps in enumerate((*model.A_deps, *model.B_deps, *none)):
        tensor = kernel_args.tensor(model, i, room)
        mixed = model.mixed[i]
        blobs += [np.array([*tensor[:5], len(mixed.pattern)], "<i4"), np.array(tensor[5:7], "<f4")]
        blobs += [*tensor[7:], weights[i].weights, np.array(weights[i].unit, "<f4")]
        blobs += [np.array(weights[i].group_rows, "<i4"), np.array(deps, "<i4")]
    blobs.append(np.array(spread_of(weights), "<f4"))
    blobs += [np.array([model.outcome_classes.patterns], "<i4"), *model.outcome_classes[1:]]
    exact = model.elimination
    blobs += [np.array([len(exact.ops), exact.rows], "<i4"), exact.ops, exact.lists]
    for c in model.contractions:
        blobs += [np.array([*c.counts, c.tables, len(c.ops)], "<i4"), c.ops, c.lists, c.places]
    slots, variational, sums = kernel_args.window(model)
    blobs += [np.array([slots, variational], "<i4"), sums]
    habits = np.zeros(0, np.float32) if model.E is None else kernel_args.log_habits(model)
    blobs += [
        np.concatenate(model.D),
        habits,
        model.policies[:, 0].astype(np.uint8),
        plan.ops,
        plan.fold,
        plan.lists,
    ]
    blobs.append(np.ascontiguousarray(observations, "<i8"))
    with path.open("wb") as file:
        for blob in blobs:
            data = np.ascontiguousarray(blob).tobytes()
            file.write(np.int64(len(data)).tobytes().ljust(64, b"\0"))
            file.write(data.ljust(-(-len(data) // 64) * 64, b"\0"))


def _selection(model: Model) -> tuple[int, int]:
    options = model.options
    return SELECTIONS.index(options.sampling_mode), int(options.action_selection == "stochastic")


def expected(model: Model, observations: np.ndarray[Any, Any]) -> bytes:
    """Return what the driver writes for them."""
    agents = Population(model, observations.shape[1], seed=7)
    out = b""
    for tick in observations:
        actions = agents.step(tick)
        G, q_pi = agents.evaluate()
        out += actions.tobytes() + agents.free_energy.tobytes() + G.tobytes() + q_pi.tobytes()
    return out + agents.codes().tobytes()
