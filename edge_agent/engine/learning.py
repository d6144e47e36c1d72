"""What a model carries so that it can learn: concentrations as they are stored, and learning rates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.storage import Tensor


class Learning(NamedTuple):
    """``A``, ``B``, ``D``: the concentrations of each tensor, None where it does not learn.

    They are laid out as the model's own (``storage``); their values are counts and need not sum to 1. See
    ``counts.concentrations`` for ``masked``.
    """

    A: tuple[Tensor | None, ...]
    B: tuple[Tensor | None, ...]
    D: tuple[NDArray[np.float32] | None, ...]
    lr_pA: float = 1.0
    lr_pB: float = 1.0
    lr_pD: float = 1.0
    masked: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(one.nbytes for kind in self[:3] for one in kind if one is not None)
