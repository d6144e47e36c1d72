"""How an agent infers, plans and acts: the options of pymdp's ``Agent`` that the engine carries.

Names and meanings are pymdp's (1.0.4, ``pymdp.agent.Agent``), but for two. ``inference_algo`` "exact" is also
defined for several factors (``reference.exact_marginals``), where pymdp has it for one. ``on_contradiction``
says what follows an observation that the model gives no chance (``surprise``): "keep" is what pymdp does,
"reset" drops the belief and starts again from the likelihood.

``sophisticated`` and the options that begin with ``si_`` are those of ``pymdp.planning.si.si_policy_search``
(see ``sophisticated``); its ``gamma`` is ``gamma`` here.

An option that a source does not state has pymdp 1.x's default. A bundle that states none was written before
there were options: ``BEFORE_OPTIONS`` is what it meant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from edge_agent.errors import ModelError

SAMPLING_MODES = ("full", "marginal")
ACTION_SELECTIONS = ("deterministic", "stochastic")
INFERENCE_ALGORITHMS = ("fpi", "exact", "mmp", "vmp")
WINDOWED = ("mmp", "vmp")
"""Those that infer over a window of ticks (``inference_window``)."""
ON_CONTRADICTION = ("keep", "reset")
RULES = 2
"""Of ties and contradictions, as this release makes models. 1: a tie is an exact one, and a contradiction is
a free energy above 33 nats (several factors) or a likelihood below 1e-35 (one): bundles without options."""
TIE = 1e-4
"""Probabilities of policies, actions or states differ by less than this part: a tie.

The lowest index wins it: in the kernel, in the reference and in what the converter counts. It is a part, as
of many policies none is probable. Exact ties come out of float32 arithmetic up to 1e-5 apart, and what
differs by 1e-4 in the value of a policy is what codes of 8 bits do not resolve.
"""
MAX_ITERATIONS = 256
MAX_PRECISION = 1e6
MAX_INDUCTIVE_DEPTH = 4096
MAX_SEARCH_HORIZON = 16
MAX_SEARCH_NODES = 100_000
MAX_SEARCH_BRANCHING = 65_535
MAX_STOP = 1e30
MAX_INFERENCE_HORIZON = 128

_CHOICES = {
    "sampling_mode": SAMPLING_MODES,
    "action_selection": ACTION_SELECTIONS,
    "inference_algo": INFERENCE_ALGORITHMS,
    "on_contradiction": ON_CONTRADICTION,
}
_COUNTS = {
    "num_iter": MAX_ITERATIONS,
    "inference_horizon": MAX_INFERENCE_HORIZON,
    "inductive_depth": MAX_INDUCTIVE_DEPTH,
    "si_horizon": MAX_SEARCH_HORIZON,
    "si_max_nodes": MAX_SEARCH_NODES,
    "si_max_branching": MAX_SEARCH_BRANCHING,
}
_STOPS = ("si_entropy_stop_threshold", "si_neg_efe_stop_threshold")
_SHARES = ("inductive_threshold", "si_policy_prune_threshold", "si_observation_prune_threshold")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(name: str, value: Any, expected: str) -> None:
    raise ModelError(f"{name}: {value!r}, expected {expected}")


@dataclass(frozen=True)
class AgentOptions:
    """Checked when it is made.

    Attributes
    ----------
    sampling_mode : {"full", "marginal"}
        Choose the first action of a policy, or each factor's action by its marginal probability.
    action_selection : {"deterministic", "stochastic"}
        Take the most probable, or draw with precision ``alpha``.
    alpha, gamma : float
        Precision of drawn actions and of the posterior over policies, 0 to 1e6.
    use_utility, use_states_info_gain, use_param_info_gain, use_inductive : bool
        Which terms the expected free energy has; the third needs ``pA`` or ``pB``, the fourth ``H`` or ``I``.
    inductive_depth : int
        Steps of backward induction; used where ``H`` is given.
    inductive_threshold : float
        Transitions of lower probability do not count as a way, 0 to 1.
    inductive_epsilon : float
        ln of it is the weight of a state from which the goal is not nearer, above 0.
    num_iter : int
        Fixed-point iterations of models with several factors, and of inference over a window, 1 to 256.
    inference_algo : {"fpi", "exact", "mmp", "vmp"}
        The last two infer over a window of ticks.
    inference_horizon : int
        Ticks of the window, this one included, 1 to 128. The default is what ``pymdp.envs.rollout`` takes
        where an agent states none.
    on_contradiction : {"keep", "reset"}
    sophisticated : bool
        Search the tree of actions and the observations that can follow them, in place of scoring policies of
        a fixed length.
    si_horizon : int
        Actions that the search looks ahead, 1 to 16.
    si_max_nodes : int
        Nodes of the tree, which is planned in memory: a search that would need more decides with the depth
        before. 1 to 100,000.
    si_max_branching : int
        Children of a node, at least the number of policies.
    si_policy_prune_threshold, si_observation_prune_threshold : float
        Actions and joint outcomes of at most this probability are not followed, 0 to 1.
    si_entropy_stop_threshold, si_neg_efe_stop_threshold : float
        The search ends when the entropy of its policy posterior is at most the one (nats), or the value of
        its root at least the other.
    si_prune_penalty : float
        Value of what was pruned, as a negative number of nats.

    Raises
    ------
    ModelError
        The message names the option, what was found and what was expected.
    """

    sampling_mode: str = "full"
    action_selection: str = "deterministic"
    alpha: float = 16.0
    gamma: float = 16.0
    use_utility: bool = True
    use_states_info_gain: bool = True
    use_param_info_gain: bool = False
    use_inductive: bool = False
    inductive_depth: int = 1
    inductive_threshold: float = 0.1
    inductive_epsilon: float = 1e-3
    num_iter: int = 16
    inference_algo: str = "fpi"
    inference_horizon: int = 32
    on_contradiction: str = "keep"
    sophisticated: bool = False
    si_horizon: int = 5
    si_max_nodes: int = 5000
    si_max_branching: int = 10
    si_policy_prune_threshold: float = 1 / 16
    si_observation_prune_threshold: float = 1 / 16
    si_entropy_stop_threshold: float = 0.5
    si_neg_efe_stop_threshold: float = 1e10
    si_prune_penalty: float = 512.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _CHOICES and value not in _CHOICES[field.name]:
                _refuse(field.name, value, f"one of {', '.join(_CHOICES[field.name])}")
            if field.type == "bool" and not isinstance(value, bool):
                _refuse(field.name, value, "true or false")
            if field.type == "int" and not (_is_integer(value) and 1 <= value <= _COUNTS[field.name]):
                _refuse(field.name, value, f"an integer from 1 to {_COUNTS[field.name]}")
            if field.type == "float":
                self._check_number(field.name, value)
                object.__setattr__(self, field.name, float(value))
        for name in ("use_param_info_gain", "use_inductive"):
            if self.sophisticated and getattr(self, name):
                _refuse(name, True, "false with sophisticated, whose search does not have it")
        if self.windowed and self.sophisticated:
            _refuse("sophisticated", True, f"false with inference_algo {self.inference_algo!r}")
        if self.windowed and self.on_contradiction != "keep":
            _refuse("on_contradiction", self.on_contradiction, f"'keep' with {self.inference_algo!r}")

    @property
    def windowed(self) -> bool:
        """Whether beliefs are inferred over a window of ticks."""
        return self.inference_algo in WINDOWED

    @staticmethod
    def _check_number(name: str, value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if name in _STOPS:
            if not (number and abs(value) <= MAX_STOP):
                _refuse(name, value, f"a number from {-MAX_STOP:g} to {MAX_STOP:g}")
            return
        if name in _SHARES and not (number and 0 <= value <= 1):
            _refuse(name, value, "a number from 0 to 1")
        if name == "inductive_epsilon" and not (number and 0 < value <= 1):
            _refuse(name, value, "a number above 0, at most 1")
        if not (number and 0 <= value <= MAX_PRECISION):
            _refuse(name, value, f"a number from 0 to {MAX_PRECISION:g}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all options."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_plain(cls, stated: Mapping[str, Any]) -> Self:
        """Return the options in ``stated``, a mapping of names to plain values; the others have the defaults.

        Raises
        ------
        ModelError
            A name is unknown, or a value is not allowed.
        """
        for name in stated:
            if name not in cls.names():
                raise ModelError(f"options: {name} is unknown, expected {', '.join(cls.names())}")
        return cls(**stated)

    def plain(self) -> dict[str, Any]:
        """Return every option by its name, as JSON has it; ``from_plain`` reads it."""
        return asdict(self)

    def changed(self) -> dict[str, Any]:
        """Return the options that do not have their defaults, which ``from_plain`` adds again."""
        default = AgentOptions().plain()
        return {name: value for name, value in self.plain().items() if value != default[name]}


BEFORE_OPTIONS = AgentOptions(sampling_mode="marginal", on_contradiction="reset")
