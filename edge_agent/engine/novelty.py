"""Novelty: what an agent with counts expects to learn about its own parameters (information gain on A and B).

Theory of operation. With Dirichlet counts a over the outcomes of a column, their sum S, seeing outcome o is
worth W(o) = g(a_o) - g(S) nats, g(x) = digamma(x + 1) - ln x, and nothing where a_o is 0. In the expected
free energy of a policy's step stand q(o) . W q(s) a modality and q(s') . W_u q(s) a factor. The counts are
frozen: W is computed once, and stored as A and B are.

Source: Da Costa et al. 2020, "Active inference on discrete state spaces: a synthesis", eq. D.15; pymdp 1.0.4,
``maths._exact_wnorm`` and ``control.calc_negative_pA_info_gain``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays

Float = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)


def gains(model: ModelArrays) -> dict[int, Float]:
    """Return W, shaped as its tensor, by the tensor's number (A first, then B); empty if it is not used."""
    if not model.options.use_param_info_gain:
        return {}
    if model.gains is not None:
        return dict(model.gains)
    counts = (*(model.pA or (None,) * len(model.A)), *(model.pB or ()))
    return {i: weights(c) for i, c in enumerate(counts) if c is not None}


def weights(counts: Float) -> Float:
    """Return W for counts whose first axis is the outcome."""
    a = np.maximum(counts, EPSILON)
    total = np.maximum(a.sum(axis=0), EPSILON)
    out: Float = (_excess(a) - _excess(total)) * (counts > 0)
    return np.maximum(out, 0.0)


def _excess(x: Float) -> Float:
    """Return digamma(x + 1) - ln x for x > 0, absolute error 1e-13: recurrence, then the asymptotic
    series.
    """
    shifted = np.asarray(x, dtype=np.float64) + 1.0
    correction = np.zeros_like(shifted)
    for _ in range(10):
        small = shifted < 10.0
        correction -= np.where(small, 1.0 / shifted, 0.0)
        shifted = np.where(small, shifted + 1.0, shifted)
    inverse = 1.0 / shifted**2
    series = inverse * (
        1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse * (1 / 240 - inverse / 132)))
    )
    out: Float = np.log(shifted) - 0.5 / shifted - series + correction - np.log(x)
    return out
