from typing import Any

import numpy as np
from numpy.typing import NDArray

def isas() -> list[tuple[str, bool, int]]: ...
def thread_floats(
    states: int,
    codes: int,
    outcomes: int,
    modalities: int,
    factors: int,
    lanes: int,
    rows: int,
    policies: int,
    nodes: int,
    /,
) -> int: ...

class Core:
    tick: int
    contradictions: int
    def __new__(cls, *args: Any) -> Core: ...
    def step(self, observations: Any, agents: Any, /) -> NDArray[np.int64]: ...
    def infer(self, observations: Any, agents: Any, /) -> None: ...
    def run(
        self,
        observations: Any,
        agents: Any,
        evidence: Any,
        soft: Any,
        actions: Any,
        start: Any,
        G: Any,
        q_pi: Any,
        act: bool,
        /,
    ) -> NDArray[np.int64] | None: ...
    def set_plan(
        self,
        ops: Any,
        fold: Any,
        lists: Any,
        values: int,
        penalties: int,
        horizon: int,
        selection: int,
        stochastic: int,
        /,
    ) -> None: ...
