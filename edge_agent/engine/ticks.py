"""What may run a population's ticks in its place: learning does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Result = TypeVar("Result")


class Ticks(Protocol):
    """What runs a population's ticks in its place, and has a state beside it (``counts.learner``)."""

    def around(
        self,
        tick: Callable[[], Result],
        observations: ArrayLike,
        agents: NDArray[np.int64] | None,
        soft: Mapping[int, ArrayLike] | None = None,
    ) -> Result:
        """Run ``tick``, one of ``agents`` (None: all) on ``observations``, and return what it returns."""

    def figures(self) -> dict[str, int | float]:
        """Return figures for status and telemetry."""

    def saved(self) -> bytes:
        """Return its state, which stands before the population's."""

    def restored(self, data: bytes, check: Callable[[bytes], object]) -> bytes:
        """Take its state from the beginning of ``data`` and return the rest, once ``check`` has passed it."""
