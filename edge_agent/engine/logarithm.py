"""Natural logarithms that are the same on every machine.

Theory of operation. ``np.log`` differs in the last bit between libraries of mathematics, and models that are
made on a device must have the same bits wherever a recording is decided again. This one is made of additions,
multiplications and divisions in float64 alone, which IEEE 754 rounds in one way: x = m 2^e with m from
sqrt(1/2) to sqrt(2), ln m = 2 artanh((m - 1) / (m + 1)) by its series. Relative error 4e-16 but near 1, where
the absolute error is 1e-16.

Of single numbers `rounded_ln` takes the same series in integers of `_BITS` bits and rounds once. (``decimal``
does the same, and takes 0.3 MB of the device's memory.)
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

LN2 = 0.6931471805599453
_TERMS = 11
_BITS = 200
_SIGNIFICAND = 53


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


def rounded_ln(x: float) -> float:
    """Return ln x for a normal number above 0, correctly rounded."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    m = int(math.ldexp(mantissa, _SIGNIFICAND))
    one = 1 << _SIGNIFICAND
    return (exponent * _ln_2() + 2 * _artanh(m - one, m + one)) / (1 << _BITS)


@functools.cache
def _ln_2() -> int:
    return 2 * _artanh(1, 3)


def _artanh(a: int, b: int) -> int:
    """Return artanh(a / b) in units of 2^-`_BITS`."""
    power = (a << _BITS) // b
    square, total, term = power * power >> _BITS, 0, 1
    while power not in (0, -1):
        total += power // term
        power = power * square >> _BITS
        term += 2
    return total
