from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

def draw(seed: int, tick: int, agents: NDArray[np.int64], out: NDArray[np.float64], /) -> None: ...

class Feed:
    def __new__(
        cls,
        name: str,
        size: int,
        batch: int,
        shape: tuple[int, ...],
        window: tuple[int, int, int],
        ring: NDArray[np.float32],
        seen: NDArray[np.uint32],
        chosen: NDArray[np.int64],
        columns: tuple[NDArray[np.float32], ...],
        argmax: int,
        put: Callable[[], NDArray[np.float32]],
        invoke: Callable[[], object],
        take: tuple[Callable[[], NDArray[np.float32]], ...],
        /,
    ) -> Feed: ...
    def step(self, observations: Any, agents: NDArray[np.int64] | None, /) -> None: ...
    def infer(self, observations: Any, agents: NDArray[np.int64] | None, /) -> None: ...
