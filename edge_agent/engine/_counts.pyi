from typing import Any

def add(
    counts: Any,
    scratch: Any,
    factors: Any,
    tensors: Any,
    before: Any,
    after: Any,
    executed: Any,
    observations: Any,
    agents: Any,
    lanes: int,
    /,
) -> None: ...
def scratch_bytes(factors: Any, /) -> int: ...
