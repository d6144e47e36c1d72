"""Opens a bundle's payload by its kind, and runs its golden vectors on the way."""

from __future__ import annotations

from edge_agent.engine import Model
from edge_agent.errors import BundleError
from edge_agent.neural.network import NeuralModel
from edge_agent.wire.bundle import Bundle
from edge_agent.wire.bundle_kinds import EXPECTED, KINDS


def run_golden(bundle: Bundle) -> None:
    """Run the golden vectors of a bundle.

    Raises
    ------
    BundleError
        An output is not what the bundle says it is, or nothing here can run its kind.
    """
    kind = KINDS.get(bundle.kind)
    if kind is None:
        raise BundleError(f"{bundle.path}: kind is {bundle.kind!r}, {EXPECTED}")
    (NeuralModel if kind.network else Model).from_bundle(bundle)
