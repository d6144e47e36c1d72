"""Dirichlet concentrations of a model: what its author gives, and what counts make of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import storage
from edge_agent.engine.counts.units import KINDS, Counted, layout
from edge_agent.engine.learning import Learning
from edge_agent.engine.storage import Tensor
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ModelError
from edge_agent.wire.increments import Increments

Float = NDArray[np.float64]
Optional = tuple[Float | None, ...]
Priors = tuple[Float | Tensor | None, ...]
MAX_RATE = 1e6


@dataclass(frozen=True, eq=False)
class Concentrations:
    """``A``, ``B``, ``D``: a tensor each, shaped as the model's in pymdp's conventions; None: it does not
    learn.

    Attributes
    ----------
    lr_pA, lr_pB, lr_pD : float
        How much one count adds, above 0.
    masked : bool
        Cells of concentration 0 stay 0, as in pymdp 0.x; pymdp 1.x learns them.
    """

    A: Priors
    B: Priors
    D: Optional
    lr_pA: float = 1.0
    lr_pB: float = 1.0
    lr_pD: float = 1.0
    masked: bool = False

    @classmethod
    def of(
        cls,
        model: StoredModel,
        pA: Sequence[ArrayLike | None] | None = None,
        pB: Sequence[ArrayLike | None] | None = None,
        pD: Sequence[ArrayLike | None] | None = None,
        *,
        lr_pA: float = 1.0,
        lr_pB: float = 1.0,
        lr_pD: float = 1.0,
        masked: bool = False,
    ) -> Self:
        """Check the concentrations of a model.

        Raises
        ------
        ModelError
            The message names tensor, index and rule.
        """
        rates = {"lr_pA": lr_pA, "lr_pB": lr_pB, "lr_pD": lr_pD}
        for name, rate in rates.items():
            if not 0 < rate <= MAX_RATE:
                raise ModelError(f"{name}: {rate!r}, expected a number above 0, at most {MAX_RATE:g}")
        wanted = shapes(model)
        A, B, D = (
            _checked(f"p{kind}", given, wanted[kind]) for kind, given in zip(KINDS, (pA, pB, pD), strict=True)
        )
        return cls(A, B, D, **rates, masked=masked)

    @classmethod
    def carried(cls, model: StoredModel) -> Self:
        """Return what ``model`` carries; it stays as it is stored.

        Raises
        ------
        ModelError
            It carries none.
        """
        own = model.learning
        if own is None:
            raise ModelError("learn: the model has no concentrations, expected pA, pB or pD")
        D = tuple(None if d is None else d.astype(np.float64) for d in own.D)
        return cls(own.A, own.B, D, own.lr_pA, own.lr_pB, own.lr_pD, own.masked)

    def check(self, model: StoredModel) -> None:
        """Check what a bundle carries, without writing it out.

        Raises
        ------
        ModelError
            The message names tensor and rule.
        """
        for name, rate in (("lr_pA", self.lr_pA), ("lr_pB", self.lr_pB), ("lr_pD", self.lr_pD)):
            if not 0 < rate <= MAX_RATE:
                raise ModelError(f"{name}: {rate!r}, expected a number above 0, at most {MAX_RATE:g}")
        plan = layout(model, self.learned)
        if not plan.tensors:
            raise ModelError("learn: nothing learns, expected pA, pB or pD")
        nothing = np.zeros(plan.cells, np.int64)
        for counted in plan.tensors:
            for block in self.blocks(counted, nothing):
                if not (np.isfinite(block) & (block >= 0)).all() or (block.sum(axis=0) <= 0).any():
                    raise ModelError(
                        f"p{counted.name}: expected counts from 0, and one above 0 in each column"
                    )

    def stored(self) -> Learning:
        """Return the concentrations as a bundle has them: 16-bit codes, exact for up to 4,096 values."""
        A, B = (
            tuple(
                p if p is None or isinstance(p, Tensor) else storage.store(p, kind == "B", 16)
                for p in self.tensors(kind)
            )
            for kind in "AB"
        )
        D = tuple(None if d is None else np.asarray(d, np.float32) for d in self.D)
        return Learning(A, B, D, self.lr_pA, self.lr_pB, self.lr_pD, self.masked)

    def tensors(self, kind: str) -> Priors:
        """Return the concentrations of "A", "B" or "D"."""
        return {"A": self.A, "B": self.B, "D": self.D}[kind]

    @property
    def learned(self) -> tuple[tuple[str, int], ...]:
        """What learns: (kind, modality or factor) each."""
        return tuple(
            (kind, i) for kind in KINDS for i, one in enumerate(self.tensors(kind)) if one is not None
        )

    def after(self, increments: Increments) -> Self:
        """Return the concentrations after what was counted, p + lr * counts, written out."""
        out: dict[str, list[Float | None]] = {kind: [None] * len(self.tensors(kind)) for kind in KINDS}
        first = 0
        for tensor in increments.tensors:
            kind, _, number = tensor.name.partition("_")
            counted = Counted(kind, int(number), first, tensor.shape, tensor.bits)
            first += tensor.cells
            if self.tensors(kind)[counted.number] is None:
                continue
            blocks = np.stack(list(self.blocks(counted, increments.units)))
            shaped = blocks.reshape(tensor.shape)
            out[kind][counted.number] = in_pymdp_order(kind, shaped)
        return replace(self, A=tuple(out["A"]), B=tuple(out["B"]), D=tuple(out["D"]))

    def blocks(self, counted: Counted, units: NDArray[np.int64]) -> Iterator[Float]:
        """Yield the concentrations of a tensor after ``units`` of counts: [rows, width] per control value.

        A has one matrix, [outcomes, joint states]; D one of a column.
        """
        prior = self.tensors(counted.kind)[counted.number]
        if prior is None:
            raise ModelError(f"{counted.name}: it has no concentrations")
        rows = counted.shape[1] if counted.kind == "B" else counted.shape[0]
        rate = {"A": self.lr_pA, "B": self.lr_pB, "D": self.lr_pD}[counted.kind] / 2.0**counted.bits
        groups = counted.shape[0] if counted.kind == "B" else 1
        part = units[counted.first : counted.first + counted.cells].reshape(groups, -1)
        for group in range(groups):
            if isinstance(prior, Tensor):
                block = storage.rows_of(prior, group * rows, rows)
            else:
                block = (prior[..., group] if counted.kind == "B" else prior).reshape(rows, -1)
            gained = part[group].reshape(block.shape) * rate
            yield block + (gained * (block > 0) if self.masked else gained)


def in_pymdp_order(kind: str, counts: Float) -> Float:
    """Return the counts of the kernel's shape in pymdp's: B [U, S, *states] becomes [S, *states, U]."""
    return np.moveaxis(counts, 0, -1) if kind == "B" else counts


def shapes(model: StoredModel) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes of A, B and D in pymdp's conventions."""
    n = model.num_states
    return {
        "A": [(o, *(n[d] for d in deps)) for o, deps in zip(model.num_obs, model.A_deps, strict=True)],
        "B": [
            (s, *(n[d] for d in deps), u)
            for s, deps, u in zip(n, model.B_deps, model.num_controls, strict=True)
        ],
        "D": [(s,) for s in n],
    }


def _checked(
    letter: str, given: Sequence[ArrayLike | None] | None, wanted: Sequence[tuple[int, ...]]
) -> Optional:
    if given is None:
        return (None,) * len(wanted)
    if len(given) != len(wanted):
        raise ModelError(f"{letter}: {len(given)} tensors, expected {len(wanted)}")
    out = list[Float | None]()
    for i, (one, shape) in enumerate(zip(given, wanted, strict=True)):
        if one is None:
            out.append(None)
            continue
        array = np.array(one, dtype=np.float64)
        if array.shape != shape:
            raise ModelError(f"{letter}_{i}: shape {array.shape}, expected {shape}")
        odd = np.argwhere(~np.isfinite(array) | (array < 0))
        if len(odd):
            where = tuple(odd[0].tolist())
            raise ModelError(f"{letter}_{i}: entry {where} is {array[where]:g}, expected a count from 0")
        empty = np.argwhere(array.sum(axis=0) <= 0)
        if len(empty):
            raise ModelError(
                f"{letter}_{i}: column {tuple(empty[0].tolist())} is all 0, expected a count above 0"
            )
        array.setflags(write=False)
        out.append(array)
    return tuple(out)
