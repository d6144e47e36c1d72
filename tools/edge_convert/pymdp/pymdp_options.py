"""What becomes of every option of a pymdp agent: carried, refused by name, or without effect on a decision.

Theory of operation. ``JAX`` lists the constructor's parameters and the attributes of ``pymdp.agent.Agent``
(1.0.0 to 1.0.4), ``LEGACY`` the constructor's parameters of ``pymdp.agent.Agent`` 0.0.7.1 and of
``pymdp.legacy.agent.Agent`` (1.x). ``tests/parity`` walks the real constructors, so an option that pymdp adds
is missing here until somebody has said what becomes of it. An agent of a version that is not known is treated
the same way: an option that is not in the table, and is not at its default, is refused by its name.

A refusal is one line: the option, what was found, and the remedy. ``allow`` names options that the user
exports without all the same; they are written into the file, the manifest and the report.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from edge_agent.errors import ModelError
from edge_convert.pymdp import policy_search as policy_searches

Fate = Literal["carried", "derived", "no effect", "refused"]


class Treatment(NamedTuple):
    """What becomes of an option.

    Attributes
    ----------
    fate : str
        ``carried`` into the file; ``derived`` from what is carried; ``no effect`` on a decision; ``refused``.
    words : str
        How, or why; of a refusal the remedy.
    found : callable, optional
        Of a refusal: takes the agent and returns what is refused, None where the agent does not use it.
    """

    fate: Fate
    words: str
    found: Callable[[Any], str | None] | None = None


def _set(name: str) -> Callable[[Any], str | None]:
    """Return a check that finds the attribute ``name`` where it is true or set."""

    def found(agent: Any) -> str | None:
        value = getattr(agent, name, None)
        if value is None or value is False:
            return None
        return f"{name}={value!r}" if isinstance(value, bool | int | float | str) else f"{name} is set"

    return found


def _learns(name: str) -> Callable[[Any], str | None]:
    def found(agent: Any) -> str | None:
        online = getattr(agent, "learning_mode", "online") == "online"
        return f"{name}=True with learning_mode='online'" if online and getattr(agent, name, False) else None

    return found


def _unlike_filter(agent: Any) -> str | None:
    algorithm = str(getattr(agent, "inference_algo", "VANILLA"))
    return None if algorithm == "VANILLA" else f"inference_algo={algorithm!r}"


def _unknown_inference(agent: Any) -> str | None:
    algorithm, soft = str(getattr(agent, "inference_algo", "fpi")), getattr(agent, "categorical_obs", False)
    if algorithm in ("mmp", "vmp"):
        return f"inference_algo={algorithm!r} with categorical_obs=True" if soft else None
    return None if algorithm in ("fpi", "ovf", "exact") else f"inference_algo={algorithm!r}"


CARRIED = Treatment("carried", "by its name")
_ARRAYS = Treatment("carried", "the arrays of the agent that batch= names")
_SHAPES = Treatment("derived", "from the arrays")
_NO_LEARNING = Treatment("no effect", "pymdp 1.x does not use it")
_FREEZE = (
    "its tables change while it runs; export an agent with {0}=False, and learn=... for one that learns on "
    "the device"
)

JAX: Mapping[str, Treatment] = {
    "A": _ARRAYS,
    "B": _ARRAYS,
    "C": Treatment("carried", "a row for each step of a policy where it has a time axis"),
    "D": _ARRAYS,
    "E": _ARRAYS,
    "pA": Treatment("carried", "with use_param_info_gain, and with learn=..."),
    "pB": Treatment("carried", "with use_param_info_gain, and with learn=..."),
    "H": Treatment("carried", "as I, which pymdp made of it"),
    "I": Treatment("carried", "with use_inductive"),
    "A_dependencies": CARRIED,
    "B_dependencies": CARRIED,
    "B_action_dependencies": Treatment("carried", "flattened as in the agent; meta maps actions back"),
    "num_controls": _SHAPES,
    "control_fac_idx": Treatment("derived", "part of policies"),
    "policy_len": Treatment("derived", "part of policies"),
    "policies": CARRIED,
    "gamma": CARRIED,
    "alpha": CARRIED,
    "inductive_depth": CARRIED,
    "inductive_threshold": CARRIED,
    "inductive_epsilon": CARRIED,
    "use_utility": CARRIED,
    "use_states_info_gain": CARRIED,
    "use_param_info_gain": CARRIED,
    "use_inductive": CARRIED,
    "categorical_obs": Treatment("carried", "observations are distributions, in the trace as on the device"),
    "preprocess_fn": Treatment(
        "refused",
        "the device cannot run Python code of yours; apply it before the reading is published",
        _set("preprocess_fn"),
    ),
    "action_selection": CARRIED,
    "sampling_mode": CARRIED,
    "inference_algo": Treatment(
        "refused",
        "the engine has fpi, ovf and exact, and mmp and vmp over windows of outcomes (categorical_obs=False)",
        _unknown_inference,
    ),
    "inference_horizon": CARRIED,
    "num_iter": CARRIED,
    "batch_size": Treatment("derived", "batch= says which agent"),
    "learning_mode": Treatment("no effect", "of its own: see learn_A and learn_B"),
    "learn_A": Treatment("refused", _FREEZE.format("learn_A"), _learns("learn_A")),
    "learn_B": Treatment("refused", _FREEZE.format("learn_B"), _learns("learn_B")),
    "learn_C": _NO_LEARNING,
    "learn_D": _NO_LEARNING,
    "learn_E": _NO_LEARNING,
    "action_maps": Treatment("carried", "in meta"),
    "num_obs": _SHAPES,
    "num_modalities": _SHAPES,
    "num_states": _SHAPES,
    "num_factors": _SHAPES,
    "num_controls_multi": Treatment("carried", "in meta"),
}


def takes_joint_gain(agent: Any) -> bool:
    """Whether this is a legacy agent whose information gain is that of the joint outcome of several
    modalities.
    """
    everything = [list(range(len(agent.B)))] * len(agent.A)
    joint = getattr(agent, "A_factor_list", None) in (None, everything)
    return len(agent.A) > 1 and joint and bool(getattr(agent, "use_states_info_gain", True))


def stops_early(agent: Any) -> float:
    """Return the change of free energy at which a legacy agent with several factors stops iterating; 0:
    never.
    """
    tolerance = float((getattr(agent, "inference_params", None) or {}).get("dF_tol", 0.0))
    return tolerance if len(agent.B) > 1 else 0.0


_LEARNING = Treatment("no effect", "of update_A, update_B and update_D, which your loop calls, not the agent")
_OF_MMP = Treatment("no effect", "of MMP alone, which is refused")
_OF_SEARCH = Treatment("no effect", "of the sophisticated search alone, which is refused")
_OF_H = Treatment("no effect", "of H alone, which is refused")

LEGACY: Mapping[str, Treatment] = {
    "A": Treatment("carried", "the arrays"),
    "B": Treatment("carried", "the arrays"),
    "C": Treatment("carried", "as ln softmax(C), which is what the legacy agent plans with"),
    "D": Treatment("carried", "the arrays"),
    "E": Treatment("carried", "the arrays"),
    "H": Treatment(
        "refused",
        "the legacy agent has another formula for it; use pymdp.agent.Agent with use_inductive",
        _set("H"),
    ),
    "pA": Treatment("no effect", "of use_param_info_gain and learning alone"),
    "pB": Treatment("no effect", "of use_param_info_gain and learning alone"),
    "pD": _LEARNING,
    "num_controls": _SHAPES,
    "policy_len": Treatment("derived", "part of policies"),
    "inference_horizon": _OF_MMP,
    "control_fac_idx": Treatment("derived", "part of policies"),
    "policies": CARRIED,
    "gamma": CARRIED,
    "alpha": CARRIED,
    "use_utility": CARRIED,
    "use_states_info_gain": Treatment(
        "carried", "refused where several modalities gain jointly: ``pymdp_source``"
    ),
    "use_param_info_gain": Treatment(
        "refused",
        "the legacy agent takes 1/a - 1/sum for the gain, pymdp 1.x and the engine the exact one; "
        "use pymdp.agent.Agent",
        _set("use_param_info_gain"),
    ),
    "action_selection": CARRIED,
    "sampling_mode": CARRIED,
    "inference_algo": Treatment(
        "refused",
        "it infers over a window for each policy, the engine filters; use inference_algo='VANILLA', or mmp "
        "of pymdp.agent.Agent",
        _unlike_filter,
    ),
    "inference_params": Treatment(
        "carried", "num_iter; refused where dF_tol changes a belief: ``pymdp_source``"
    ),
    "modalities_to_learn": _LEARNING,
    "lr_pA": _LEARNING,
    "factors_to_learn": _LEARNING,
    "lr_pB": _LEARNING,
    "lr_pD": _LEARNING,
    "use_BMA": _OF_MMP,
    "policy_sep_prior": _OF_MMP,
    "save_belief_hist": Treatment("no effect", "it only keeps what was inferred"),
    "A_factor_list": CARRIED,
    "B_factor_list": CARRIED,
    "sophisticated": Treatment(
        "refused",
        "the engine scores each policy as a whole; use sophisticated=False",
        _set("sophisticated"),
    ),
    "si_horizon": _OF_SEARCH,
    "si_policy_prune_threshold": _OF_SEARCH,
    "si_state_prune_threshold": _OF_SEARCH,
    "si_prune_penalty": _OF_SEARCH,
    "ii_depth": _OF_H,
    "ii_threshold": _OF_H,
}

TRIED = ("inference_params", "use_states_info_gain")
"""Legacy formulas that often do not matter: ``pymdp_source`` tries them on the agent's trace."""

METHODS = ("infer_states", "infer_policies", "sample_action", "update_empirical_prior", "process_obs")
"""What decides; a subclass that has its own decides otherwise than the engine."""

POLICY_SEARCH = Treatment(
    "refused",
    "the engine has pymdp.planning.si.si_policy_search, or scores each policy as a whole, as "
    "Agent.infer_policies does; use one of them",
)


def check(
    agent: Any, table: Mapping[str, Treatment], allow: Collection[str], policy_search: Any
) -> tuple[str, ...]:
    """Refuse what cannot be carried; return the names among ``allow`` that the agent does use.

    Raises
    ------
    ModelError
        One line: the option, what was found, the remedy; or a name in ``allow`` that is no option.
    """
    refusable = {*table, *METHODS, "policy_search", *(name for name, _ in _unknown(agent, table))}
    for name in allow:
        if name not in refusable:
            raise ModelError(f"allow: {name!r} is no option of this agent")
    allowed = []
    for name, found, remedy in _refusals(agent, table, policy_search):
        if name not in allow:
            raise ModelError(f"agent: {found}: {remedy} (allow=({name!r},) exports without it)")
        allowed.append(name)
    if table is LEGACY:
        allowed += [name for name in TRIED if name in allow]
    return tuple(dict.fromkeys(allowed))


def _refusals(
    agent: Any, table: Mapping[str, Treatment], policy_search: Any
) -> Iterator[tuple[str, str, str]]:
    for name, treatment in table.items():
        found = treatment.found(agent) if treatment.found else None
        if found is not None:
            yield name, found, treatment.words
    if policy_search is not None and (table is LEGACY or not policy_searches.is_sophisticated(policy_search)):
        called = getattr(policy_search, "__qualname__", "a function")
        yield "policy_search", f"policy_search={called}", POLICY_SEARCH.words
    for name, found in _unknown(agent, table):
        yield (
            name,
            found,
            "this exporter knows pymdp 1.0.0 to 1.0.4 and 0.0.7.1, and this option is not theirs",
        )
    for name in METHODS:
        if _overridden(agent, name):
            yield (
                name,
                f"{name} is your own",
                "the engine decides as pymdp's does; use pymdp's Agent as it is",
            )


def _unknown(agent: Any, table: Mapping[str, Treatment]) -> list[tuple[str, str]]:
    """Return the options of the agent's class that the table lacks and that are not at their defaults."""
    owner = class_of(agent)
    if owner is None:
        return []
    out = []
    for name, parameter in list(inspect.signature(owner).parameters.items()):
        if name in table:
            continue
        value = getattr(agent, name, parameter.default)
        if value is not parameter.default and value != parameter.default:
            out.append((name, f"{name}={value!r}"))
    return out


def class_of(agent: Any) -> type | None:
    """Return the class of pymdp that the agent is, or is derived from; None for an object shaped as one."""
    for owner in type(agent).__mro__:
        if owner.__module__.split(".")[0] == "pymdp":
            return owner
    return None


def _overridden(agent: Any, method: str) -> bool:
    if class_of(agent) is None:
        return False
    if method in getattr(agent, "__dict__", {}):
        return True
    owner = next((c for c in type(agent).__mro__ if method in vars(c)), None)
    return owner is not None and owner.__module__.split(".")[0] not in ("pymdp", "equinox")
