"""Uses every call of an extension and prints a digest of the results: ``exercise.py EXTENSION``.

A script for a process of its own: the extension may be one built with sanitizers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys

import numpy as np


def load(path: str) -> None:
    """Make the file at ``path`` the engine's kernel."""
    spec = importlib.util.spec_from_file_location("edge_agent.engine._kernel", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def digest() -> str:
    """Return a digest over all results."""
    from edge_agent.engine.population import Population
    from edge_agent.errors import ObservationError
    from tests.native.models import models, observations

    total = hashlib.sha256()

    def note(*arrays: np.ndarray) -> None:
        for array in arrays:
            total.update(np.ascontiguousarray(array).tobytes())

    for model in models().values():
        for size, threads in ((1, 1), (9, 1), (130, 2)):
            agents = Population(
                model, size, seed=3, threads=threads, selection="full" if size == 9 else "marginal"
            )
            table = observations(model, size)
            some = np.arange(0, size, 2)
            soft = {0: np.full((size, model.num_obs[0]), 1 / model.num_obs[0], np.float32)}
            evidence = {0: np.full((size, model.num_states[0]), 200, np.uint8)}
            start = agents.codes()
            note(
                agents.step(table[0]),
                agents.step(table[1].astype(np.int16)),
                agents.step(table[2][some], some),
            )
            agents.infer(table[3])
            if model.slots:  # a window of beliefs takes outcomes alone
                note(agents.step(table[4]))
            else:
                note(agents.step_with(table[4], soft=soft, evidence=evidence))
            actions = np.zeros((2, size, len(model.B)), np.int64)
            agents.rerun(table[:2], actions, start=start)
            agents.plan(horizon=1, epistemic=False)
            note(*agents.evaluate(), agents.codes(), agents.free_energy)
            wrong = table[0].copy()
            wrong[-1, -1] = 1000
            for bad in (wrong, table[0][:, :0], [["x"]]):
                try:
                    agents.step(bad)
                except ObservationError as error:
                    total.update(str(error).encode())
            drawn = Population(model, size, seed=5, stochastic=True)
            note(drawn.step(table[0]))
            drawn.restore(drawn.checkpoint())
    return total.hexdigest()


if __name__ == "__main__":
    load(sys.argv[1])
    print(digest())
