"""Memory of inference over a window of ticks: bytes of an agent's state, rows of scratch, sums of B's rows.

The layout is that of ``kernel/inference_window.h``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.kernel_tables import background_of
from edge_agent.engine.sparse import EPSILON
from edge_agent.engine.storage import Tensor


def state_bytes(codes: int, factors: int, modalities: int, slots: int) -> int:
    """Return the bytes of an agent's window beside its belief codes, of which there are ``codes``."""
    return codes + 2 + slots * (factors + 2 * modalities) if slots else 0


def scratch_rows(states: int, widest: int, modalities: int, tables: int, slots: int) -> int:
    """Return the rows of one float a lane that messages take; ``tables``: rows of joint likelihoods."""
    blocks = (slots if tables else 1) * (2 * states + tables)
    return (7 + 2 * slots) * states + blocks + max(2 * widest, modalities)


def inverse_sums(B: Sequence[Tensor]) -> NDArray[np.float32]:
    """Return 1 over the sum of every row of every B, a factor after another.

    Sums are rounded once, so that every machine has the same bits.
    """
    out = []
    for tensor in B:
        background, palette = background_of(tensor), tensor.palette.astype(np.float64)
        for row in range(tensor.rows):
            if tensor.sparse:
                codes = tensor.codes[tensor.starts[row] : tensor.starts[row + 1]]
            else:
                codes = tensor.codes[row * tensor.width : (row + 1) * tensor.width]
            total = math.fsum(palette[codes]) + (tensor.width - len(codes)) * background
            out.append(1.0 / max(total, EPSILON))
    return np.array(out, np.float32)
