"""How many bits each part of a model is stored in: 8 or 16, tensor by tensor and belief by belief.

Eight bits everywhere is the default. What is not accurate enough in eight gets sixteen (``quantize``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from edge_agent.engine.arrays import ModelArrays
from edge_agent.errors import ModelError

ALLOWED = (8, 16)


@dataclass(frozen=True)
class Precision:
    """Bits of the weights of each A and each B, and of the beliefs about each factor."""

    A: tuple[int, ...]
    B: tuple[int, ...]
    beliefs: tuple[int, ...]

    @classmethod
    def uniform(cls, model: ModelArrays, bits: int = 8) -> Self:
        """Return ``bits`` for everything in ``model``."""
        factors = len(model.B)
        return cls((bits,) * len(model.A), (bits,) * factors, (bits,) * factors)

    def check(self, model: ModelArrays) -> None:
        """Check that it is one of ``model``.

        Raises
        ------
        ModelError
        """
        wanted = {"A": len(model.A), "B": len(model.B), "beliefs": len(model.B)}
        for name, count in wanted.items():
            given = getattr(self, name)
            if len(given) != count or any(bits not in ALLOWED for bits in given):
                raise ModelError(f"precision: {name} is {list(given)}, expected {count} times 8 or 16")
