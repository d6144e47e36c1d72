"""A model made again from its concentrations and what was counted.

Theory of operation. The tensors that learn become what their concentrations expect, as ``columns`` says, in
one of two sets of arrays: a population goes on with one while the other is written. What planning folds out
of A and C, and the information gain on parameters where the model has it, are made again from the same
concentrations. All else is the delivered model's. The new model is a model as any other; a population adopts
it between two ticks (``Population.adopt``).

Only operations are used whose result IEEE 754 determines, in a fixed order, so that a recording is decided
again with the same bits on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import kernel_tables, novelty
from edge_agent.engine.counts import codes_file, columns
from edge_agent.engine.counts.columns import Block, Room
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.rule import expected
from edge_agent.engine.counts.units import Counted, layout
from edge_agent.engine.logarithm import ln
from edge_agent.engine.policy_tree import Folds
from edge_agent.engine.quantize import PALETTES
from edge_agent.engine.sparse import EPSILON
from edge_agent.engine.storage import Tensor
from edge_agent.engine.stored_model import StoredModel
from edge_agent.memory.arena import Column, apart

AnyModel = TypeVar("AnyModel", bound=StoredModel)
Float = NDArray[np.float64]
SETS = 2


class Recoder(Generic[AnyModel]):
    """Makes models of ``model`` from counts.

    Parameters
    ----------
    model : StoredModel
        As delivered.
    concentrations : Concentrations
    layout : tuple of Counted
        Where the counts of what learns lie.
    arrays : mapping of str to ndarray
        Those of ``columns``.
    agents : int
        How many will step with them.
    """

    def __init__(
        self,
        model: AnyModel,
        concentrations: Concentrations,
        layout: tuple[Counted, ...],
        arrays: Mapping[str, NDArray[Any]],
        agents: int,
    ) -> None:
        self.model, self.concentrations, self._layout = model, concentrations, layout
        self._rooms = rooms(model, concentrations, agents)
        self._numbers = arrays["numbers"]
        self._numbers[:] = np.arange(len(self._numbers))
        self._sets = [
            {column.name: arrays[f"{column.name}.{n}"] for place in self._rooms for column in place.columns}
            for n in range(SETS)
        ]

    @staticmethod
    def columns(model: StoredModel, concentrations: Concentrations, agents: int) -> tuple[Column, ...]:
        """Return the arrays that it needs, for the memory plan."""
        places = rooms(model, concentrations, agents)
        most = max((place.numbered for place in places), default=0)
        return (
            Column("numbers", (most,), np.uint16),
            *(
                Column(f"{column.name}.{n}", column.shape, column.dtype)
                for n in range(SETS)
                for place in places
                for column in place.columns
            ),
        )

    @staticmethod
    def table_floats(model: StoredModel, concentrations: Concentrations, agents: int) -> int:
        """Return the floats of the tables of a model made again, at most."""
        learned = {place.name: place for place in rooms(model, concentrations, agents)}
        total = len(model.novelty) * 3 * PALETTES[16]  # gains are made again with all codes
        for index, tensor in enumerate(model.tensors):
            likelihood = index < len(model.A)
            name = f"A_{index}" if likelihood else f"B_{index - len(model.A)}"
            place = learned.get(name)
            floats = kernel_tables.floats(tensor, likelihood)
            total += floats if place is None else max(floats, place.table_floats(likelihood))
        return total

    def made(self, units: NDArray[np.int64], which: int) -> AnyModel:
        """Return the model after ``units`` [cells] of counts, its codes in set ``which``."""
        model, arrays = self.model, self._sets[which]
        A, B, D = list(model.A), list(model.B), list(model.D)
        gains = dict(model.novelty)
        for counted in self._layout:
            kind, i = counted.kind, counted.number
            if kind == "D":
                D[i] = next(self._means(counted, units))[:, 0].astype(np.float32)
                continue
            tensor = columns.stored(
                self._place(counted),
                arrays,
                self._numbers,
                lambda c=counted: self._columns(c, units),  # type: ignore[misc]
            )
            (A if kind == "A" else B)[i] = tensor
            number = i + (len(A) if kind == "B" else 0)
            if number in gains:
                gains[number] = _gain(self.concentrations.blocks(counted, units), tensor)
        folds = self._folds(A)
        return replace(model, A=tuple(A), B=tuple(B), D=tuple(D), folds=folds, novelty=gains, changing=True)

    def saved(self, made: StoredModel) -> bytes:
        """Return the arrays of a model that was made, for a checkpoint."""
        out = list[NDArray[Any]]()
        for counted in self._layout:
            if counted.kind == "D":
                out.append(made.D[counted.number])
            else:
                out += columns.own_arrays(self._place(counted), self._tensor(made, counted))
        out += [*made.folds.utility, *made.folds.ambiguity]
        for gain in made.novelty.values():
            out += [gain.palette, gain.codes]
        return codes_file.packed(out)

    def restored(self, data: bytes, which: int) -> AnyModel:
        """Return the model that `saved` was given, its codes in set ``which``.

        Raises
        ------
        ConfigError
            It is damaged, or of another model.
        """
        model, arrays = self.model, self._sets[which]
        limits = list[NDArray[Any]]()
        for counted in self._layout:
            limits += (
                [model.D[counted.number]] if counted.kind == "D" else columns.limits(self._place(counted))
            )
        limits += [*model.folds.utility, *model.folds.ambiguity]
        for tensor in model.novelty.values():
            limits += [columns.palette(), np.zeros(tensor.rows * tensor.width, np.uint16)]
        found = iter(codes_file.unpacked(data, limits))
        A, B, D, gains = list(model.A), list(model.B), list(model.D), dict(model.novelty)
        for counted in self._layout:
            if counted.kind == "D":
                D[counted.number] = next(found)
                continue
            own = [next(found) for _ in range(columns.ARRAYS)]
            (A if counted.kind == "A" else B)[counted.number] = columns.taken(
                self._place(counted), arrays, self._numbers, own
            )
        utility = tuple(next(found) for _ in model.folds.utility)
        folds = Folds(model.folds.groups, utility, tuple(next(found) for _ in model.folds.ambiguity))
        for number, gain in gains.items():
            values, codes = next(found), next(found)
            none = np.zeros(0, np.uint16), np.zeros(0, np.uint32)
            gains[number] = Tensor(gain.rows, gain.width, values, codes, *none, 0.0)
        return replace(model, A=tuple(A), B=tuple(B), D=tuple(D), folds=folds, novelty=gains, changing=True)

    def _place(self, counted: Counted) -> Room:
        return next(place for place in self._rooms if place.name == counted.name)

    @staticmethod
    def _tensor(model: StoredModel, counted: Counted) -> Tensor:
        return (model.A if counted.kind == "A" else model.B)[counted.number]

    def _means(self, counted: Counted, units: NDArray[np.int64]) -> Iterator[Float]:
        for block in self.concentrations.blocks(counted, units):
            mean = expected(block)
            yield mean * (block > 0) if self.concentrations.masked else mean

    def _columns(self, counted: Counted, units: NDArray[np.int64]) -> Iterator[Block]:
        """Yield the means, and the variances that sampling leaves.

        A cell of expected value p has the variance p n (rate / total)^2 after n of a column's counts.
        """
        rate = {"A": self.concentrations.lr_pA, "B": self.concentrations.lr_pB}[counted.kind]
        groups = counted.shape[0] if counted.kind == "B" else 1
        part = units[counted.first : counted.first + counted.cells].reshape(groups, -1)
        blocks = self.concentrations.blocks(counted, units)
        for block, mean, own in zip(blocks, self._means(counted, units), part, strict=True):
            seen = own.reshape(block.shape).sum(axis=0) / 2.0**counted.bits
            yield mean, seen * (rate / block.sum(axis=0)) ** 2

    def _folds(self, A: Sequence[Tensor]) -> Folds:
        """Return the delivered folds, made again for groups with a modality that learns.

        They are of the tensors as they are stored: what is left out of a column is missing in the entropy of
        predictions as well.
        """
        model, old = self.model, self.model.folds
        learned = {counted.number for counted in self._layout if counted.kind == "A"}
        utilities, ambiguities = list(old.utility), list(old.ambiguity)
        for group, deps in enumerate(old.groups):
            members = [m for m, parents in enumerate(model.A_deps) if parents == deps]
            if not any(m in learned for m in members):
                continue
            utility = np.zeros(old.utility[group].shape)
            unclear = np.zeros(old.ambiguity[group].shape)
            for m in members:
                block = A[m].matrix().astype(np.float64)
                for step, preferred in enumerate(np.atleast_2d(model.C[m]).astype(np.float64)):
                    gained = (preferred[:, np.newaxis] * block).sum(axis=0)
                    utility[step if len(utility) > 1 else 0] += gained
                    if len(utility) > len(np.atleast_2d(model.C[m])):
                        utility[1:] += gained
                unclear -= (block * ln(np.maximum(block, EPSILON))).sum(axis=0)
            utilities[group], ambiguities[group] = utility.astype(np.float32), unclear.astype(np.float32)
        return Folds(old.groups, tuple(utilities), tuple(ambiguities))


def rooms(model: StoredModel, concentrations: Concentrations, agents: int) -> tuple[Room, ...]:
    """Return the room of each tensor A or B that learns."""
    out = []
    for kind, i in concentrations.learned:
        if kind == "A":
            out.append(columns.room(f"A_{i}", model.A[i], 1, agents))
        elif kind == "B":
            out.append(columns.room(f"B_{i}", model.B[i], model.num_controls[i], agents))
    return tuple(out)


def recoded(
    model: AnyModel,
    concentrations: Concentrations,
    agents: int = 1,
    units: NDArray[np.int64] | None = None,
) -> AnyModel:
    """Return ``model`` with what learns as ``concentrations`` and ``units`` of counts expect it, for so many
    ``agents``.
    """
    plan = layout(model, concentrations.learned)
    arrays = apart(Recoder.columns(model, concentrations, agents))
    recoder = Recoder(model, concentrations, plan.tensors, arrays, agents)
    return recoder.made(np.zeros(plan.cells, np.int64) if units is None else units, 0)


def _gain(blocks: Iterator[Float], tensor: Tensor) -> Tensor:
    """Return the information gain on a tensor's parameters, dense: codes of the fixed palette, scaled."""
    weights = np.concatenate([novelty.weights(block) for block in blocks])
    top = max(float(weights.max()), EPSILON)
    codes = (np.sqrt(np.sqrt(weights / top)) * (len(columns.palette()) - 1) + 0.5).astype(np.uint16)
    none = np.zeros(0, np.uint16), np.zeros(0, np.uint32)
    values = (columns.palette() * np.float32(top)).astype(np.float32)
    return Tensor(tensor.rows, tensor.width, values, codes.ravel(), *none, 0.0)
