"""Tables that the kernel looks weights up in: what a palette value means relative to the background.

Logarithms are taken in decimal arithmetic and rounded once, so that every machine has the same bits.
"""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.options import RULES
from edge_agent.engine.quantize import TINY
from edge_agent.engine.sparse import EPSILON
from edge_agent.engine.storage import Tensor

_CONTEXT = Context(prec=25)


def logarithm(x: float) -> float:
    """Return ln x, clipped from below at the float64 epsilon, correctly rounded on every machine."""
    return float(Decimal(max(x, EPSILON)).ln(_CONTEXT))


def background_of(tensor: Tensor, rules: int = RULES) -> float:
    """Return the background that the kernel computes with: 0 where inference would clip it."""
    return tensor.background if tensor.background >= (EPSILON if rules > 1 else TINY) else 0.0


def tables(tensor: Tensor, rules: int = RULES) -> tuple[NDArray[np.float32], float]:
    """Return ([difference, ratio, logarithm] of every palette value, float32 [3, values], ln background)."""
    palette = tensor.palette.astype(np.float32)
    background = np.float32(background_of(tensor, rules))
    logs = np.array([logarithm(float(p)) for p in palette])
    common = logarithm(float(background)) if tensor.sparse else 0.0
    ratio = palette / background if background > 0 else palette
    out = np.stack([palette - background, ratio, (logs - common).astype(np.float32)])
    return np.ascontiguousarray(out, dtype=np.float32), common
