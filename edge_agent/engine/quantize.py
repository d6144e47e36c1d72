"""Eight bits, or sixteen: palettes for weights, quarter-power codes for beliefs.

Weights. A tensor is stored as codes into a palette of at most 256 float32 values. Where it has no more
distinct values than that, nothing is lost. Otherwise the palette is fitted by Lloyd's iterations to fourth
roots of the values, with zero kept exact: likelihoods count by their ratios, and linear codes would round
those near 0.001 to zero. Columns then sum to 1 within the palette's steps; moving codes until they do exactly
costs more than it mends. Codes of 16 bits have palettes of up to 4,096 values.

Beliefs. c = round(255 (p / p_max)^(1/4)): relative to the largest, 2e-10 to 1 in 255 steps. Decoding is two
multiplications, (c^2)^2, and the scale comes back by normalising. With 16 bits it is 65,535: 5e-20 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Codes = NDArray[np.uint8] | NDArray[np.uint16]

PALETTES = {8: 256, 16: 4096}
"""Values of a palette at most, by the bits of a code."""
TINY = 1e-30
"""Probabilities below it are stored as 0: inference clips at 2e-16 where that matters, and float32 ends at
1e-38."""
_ROUNDS = 40


def palette_codes(tensor: Float, bits: int = 8) -> tuple[NDArray[np.float32], Codes]:
    """Return (palette, codes): ``palette[codes]`` stands for ``tensor``, whose columns are distributions."""
    single = np.where(tensor < TINY, 0.0, tensor).astype(np.float32)
    values, codes = np.unique(single, return_inverse=True)
    if len(values) <= PALETTES[bits]:
        return values, _narrow(codes.reshape(tensor.shape), bits)
    palette = _fit(single.ravel().astype(np.float64), PALETTES[bits] - 1)
    return palette.astype(np.float32), _narrow(_nearest(palette, tensor), bits)


def _narrow(codes: NDArray[np.intp], bits: int) -> Codes:
    return codes.astype(np.uint8) if bits == 8 else codes.astype(np.uint16)


def _fit(values: Float, levels: int) -> Float:
    """Fit ``levels`` levels to the fourth roots of the positive values, and zero."""
    roots = np.sort(np.sqrt(np.sqrt(values[values > 0])))
    totals = np.concatenate([[0.0], np.cumsum(roots)])
    # Half of the levels start where the data are dense, half are spread: rare large entries matter as much.
    dense = roots[np.linspace(0, len(roots) - 1, levels // 2).astype(np.int64)]
    spread = np.linspace(roots[0], roots[-1], levels - len(dense))
    centres = np.unique(np.concatenate([dense, spread]))
    for _ in range(_ROUNDS):
        edges = np.searchsorted(roots, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [len(roots)]])
        counts = np.diff(bounds)
        sums = np.diff(totals[bounds])
        centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
    palette: Float = np.concatenate([[0.0], np.unique(centres) ** 4])
    return palette


def _nearest(palette: Float, tensor: Float) -> NDArray[np.intp]:
    roots = palette**0.25
    middles = (roots[1:] + roots[:-1]) / 2
    middles[0] = 0.0  # nothing but zero is stored as zero
    return np.searchsorted(middles, tensor**0.25, side="left")


def belief_codes(beliefs: Float) -> NDArray[np.uint8]:
    """Return the codes [..., S] of distributions [..., S]."""
    relative = beliefs / beliefs.max(axis=-1, keepdims=True)
    codes: NDArray[np.uint8] = np.floor(255.0 * np.sqrt(np.sqrt(relative)) + 0.5).astype(np.uint8)
    return codes


def beliefs_from_codes(codes: Codes) -> Float:
    """Return the distributions [..., S] that ``codes`` stand for."""
    fourth = codes.astype(np.float64) ** 4
    out: Float = fourth / fourth.sum(axis=-1, keepdims=True)
    return out


def belief_bytes(beliefs: Float, bits: int) -> NDArray[np.uint8]:
    """Return the codes of distributions [..., S] as a population stores them, [..., S * bits / 8]."""
    if bits == 8:
        return belief_codes(beliefs)
    relative = beliefs / beliefs.max(axis=-1, keepdims=True)
    codes = np.floor(65_535.0 * np.sqrt(np.sqrt(relative)) + 0.5).astype("<u2")
    return np.ascontiguousarray(codes).view(np.uint8)


def codes_from_bytes(stored: NDArray[np.uint8], bits: int) -> Codes:
    """Return the codes [..., S] in what a population stores."""
    return stored if bits == 8 else np.ascontiguousarray(stored).view("<u2")
