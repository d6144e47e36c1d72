"""The options of what a user gives to ``pymdp.envs.rollout``: pymdp's sophisticated inference.

Theory of operation. ``pymdp.planning.si.si_policy_search`` returns a function; its options are what that
function closed over. They are read from there by their names, which are those of 1.0.0 to 1.0.4; a search
that lacks one of them, or has another, is not known and is refused. The search plans with the agent's
utility and information gain, whatever the agent's options, with ``gamma`` of its own, without a prior
over policies, and with the first row of a C that changes over time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edge_agent.errors import ModelError

SEARCH = ("pymdp.planning.si", "si_policy_search.<locals>.search_fn")
CARRIED = (
    "horizon",
    "max_nodes",
    "max_branching",
    "policy_prune_threshold",
    "observation_prune_threshold",
    "entropy_stop_threshold",
    "neg_efe_stop_threshold",
    "prune_penalty",
)
FUNCTIONS = ("infer_fn", "predict_fn")
KNOWN = {*CARRIED, *FUNCTIONS, "gamma", "kl_threshold", "topk_obsspace"}
_REMEDY = "(allow=('policy_search',) exports without it)"


def is_sophisticated(search: Any) -> bool:
    """Whether this is what ``si_policy_search`` returns."""
    function = inspect.unwrap(search) if callable(search) else None
    return (getattr(function, "__module__", ""), getattr(function, "__qualname__", "")) == SEARCH


def options(agent: Any, search: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the options of a sophisticated search by ``AgentOptions``' names.

    Raises
    ------
    ModelError
        It has an option that the engine does not carry: one line that names it.
    """
    function: Any = inspect.unwrap(search)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {name: cell.cell_contents for name, cell in cells}
    odd = sorted(set(found) ^ KNOWN)
    if odd:
        raise ModelError(
            f"agent: policy_search: {odd[0]} is not an option of pymdp 1.0.0 to 1.0.4's search {_REMEDY}"
        )
    for name in FUNCTIONS:
        if getattr(found[name], "__module__", None) != SEARCH[0]:
            raise ModelError(
                f"agent: policy_search: {name} is your own; the engine predicts and infers as pymdp does "
                f"{_REMEDY}"
            )
    if found["kl_threshold"] >= 0:
        raise ModelError(
            f"agent: policy_search: kl_threshold={found['kl_threshold']:g} merges nodes; use kl_threshold=-1 "
            f"{_REMEDY}"
        )
    widest = max(a.shape[1] for a in agent.A)
    if found["topk_obsspace"] < widest:
        raise ModelError(
            f"agent: policy_search: topk_obsspace={found['topk_obsspace']} leaves outcomes out, "
            f"expected at least {widest} {_REMEDY}"
        )
    return {"sophisticated": True, "gamma": float(found["gamma"])} | {
        f"si_{name}": found[name] if isinstance(found[name], int) else float(found[name]) for name in CARRIED
    }
