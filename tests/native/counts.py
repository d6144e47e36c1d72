"""Drives a build of ``edge_agent.engine._counts`` with random models, subsets and beliefs.

``python -m tests.native.counts LIBRARY``: run by ``sanitizers.py`` on a build that watches every access.
"""

import importlib.util
import sys
from importlib.machinery import ExtensionFileLoader

import numpy as np

NAME = "edge_agent.engine._counts"
CASES, TICKS = 120, 4


def load(library: str):
    spec = importlib.util.spec_from_file_location(NAME, library, loader=ExtensionFileLoader(NAME, library))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    return module


def drive(rng: np.random.Generator) -> int:
    from edge_agent.engine.counts.concentrations import Concentrations
    from edge_agent.engine.counts.learner import Learner
    from edge_agent.engine.model import Model
    from edge_agent.engine.population import Population
    from edge_agent.engine.precision import Precision

    factors, modalities = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    states = rng.integers(1, 9, factors).tolist()
    a_deps = [rng.permutation(factors)[: rng.integers(1, factors + 1)].tolist() for _ in range(modalities)]
    b_deps = [
        [f, *rng.permutation([g for g in range(factors) if g != f])[: rng.integers(0, 2)].tolist()]
        for f in range(factors)
    ]
    A = [rng.dirichlet(np.ones(3), [states[f] for f in d]) for d in a_deps]
    B = [rng.dirichlet(np.ones(n), [*(states[f] for f in d), 2]) for n, d in zip(states, b_deps, strict=True)]
    A, B = ([np.moveaxis(t, -1, 0) for t in tensors] for tensors in (A, B))
    made = Model.from_arrays(A, B, A_deps=a_deps, B_deps=b_deps)
    arrays = made.arrays()
    model = Model.quantized(arrays, precision=Precision.uniform(arrays, int(rng.choice([8, 16]))))
    D = [np.ones(n) for n in states]
    size = int(rng.integers(1, 140))
    scope = str(rng.choice(["population", "agent"]))
    learner = Learner(Population(model, size), Concentrations.of(model, A, B, D), scope)
    for _ in range(TICKS):
        some = rng.permutation(size)[: rng.integers(1, size + 1)]
        agents = None if rng.random() < 0.5 else some
        count = size if agents is None else len(some)
        learner.population.step(rng.integers(-1, 3, (count, modalities)), agents)
        learner.population.act(rng.integers(-1, 2, (size, factors)))
    return int(learner.increments().units.sum())


if __name__ == "__main__":
    load(sys.argv[1])
    generator = np.random.default_rng(1)
    print(sum(drive(generator) for _ in range(CASES)))
