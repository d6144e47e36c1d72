"""Drives a build of ``edge_agent.neural._feed`` with random shapes, subsets and bad observations.

``python -m tests.native.feed LIBRARY``: run by ``sanitizers.py`` on a build that watches every access.
"""

import importlib.util
import sys
from functools import partial
from importlib.machinery import ExtensionFileLoader

import numpy as np

from edge_agent.errors import ObservationError

CASES, STEPS = 1500, 12


def load(library: str):
    name = "edge_agent.neural._feed"
    spec = importlib.util.spec_from_file_location(name, library, loader=ExtensionFileLoader(name, library))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drive(module, rng: np.random.Generator) -> None:
    outer, length, inner = rng.integers(1, 5, 3).tolist()
    size, batch, outputs = int(rng.integers(1, 20)), int(rng.integers(1, 8)), int(rng.integers(1, 4))
    widths = rng.integers(1, 5, outputs).tolist()
    put = np.zeros((batch, outer, length, inner), np.float32)
    results = [np.zeros((batch, width), np.float32) for width in widths]
    feed = module.Feed(
        "m",
        size,
        batch,
        (outer, inner),
        (outer, length, inner),
        np.zeros((size, outer, length, inner) if length > 1 else 0, np.float32),
        np.zeros(size, np.uint32),
        np.zeros((size, 1), np.int64),
        tuple(np.zeros((size, width), np.float32) for width in widths),
        int(rng.integers(-1, outputs)),
        partial(np.asarray, put),
        lambda: [np.copyto(y, rng.normal(size=y.shape)) for y in results],
        tuple(partial(np.asarray, y) for y in results),
    )
    for _ in range(rng.integers(1, STEPS)):
        some = rng.permutation(size)[: rng.integers(0, size + 1)].astype(np.int64)
        who = None if rng.random() < 0.5 else some
        x = rng.normal(size=(size if who is None else len(who), outer, inner))
        if x.size and rng.random() < 0.1:
            x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf])
        x = x[:, 1:] if rng.random() < 0.1 else x
        x = x.astype(np.float32) if rng.random() < 0.9 else x
        try:
            (feed.step if rng.random() < 0.8 else feed.infer)(x, who)
        except ObservationError:
            continue


if __name__ == "__main__":
    generator, built = np.random.default_rng(0), load(sys.argv[1])
    for _ in range(CASES):
        drive(built, generator)
