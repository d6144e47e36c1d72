"""Tables that the kernel looks weights up in: what a palette value means relative to the background."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.logarithm import ln, rounded_ln
from edge_agent.engine.options import RULES
from edge_agent.engine.quantize import TINY
from edge_agent.engine.sparse import EPSILON
from edge_agent.engine.storage import Tensor


def logarithm(x: float) -> float:
    """Return ln x, clipped from below at the float64 epsilon, correctly rounded on every machine."""
    return rounded_ln(max(x, EPSILON))


def background_of(tensor: Tensor, rules: int = RULES) -> float:
    """Return the background that the kernel computes with: 0 where inference would clip it."""
    return tensor.background if tensor.background >= (EPSILON if rules > 1 else TINY) else 0.0


@lru_cache(maxsize=2)  # models that learn have one palette for all tensors, and are made again and again
def _logarithms(palette: bytes) -> NDArray[np.float64]:
    return np.array([logarithm(float(p)) for p in np.frombuffer(palette, np.float32)])


def floats(tensor: Tensor, likelihood: bool) -> int:
    """Return the floats of a tensor's tables; ``likelihood``: outcomes are weighed by it."""
    if not len(tensor.base):
        return 3 * len(tensor.palette)
    return 2 * (len(tensor.palette) + tensor.width) if likelihood else 0


def base_tables(tensor: Tensor) -> tuple[NDArray[np.float32], float, float]:
    """Return what weighing outcomes takes of a likelihood over a base, the base's largest, and ln of that.

    The tables are ratio and logarithm of every entry relative to its column's base, clipped at the float64
    epsilon, then the base relative to its largest, and the logarithm of that.
    """
    base = np.maximum(tensor.base[0].astype(np.float64), EPSILON)
    value = np.maximum(tensor.base[0][tensor.columns].astype(np.float64) + tensor.palette, EPSILON)
    ratio, share = value / base[tensor.columns], base / base.max()
    out = np.concatenate([ratio, ln(ratio), share, ln(share)]).astype(np.float32)
    return out, float(base.max()), logarithm(float(base.max()))


def tables(tensor: Tensor, rules: int = RULES) -> tuple[NDArray[np.float32], float]:
    """Return ([difference, ratio, logarithm] of every palette value, float32 [3, values], ln background)."""
    palette = tensor.palette.astype(np.float32)
    background = np.float32(background_of(tensor, rules))
    logs = _logarithms(palette.tobytes())
    common = logarithm(float(background)) if tensor.sparse else 0.0
    ratio = palette / background if background > 0 else palette
    out = np.stack([palette - background, ratio, (logs - common).astype(np.float32)])
    return np.ascontiguousarray(out, dtype=np.float32), common
