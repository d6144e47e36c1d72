"""The arrays and options of a live pymdp agent, by the keys that ``pymdp_npz`` reads.

The two generations differ in more than their shapes: legacy plans with ln softmax(C) where JAX plans with C;
legacy spreads time over C's second axis, JAX over its first; legacy likelihoods span every factor.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays
from edge_agent.errors import ModelError
from edge_convert.measure.agent_fidelity import TraceHistory
from edge_convert.measure.decisions import divergence
from edge_convert.measure.oracle import Oracle
from edge_convert.pymdp import pymdp_options
from edge_convert.pymdp.live_window import horizon, infers_over_window
from edge_convert.readers import sparse_npz
from edge_convert.readers.agent_trace import AgentTrace

Arrays = dict[str, NDArray[Any]]
_SCALARS = ("use_utility", "use_states_info_gain", "use_param_info_gain", "sampling_mode", "action_selection")
_LOG_ZERO = 1e-16  # what the legacy agent adds before it takes a logarithm
_APART_KL, _APART_TV = 1e-3, 0.01


def is_jax(agent: Any) -> bool:
    """Whether this is an agent of pymdp 1.x: it knows the size of its batch."""
    return hasattr(agent, "batch_size")


def read_jax(agent: Any, batch: int, meta: dict[str, Any], without: Collection[str]) -> Arrays:
    """Return the arrays of agent ``batch``; ``without``: options that are left out."""
    size = agent.batch_size
    if not 0 <= batch < size:
        raise ModelError(f"agent: batch {batch}, expected 0 to {size - 1}")
    policies = np.asarray(getattr(agent.policies, "policy_arr", agent.policies)).astype(np.int64)
    out: Arrays = {"policies": policies, "policy_len": np.array(policies.shape[1])}
    for letter in "ABD":
        out |= _tensors(letter, getattr(agent, letter), batch)
    for m, c in enumerate(agent.C):
        out[f"C_{m}"] = _by_step(_one(c, batch), policies.shape[1])
    for f in range(len(agent.D)):
        out[f"D_{f}"] = _normal(f"D_{f}", out[f"D_{f}"])
    if agent.E is not None:
        out["E"] = _normal("E", _one(agent.E, batch))
    _dependencies(out, agent.A_dependencies, agent.B_dependencies)
    for name in ("gamma", "alpha", "inductive_threshold", "inductive_epsilon"):
        if getattr(agent, name, None) is not None:
            out[name] = _one(getattr(agent, name), batch).reshape(())
    _scalars(out, agent, (*_SCALARS, "use_inductive", "num_iter", "inductive_depth"))
    out["inference_algo"] = np.array("fpi")  # pymdp's ovf, and its exact for one factor, filter as fpi does
    if infers_over_window(agent) and "inference_algo" not in without:
        out["inference_algo"] = np.array(agent.inference_algo)
        out["inference_horizon"] = np.array(horizon(agent))
    if getattr(agent, "use_inductive", False):
        out |= _tensors("I", agent.I, batch)
    if getattr(agent, "use_param_info_gain", False):
        for letter in ("pA", "pB"):
            if getattr(agent, letter) is not None:
                out |= _tensors(letter, getattr(agent, letter), batch)
    maps = getattr(agent, "action_maps", None)
    out["meta"] = np.array(json.dumps(meta if maps is None else _with_maps(meta, agent)))
    return out


def with_search(arrays: Arrays, options: Mapping[str, Any]) -> Arrays:
    """Return the arrays of an agent whose policies a search with ``options`` scores (``policy_search``)."""
    unused = ("I_", "pA_", "pB_")
    out = {key: value for key, value in arrays.items() if key != "E" and not key.startswith(unused)}
    for key, value in out.items():
        if key.startswith("C_") and value.ndim == 2:
            out[key] = value[0]
    for name, used in (("use_utility", True), ("use_states_info_gain", True), ("use_param_info_gain", False)):
        out[name] = np.array(used)
    out["use_inductive"] = np.array(False)
    return out | {name: np.array(value) for name, value in options.items()}


def read_legacy(agent: Any, batch: int, meta: dict[str, Any], without: Collection[str]) -> Arrays:
    """Return the arrays of a legacy agent; ``without``: options that are left out."""
    if batch:
        raise ModelError(f"agent: batch {batch}, a legacy agent is one, expected 0")
    policies = [np.asarray(policy) for policy in agent.policies]
    lengths = {len(policy) for policy in policies}
    if len(lengths) > 1:
        raise ModelError(
            f"agent: policies of {sorted(lengths)} steps, expected one length; pad the shorter ones"
        )
    plans = np.stack(policies).astype(np.int64)
    out: Arrays = {"policies": plans, "policy_len": np.array(plans.shape[1])}
    for letter in "ABD":
        out |= _tensors(letter, getattr(agent, letter), None)
    for m, c in enumerate(agent.C):
        preferences = np.asarray(c, np.float64)
        shifted = np.exp(preferences - preferences.max(axis=0))
        logs = np.log(shifted / shifted.sum(axis=0) + _LOG_ZERO)
        out[f"C_{m}"] = _by_step(logs.T if logs.ndim == 2 else logs, plans.shape[1])
    for f in range(len(agent.D)):
        out[f"D_{f}"] = _normal(f"D_{f}", out[f"D_{f}"])
    if agent.E is not None:
        out["E"] = _normal("E", np.asarray(agent.E, np.float64))
    _dependencies(out, getattr(agent, "A_factor_list", None), getattr(agent, "B_factor_list", None))
    for name in ("gamma", "alpha"):
        out[name] = np.array(float(getattr(agent, name)))
    _scalars(out, agent, _SCALARS)
    if "use_param_info_gain" in without:
        out["use_param_info_gain"] = np.array(False)
    out["inference_algo"] = np.array("fpi")
    out["num_iter"] = np.array(int((getattr(agent, "inference_params", None) or {}).get("num_iter", 16)))
    out["meta"] = np.array(json.dumps(meta))
    return out


def concentrations(agent: Any, batch: int | None, learn: Collection[str]) -> Arrays:
    """Return the concentrations and rates of what is to learn on the device; ``batch`` is None for legacy."""
    out: Arrays = {"learn": np.array(json.dumps(sorted(learn)))}
    for letter in learn:
        if letter not in ("A", "B", "D"):
            raise ModelError(f'learn: found {letter!r}, expected "A", "B" or "D"')
        given = getattr(agent, f"p{letter}", None)
        if given is None:
            raise ModelError(f"learn: the agent has no p{letter}, expected concentrations of {letter}")
        for i, tensor in enumerate(given):
            out[f"p{letter}_{i}"] = _one(tensor, batch)
        out[f"lr_p{letter}"] = np.array(float(getattr(agent, f"lr_p{letter}", 1.0)))
    return out


def check_formulas(
    agent: Any, model: ModelArrays, trace: AgentTrace | None, allowed: Collection[str]
) -> None:
    """Refuse a legacy agent where its own formulas lead elsewhere than pymdp 1.x's.

    Two of them often do not matter, so they are tried on the agent's trace: it stops iterating when its free
    energy changes little, and it takes the information gain of all modalities together instead of their sum.

    Raises
    ------
    ModelError
        One line: the option, where it showed, the remedy.
    """
    tolerance = 0.0 if "inference_params" in allowed else pymdp_options.stops_early(agent)
    joint = "use_states_info_gain" not in allowed and pymdp_options.takes_joint_gain(agent)
    if not tolerance and not joint:
        return
    if trace is None:
        name = "inference_params" if tolerance else "use_states_info_gain"
        raise ModelError(
            f"agent: {name} of the legacy agent matters for some models, and only its trace shows it: "
            f"expected traces above 0 (allow=({name!r},) exports without)"
        )
    history = TraceHistory.of_trace(trace)
    for t, (kl, tv) in enumerate(_apart(model, trace, history)):
        if tolerance and kl > _APART_KL:
            raise ModelError(
                f"agent: inference_params dF_tol={tolerance:g} stops the iteration early: at step {t} a "
                f"belief is KL {kl:.2g} from {model.options.num_iter} iterations; set "
                "agent.inference_params['dF_tol'] = 0 (allow=('inference_params',) exports without it)"
            )
        if joint and kl <= _APART_KL and tv > _APART_TV:
            raise ModelError(
                f"agent: use_states_info_gain=True with {len(model.A)} modalities: the legacy agent takes "
                "the gain of their joint outcome, the engine as pymdp 1.x the sum over modalities (step "
                f"{t}: q(pi) differs by {tv:.2g}); use pymdp.agent.Agent (allow=('use_states_info_gain',) "
                "exports with the sum)"
            )


def _apart(model: ModelArrays, trace: AgentTrace, history: TraceHistory) -> Iterator[tuple[float, float]]:
    """Yield, for each step, the largest KL of a belief and the distance of q(pi) between agent and
    reference.
    """
    oracle = Oracle(model)
    for t in range(len(trace.obs)):
        if t in trace.restarts:
            oracle.restart()
        qs, q_pi = oracle.step(history.outcomes[t], history.distributions(t))
        kl = max(float(divergence(p[t].astype(np.float64), q[0])) for p, q in zip(trace.qs, qs, strict=True))
        yield kl, float(np.abs(trace.q_pi[t] - q_pi[0]).sum() / 2)
        oracle.act(history.executed[t])


def _tensors(letter: str, tensors: Sequence[Any], batch: int | None) -> Arrays:
    out: Arrays = {}
    for i, tensor in enumerate(tensors):
        if tensor is not None:
            out |= sparse_npz.entries(f"{letter}_{i}", tensor, batch)
    return out


def _one(value: Any, batch: int | None) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    return array if batch is None else np.asarray(array[batch])


def _normal(name: str, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a prior that sums to 1: pymdp takes any, and its posteriors do not depend on the sum."""
    total = vector.sum()
    return vector / total if np.isfinite(total) and total > 0 and (vector >= 0).all() else vector


def _by_step(c: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Return C with a row for each step of a policy: as in pymdp the last row stands for later ones."""
    if c.ndim != 2 or len(c) == steps:
        return c
    return c[np.minimum(np.arange(steps), len(c) - 1)]


def _dependencies(out: Arrays, A_deps: Any, B_deps: Any) -> None:
    for name, deps in (("A_deps", A_deps), ("B_deps", B_deps)):
        if deps is not None:
            out[name] = np.array(json.dumps([[int(f) for f in row] for row in deps]))


def _scalars(out: Arrays, agent: Any, names: Sequence[str]) -> None:
    for name in names:
        value = getattr(agent, name, None)
        if value is not None:
            out[name] = np.array(value)


def _with_maps(meta: dict[str, Any], agent: Any) -> dict[str, Any]:
    """Return ``meta`` with how the agent's own controls lie in the flattened ones
    (``engine.binding``).
    """
    maps = [
        {"controls": [int(c) for c in m["multi_dependency"]], "sizes": [int(n) for n in m["multi_dims"]]}
        for m in agent.action_maps
    ]
    return meta | {"action_maps": maps}
