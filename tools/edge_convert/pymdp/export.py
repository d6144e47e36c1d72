"""``export_pymdp(agent, path)``: writes a live pymdp agent as the ``.npz`` that ``convert`` reads.

Theory of operation. Both generations are taken without importing them: the JAX agent (pymdp 1.x) has a batch
axis in front of every tensor and its policies in an object; the legacy agent (0.x) has NumPy object arrays.
Every option that decides is carried by its name or refused by its name (``pymdp_options``). Then the live
agent itself runs, in the process that its own model describes or on observations that the user gives, and its
trace is kept beside the model: it is what ``edge-convert`` measures the bundle against first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.errors import ModelError
from edge_agent.wire import npz
from edge_convert.pymdp import agent_run, pymdp_options, pymdp_source
from edge_convert.pymdp import policy_search as policy_searches
from edge_convert.readers.agent_source import AgentSource
from edge_convert.readers.pymdp_npz import source_of

STEPS = 200


def export_pymdp(
    agent: Any,
    path: Path | str,
    *,
    batch: int = 0,
    meta: dict[str, Any] | None = None,
    traces: int = STEPS,
    observations: ArrayLike | Sequence[ArrayLike] | None = None,
    seed: int = 0,
    allow: Collection[str] = (),
    policy_search: Callable[..., Any] | None = None,
    learn: Collection[str] = (),
) -> Path:
    """Write a pymdp agent: its model, its options, and a trace of what it decides.

    Parameters
    ----------
    agent : pymdp.agent.Agent
        JAX (1.x) or legacy (0.x).
    path : Path
        The ``.npz`` to write.
    batch : int
        Which agent of a JAX batch.
    meta : dict, optional
        Names of modalities, states and controls, bin edges, units, control values.
    traces : int
        Steps that the agent runs for its trace; 0: no trace.
    observations : array_like, optional
        What it runs on: int [T, M], or a float [T, O_m] for each modality of an agent that takes
        distributions. Default: outcomes of the process that its own A, B and D describe.
    seed : int
        Of that process, and of what the agent draws.
    allow : collection of str
        Options that the agent uses, that are refused otherwise, and that the export is to be without.
    policy_search : callable, optional
        What you give to ``pymdp.envs.rollout``: it decides in place of the agent. What
        ``pymdp.planning.si.si_policy_search`` returns is carried, another one is refused.

    learn : collection of str
        Which of "A", "B", "D" learn on the device, from the agent's concentrations pA, pB, pD and its
        learning rates lr_pA, lr_pB, lr_pD (1 where it has none, as in pymdp 1.x).

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    ModelError
        The agent's arrays break a rule, or it uses what the engine does not have: one line that names the
        option, what was found, and the remedy. No file is written.
    """
    read = pymdp_source.read_jax if pymdp_source.is_jax(agent) else pymdp_source.read_legacy
    table = pymdp_options.JAX if pymdp_source.is_jax(agent) else pymdp_options.LEGACY
    allowed = pymdp_options.check(agent, table, allow, policy_search)
    arrays = read(agent, batch, meta or {}, allowed)
    searched = policy_search is not None and "policy_search" not in allow
    if policy_search is not None and searched:
        arrays = pymdp_source.with_search(arrays, policy_searches.options(agent, policy_search))
    elif policy_search is not None:
        allowed = tuple(dict.fromkeys((*allowed, "policy_search")))
    if learn:
        arrays |= pymdp_source.concentrations(agent, None if not pymdp_source.is_jax(agent) else batch, learn)
    if allowed:
        arrays["allowed"] = np.array(json.dumps(sorted(allowed)))
    source = source_of(Path(path), arrays)  # refuses now what ``convert`` would refuse later
    trace = None
    if traces > 0 or observations is not None:
        live = agent_run.start(agent, batch, seed, allowed, policy_search if searched else None)
        given = _given(observations, source)
        trace = agent_run.trace(live, source.arrays, given, traces, seed, _origin(agent, allowed))
        arrays |= trace.arrays()
    if not pymdp_source.is_jax(agent):
        pymdp_source.check_formulas(agent, source.arrays, trace, allowed)
    Path(path).write_bytes(npz.write(arrays))
    return Path(path)


def _origin(agent: Any, allowed: Sequence[str]) -> dict[str, Any]:
    kind = pymdp_options.class_of(agent) or type(agent)
    soft = bool(getattr(agent, "categorical_obs", False))
    name = f"{kind.__module__}.{kind.__qualname__}"
    return {"agent": name, "pymdp": _version(), "without": sorted(allowed), "soft": soft}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("inferactively-pymdp")
    except PackageNotFoundError:
        return "not installed"


def _given(
    observations: ArrayLike | Sequence[ArrayLike] | None, source: AgentSource
) -> list[list[Any]] | None:
    """Return the observation of each step, an outcome or a distribution a modality."""
    if observations is None:
        return None
    counts = source.arrays.num_obs
    if (
        isinstance(observations, list | tuple)
        and np.ndim(observations[0]) == 2
        and len(observations) == len(counts)
    ):
        tables = [np.asarray(o) for o in observations]
        if all(table.dtype.kind == "f" for table in tables):
            return _soft(tables, counts)
    table = np.asarray(observations)
    if table.dtype.kind not in "iu" or table.ndim != 2 or table.shape[1] != len(counts) or not len(table):
        raise ModelError(
            f"observations: {table.dtype} {table.shape}, expected integers (T, {len(counts)}), "
            "or a list of arrays (T, outcomes), one a modality"
        )
    bad = np.argwhere((table < -1) | (table >= np.array(counts)))
    if len(bad):
        t, m = bad[0].tolist()
        raise ModelError(
            f"observations: step {t}, modality {m} is {table[t, m]}, expected -1 to {counts[m] - 1}"
        )
    rows: list[list[Any]] = table.tolist()
    return rows


def _soft(tables: Sequence[NDArray[Any]], counts: Sequence[int]) -> list[list[Any]]:
    for m, (table, count) in enumerate(zip(tables, counts, strict=True)):
        if table.shape != (len(tables[0]), count):
            raise ModelError(f"observations[{m}]: shape {table.shape}, expected ({len(tables[0])}, {count})")
        off = np.argwhere(~(np.abs(table.sum(axis=1) - 1.0) < 1e-3))
        if len(off) or (table < 0).any():
            raise ModelError(
                f"observations[{m}]: step {int(off[0][0]) if len(off) else 0} is no distribution"
            )
    return [[table[t] for table in tables] for t in range(len(tables[0]))]
