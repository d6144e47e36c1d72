"""The port to a neural runtime: one batch of inputs in, all outputs out.

One batch size per runtime: both libraries plan their memory for it once, and convolutions run on LiteRT's
fast path only when the batch is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Runtime:
    """A model, ready to run.

    Parameters
    ----------
    library : str
        The runtime's name and version.
    batch : int
        Inputs a run.
    put : callable
        Returns a view of the inputs, float32 [batch, *shape], to be written to and let go.
    invoke : callable
        Runs the model on what was put; nobody may hold a view meanwhile.
    take : tuple of callable
        Each returns a view of an output, float32 [batch, *shape] in the float model's units, to be let go
        before the next run.
    """

    library: str
    batch: int
    put: Callable[[], Float]
    invoke: Callable[[], object]
    take: tuple[Callable[[], Float], ...]

    def run(self, x: Float) -> list[Float]:
        """Return the outputs for inputs [batch, *shape]; they are the caller's."""
        self.put()[...] = x
        self.invoke()
        return [take().copy() for take in self.take]
