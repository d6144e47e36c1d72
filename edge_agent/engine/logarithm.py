"""Natural logarithms of arrays that are the same on every machine.

Theory of operation. ``np.log`` differs in the last bit between libraries of mathematics, and models that are
made on a device must have the same bits wherever a recording is decided again. This one is made of additions,
multiplications and divisions in float64 alone, which IEEE 754 rounds in one way: x = m 2^e with m from
sqrt(1/2) to sqrt(2), ln m = 2 artanh((m - 1) / (m + 1)) by its series. Relative error 4e-16 but near 1, where
the absolute error is 1e-16.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

LN2 = 0.6931471805599453
_TERMS = 11


def ln(x: Float) -> Float:
    """Return ln x for normal numbers above 0."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, 2.0 * mantissa, mantissa)
    z = (mantissa - 1.0) / (mantissa + 1.0)
    square = z * z
    series = np.full_like(z, 1.0 / (2 * _TERMS - 1))
    for term in range(_TERMS - 1, 0, -1):
        series *= square
        series += 1.0 / (2 * term - 1)
    out: Float = (exponent - small) * LN2 + 2.0 * z * series
    return out
