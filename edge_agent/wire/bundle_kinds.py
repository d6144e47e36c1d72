"""The kinds of bundles: what the payload is, which entry holds it, and what it needs to run.

``kind`` in a bundle's manifest is one of `KINDS`. Agents are opened by ``engine.Model``, networks by
``neural.NeuralModel``, which runs `BundleKind.entry` on the runtime of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GOLDEN = "golden.npz"
"""The entry of every bundle that holds inputs and what must come out."""


@dataclass(frozen=True, slots=True)
class BundleKind:
    """One kind.

    Parameters
    ----------
    name : str
        ``kind`` in the manifest.
    entry : str
        The entry that holds the network; "" for agents, whose arrays are an entry each.
    """

    name: str
    entry: str = ""

    @property
    def network(self) -> bool:
        """Whether it is a network, and a neural runtime opens it."""
        return bool(self.entry)


POMDP = BundleKind("pomdp")
TFLITE = BundleKind("tflite", "model.tflite")
ONNX = BundleKind("onnx", "model.onnx")
KINDS: Mapping[str, BundleKind] = {kind.name: kind for kind in (POMDP, TFLITE, ONNX)}
NETWORKS = tuple(kind.name for kind in KINDS.values() if kind.network)
EXPECTED = "expected pomdp, onnx or tflite"
