"""A discrete agent as its source describes it: checked float64 arrays, before anything is stored in 8 bits.

All readers of agents (pymdp arrays, GMN, live pymdp objects) end here, and everything that follows starts
here: the engine's model, and the float64 reference that the model is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from edge_agent.engine import Model
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.precision import Precision
from edge_agent.errors import ModelError
from edge_convert.readers.agent_trace import AgentTrace


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
    allowed : tuple of str
        Options of the live agent that the export is without, because its user said so.
    trace : AgentTrace, optional
        What the live agent decided.
    altered : tuple of str
        Options that the user chose for the device and that the live agent has not.
    learns : dict, optional
        What learns on the device: concentrations and rates, arguments of ``Concentrations.of``.
    """

    path: Path
    arrays: ModelArrays
    meta: dict[str, Any] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    trace: AgentTrace | None = None
    altered: tuple[str, ...] = ()
    learns: dict[str, Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the float64 tensors A, B, C and D."""
        tensors = (*self.arrays.A, *self.arrays.B, *self.arrays.C, *self.arrays.D)
        return sum(tensor.nbytes for tensor in tensors)

    def model(self, name: str, precision: Precision | None = None) -> Model:
        """Return the engine's model, 8 bits for everything without ``precision``."""
        made = Model.quantized(self.arrays, meta=self.meta or None, name=name, precision=precision)
        if self.learns is None:
            return made
        return replace(made, learning=Concentrations.of(made, **self.learns).stored())

    def learning(self, given: dict[str, Any]) -> AgentSource:
        """Return this agent with concentrations and rates, by which it learns on the device.

        Raises
        ------
        ModelError
            One line that names the file, the tensor and the rule.
        """
        out = replace(self, learns=given)
        try:
            out.model("learns")
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from error
        return out

    def inferring(self, algorithm: str) -> AgentSource:
        """Return this agent with another ``inference_algo`` than the live one has."""
        options = replace(self.arrays.options, inference_algo=algorithm)
        return replace(self, arrays=replace(self.arrays, options=options), altered=("inference_algo",))

    def with_trace(self, trace: AgentTrace) -> AgentSource:
        """Return this agent with the trace of the live one."""
        return replace(self, trace=trace)


def agent_source(
    path: Path,
    A: Sequence[ArrayLike],
    B: Sequence[ArrayLike],
    C: Sequence[ArrayLike] | None,
    D: Sequence[ArrayLike] | None,
    *,
    meta: dict[str, Any],
    allowed: Sequence[str] = (),
    **others: Any,
) -> AgentSource:
    """Check the arrays of an agent and return it; ``others`` as in ``engine.arrays.model_arrays``.

    Raises
    ------
    ModelError
        One line that names the file, the tensor, the index and the rule.
    """
    try:
        return AgentSource(path, model_arrays(A, B, C, D, **others), meta, tuple(allowed))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
