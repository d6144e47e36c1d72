"""Bundles of committed networks, converted once a session, for both runtimes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.neural.network import NeuralModel
from edge_convert.bundle import network_bundle
from edge_convert.bundle.job import Job

NETWORKS = Path(__file__).parents[2] / "data" / "networks"
SHAPES = {"mlp_tanh": (6,), "conv1d": (2, 16), "policy": (6,)}
Load = Callable[..., NeuralModel]


@pytest.fixture(scope="session")
def bundle_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the path of a bundle: ``bundle_file(name, target, **options)``."""
    made: dict[Any, Path] = {}

    def convert(name: str, target: str, **options: Any) -> Path:
        key = (name, target, *sorted(options.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("bundle")
            x = (2 * np.random.default_rng(1).normal(size=(400, *SHAPES[name]))).astype(np.float32)
            np.savez(folder / "x.npz", x=x)
            order = Job(
                source=NETWORKS / f"{name}.onnx",
                output=folder / f"{name}.eab",
                name=name,
                calibration=folder / "x.npz",
                target=target,
                **options,
            )
            network_bundle.write(network_bundle.convert(order, "onnx"))
            made[key] = order.output
        return made[key]

    return convert


@pytest.fixture(params=["litert", "onnxruntime"])
def load(request: pytest.FixtureRequest, bundle_file: Callable[..., Path]) -> Load:
    """Return the model of a bundle for each runtime in turn: ``load(name, **options)``."""
    return lambda name, **options: NeuralModel.load(bundle_file(name, request.param, **options))
