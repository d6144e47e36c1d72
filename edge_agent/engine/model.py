"""The model that users load, make from arrays, and hand to a population.

Theory of operation. `StoredModel` holds what is stored and what follows from it. This class adds what needs
the whole library: a bundle is verified, its arrays are checked, and its golden vectors are run by a
population before the model is returned.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

from edge_agent.engine import golden, payload
from edge_agent.engine.stored_model import NODE_BUDGET, StoredModel
from edge_agent.errors import BundleError, ModelError
from edge_agent.wire import bundle as bundles
from edge_agent.wire.bundle_kinds import GOLDEN, POMDP


class Model(StoredModel):
    """An immutable model; see `StoredModel` for its attributes, ``from_arrays`` and ``quantized``."""

    @classmethod
    def load(cls, path: str | Path, *, node_budget: int = NODE_BUDGET) -> Self:
        """Map a bundle, verify it, run its golden vectors, and return its model.

        Raises
        ------
        BundleError, ModelError
            The message names file, entry and rule.
        """
        return cls.from_bundle(bundles.read(Path(path)), node_budget=node_budget)

    @classmethod
    def from_bundle(cls, bundle: bundles.Bundle, *, node_budget: int = NODE_BUDGET) -> Self:
        """Return the model of a verified bundle, its golden vectors run. See ``load``."""
        if bundle.kind != POMDP.name:
            raise BundleError(f"{bundle.path}: kind {bundle.kind}, expected {POMDP.name}")
        stored = {name: data for name, data in bundle.entries.items() if name != GOLDEN}
        try:
            fields = payload.fields(stored)
            model = cls(name=bundle.name, meta=dict(bundle.manifest["io"]), node_budget=node_budget, **fields)
            payload.check(model)
        except KeyError as error:
            raise BundleError(f"{bundle.path}: {error.args[0]} is missing") from error
        except (*payload.MALFORMED, ModelError) as error:
            raise BundleError(f"{bundle.path}: {error}") from error
        if GOLDEN not in bundle.entries:
            raise BundleError(f"{bundle.path}: {GOLDEN} is missing")
        try:
            golden.check(model, bundle.entries[GOLDEN])
        except BundleError as error:
            raise BundleError(f"{bundle.path}: {error}") from error
        return model

    def entries(self) -> dict[str, bytes]:
        """Return the payload of a bundle; the same model gives the same bytes."""
        return payload.entries(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over the payload: models with the same digest act alike."""
        return payload.digest(self)
