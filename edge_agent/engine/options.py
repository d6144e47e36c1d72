"""How an agent infers, plans and acts: the options of pymdp's ``Agent`` that the engine carries.

Names and meanings are pymdp's (1.0.4, ``pymdp.agent.Agent``), but for two. ``inference_algo`` "exact" is also
defined for several factors (``reference.exact_marginals``), where pymdp has it for one. ``on_contradiction``
says what follows an observation that the model gives no chance (``surprise``): "keep" is what pymdp does,
"reset" drops the belief and starts again from the likelihood.

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
INFERENCE_ALGORITHMS = ("fpi", "exact")
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

_CHOICES = {
    "sampling_mode": SAMPLING_MODES,
    "action_selection": ACTION_SELECTIONS,
    "inference_algo": INFERENCE_ALGORITHMS,
    "on_contradiction": ON_CONTRADICTION,
}
_COUNTS = {"num_iter": MAX_ITERATIONS, "inductive_depth": MAX_INDUCTIVE_DEPTH}


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
        Fixed-point iterations of models with several factors, 1 to 256.
    inference_algo : {"fpi", "exact"}
    on_contradiction : {"keep", "reset"}

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
    on_contradiction: str = "keep"

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

    @staticmethod
    def _check_number(name: str, value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if name == "inductive_threshold" and not (number and value <= 1):
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
