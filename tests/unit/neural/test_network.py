"""A network's bundle loads as it was written, gives the golden outputs, or does not load."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import BundleError
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.runtimes import open_runtime
from edge_agent.wire import bundle
from edge_agent.wire.bundle_kinds import KINDS

TARGETS = ("litert", "onnxruntime")


def rewritten(path: Path, out: Path, manifest: dict[str, Any], entries: dict[str, bytes | None]) -> Path:
    """Write a bundle again with other fields and entries (None: without it); its digests fit."""
    loaded = bundle.read(path)
    kept = {name: bytes(data) for name, data in loaded.entries.items()} | entries
    fields = {k: v for k, v in loaded.manifest.items() if k not in ("format", "entries")} | manifest
    bundle.write(out, fields, {name: data for name, data in kept.items() if data is not None})
    return out


def golden(path: Path) -> dict[str, Any]:
    with np.load(io.BytesIO(bundle.read(path).entries["golden.npz"])) as arrays:
        return dict(arrays)


def packed(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize("target", TARGETS)
def test_wrong_outputs_do_not_load(bundle_file: Callable[..., Path], target: str, tmp_path: Path) -> None:
    path = bundle_file("mlp_tanh", target)
    arrays = golden(path)
    arrays["y_0"] = arrays["y_0"] + 2 * arrays["tolerance"][0]
    off = rewritten(path, tmp_path / "off.eab", {}, {"golden.npz": packed(arrays)})
    with pytest.raises(BundleError, match=r"off\.eab: golden\.npz: y_0 is off by"):
        NeuralModel.load(off)
    arrays["y_0"][0, 0] = np.nan
    with pytest.raises(BundleError, match="y_0 is off by"):
        NeuralModel.load(rewritten(path, tmp_path / "nan.eab", {}, {"golden.npz": packed(arrays)}))


@pytest.mark.parametrize("target", TARGETS)
def test_another_network_in_the_bundle_does_not_load(
    bundle_file: Callable[..., Path], target: str, tmp_path: Path
) -> None:
    path, other = bundle_file("mlp_tanh", target), bundle_file("policy", target)
    entry = KINDS[bundle.read(path).kind].entry
    for payload in (bytes(bundle.read(other).entries[entry]), b"no model at all", b""):
        changed = rewritten(path, tmp_path / "changed.eab", {}, {entry: payload})
        with pytest.raises(BundleError, match=r"changed\.eab|model\."):
            NeuralModel.load(changed)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "change",
    [
        {"input": {"name": "x", "shape": []}},
        {"input": {"name": "x"}},
        {"outputs": []},
        {"window": {"length": 4, "axis": 0}},
        {"window": {"length": 1, "axis": 3}},
        {"action": {"kind": "shout", "output": 0, "logits": True}},
        {"action": {"kind": "argmax", "output": 9, "logits": True}},
    ],
)
def test_io_that_does_not_describe_a_network_is_refused(
    bundle_file: Callable[..., Path], target: str, change: dict[str, Any], tmp_path: Path
) -> None:
    path = bundle_file("mlp_tanh", target)
    binding = bundle.read(path).manifest["io"] | change
    with pytest.raises(BundleError, match=r"changed\.eab: manifest\.json: io"):
        NeuralModel.load(rewritten(path, tmp_path / "changed.eab", {"io": binding}, {}))


@pytest.mark.parametrize("target", TARGETS)
def test_missing_golden_vectors_are_refused(
    bundle_file: Callable[..., Path], target: str, tmp_path: Path
) -> None:
    path = bundle_file("mlp_tanh", target)
    with pytest.raises(BundleError, match=r"golden\.npz is missing"):
        NeuralModel.load(rewritten(path, tmp_path / "x.eab", {}, {"golden.npz": None}))
    for data in (packed({"x": np.zeros((1, 6))}), b"PK", packed({"x": np.zeros((2, 3, 4))})):
        with pytest.raises(BundleError, match=r"golden\.npz"):
            NeuralModel.load(rewritten(path, tmp_path / "x.eab", {}, {"golden.npz": data}))


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_payload_that_is_no_model_is_refused(kind: str) -> None:
    with pytest.raises(BundleError, match=rf"model\.{kind}"):
        open_runtime(kind, b"not a model" * 10, (3,), 1)


def test_no_runtime_is_imported_before_a_bundle_needs_it() -> None:
    code = (
        "import sys, json; import edge_agent.neural.network_population, edge_agent.neural.inference; "
        "print(json.dumps([n for n in sys.modules if n.split('.')[0] in "
        "('onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'onnx')]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []
