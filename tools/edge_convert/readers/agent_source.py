"""A discrete agent as its source describes it: checked float64 arrays, before anything is stored in 8 bits.

All readers of agents (pymdp arrays, GMN, live pymdp objects) end here, and everything that follows starts
here: the engine's model, and the float64 reference that the model is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from edge_agent.engine import Model
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.errors import ModelError


@dataclass(frozen=True)
class AgentSource:
    """A discrete agent and where it came from.

    Parameters
    ----------
    path : Path
        The file, for messages.
    arrays : ModelArrays
        Float64, checked: distributions sum to 1, shapes fit each other.
    meta : dict
        Names of modalities, states and controls, bin edges, units, control values.
    """

    path: Path
    arrays: ModelArrays
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of the float64 tensors A, B, C and D."""
        tensors = (*self.arrays.A, *self.arrays.B, *self.arrays.C, *self.arrays.D)
        return sum(tensor.nbytes for tensor in tensors)

    def model(self, name: str) -> Model:
        """Return the engine's model of this agent."""
        arrays = self.arrays
        return Model.from_arrays(
            arrays.A,
            arrays.B,
            arrays.C,
            arrays.D,
            E=arrays.E,
            policies=arrays.policies,
            A_deps=arrays.A_deps,
            B_deps=arrays.B_deps,
            gamma=arrays.gamma,
            alpha=arrays.alpha,
            meta=self.meta or None,
            name=name,
        )


def agent_source(
    path: Path,
    A: Sequence[ArrayLike],
    B: Sequence[ArrayLike],
    C: Sequence[ArrayLike] | None,
    D: Sequence[ArrayLike] | None,
    *,
    meta: dict[str, Any],
    **others: Any,
) -> AgentSource:
    """Check the arrays of an agent and return it; ``others`` as in ``engine.arrays.model_arrays``.

    Raises
    ------
    ModelError
        One line that names the file, the tensor, the index and the rule.
    """
    try:
        return AgentSource(path, model_arrays(A, B, C, D, **others), meta)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
