"""How near an int8 network is to its float source: top-1 agreement, and signal-to-noise ratio an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CEILING_DB = 120.0  # of two equal signals: float32 carries no more
Float = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkFidelity:
    """Figures of an int8 network.

    ``agreement`` is the share of samples whose largest entry of the action's output is the same (None where
    the action is a value), ``sqnr_db`` the signal-to-quantization-noise ratio of each output.
    """

    samples: int
    agreement: float | None
    sqnr_db: list[float]

    def figures(self) -> dict[str, Any]:
        """Return what the gate, the manifest and the tables show."""
        agreement = {} if self.agreement is None else {"action_agreement": self.agreement}
        return agreement | {
            "min_sqnr_db": min(self.sqnr_db),
            "sqnr_db": self.sqnr_db,
            "samples": self.samples,
        }


def compare(reference: Sequence[Float], found: Sequence[Float], action_output: int | None) -> NetworkFidelity:
    """Return the fidelity of ``found`` [n, *shape] to ``reference``; top-1 is that of ``action_output``."""
    agreement = None
    if action_output is not None:
        wanted, taken = (outputs[action_output].argmax(axis=-1) for outputs in (reference, found))
        agreement = float((wanted == taken).mean())
    return NetworkFidelity(
        samples=len(reference[0]),
        agreement=agreement,
        sqnr_db=[round(sqnr_db(y, z), 3) for y, z in zip(reference, found, strict=True)],
    )


def sqnr_db(signal: NDArray[Any], found: NDArray[Any]) -> float:
    """Return 10 log10(signal power / noise power), at most ``CEILING_DB``; garbage gives the lowest value."""
    power = float((signal.astype(np.float64) ** 2).sum())
    noise = float(((signal.astype(np.float64) - found) ** 2).sum())
    if not np.isfinite(noise):
        return -CEILING_DB
    if noise == 0:
        return CEILING_DB
    return float(np.clip(10 * np.log10(max(power, 1e-30) / noise), -CEILING_DB, CEILING_DB))
