"""Run the blocks of docs/ that need pymdp or PyTorch: ``make docs-exports``, in an environment that has them.

What they export must be what tests/data/docs holds for the steps that follow on the pages: the same arrays of
a pymdp agent; of a network, which training may change in the last digits, the same decisions nearly always.
``--keep`` puts the new files there instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from blocks import DOCS, PYMDP, ROOT, TORCH, blocks

KEPT = ROOT / "tests" / "data" / "docs"


def same_arrays(new: Path, kept: Path) -> None:
    """Fail unless two files hold the same arrays."""
    with np.load(new) as ours, np.load(kept) as theirs:
        assert set(ours.files) == set(theirs.files)
        for name in ours.files:
            if name.startswith("trace_") and ours[name].dtype.kind == "f":  # another JAX rounds otherwise
                assert np.allclose(ours[name], theirs[name], atol=1e-5), name
            else:
                assert np.array_equal(ours[name], theirs[name]), name


def same_decisions(new: Path, kept: Path) -> None:
    """Fail unless two networks decide alike on the recorded inputs, 95 times in a hundred."""
    with np.load(KEPT / "recorded.npz") as recorded:
        x = recorded["x"]
    ours, theirs = (
        onnxruntime.InferenceSession(path).run(None, {"observation": x})[0].argmax(axis=1)
        for path in (new, kept)
    )
    agreement = float((ours == theirs).mean())
    assert agreement >= 0.95, agreement


def strip(path: Path) -> None:
    """Leave out where on this disk the exporter found the code."""
    model = onnx.load(path)
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


CHECKS: Mapping[str, Callable[[Path, Path], None]] = {
    "heater.npz": same_arrays,
    "policy.onnx": same_decisions,
    "recorded.npz": same_arrays,
}


def main() -> int:
    """Run the blocks; compare what they wrote, or keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="put what was exported into tests/data/docs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for page in sorted(DOCS.rglob("*.md")):
            for block in blocks(page):
                if block.title in (PYMDP, TORCH):
                    print(f"{block.page}:{block.line}", flush=True)
                    environment = os.environ | {"PYTHONPATH": ""}
                    subprocess.run(
                        [sys.executable, "-c", block.text], cwd=folder, check=True, env=environment
                    )
        for name, check in CHECKS.items():
            new = Path(folder) / name
            if arguments.keep:
                shutil.copyfile(new, KEPT / name)
                if new.suffix == ".onnx":
                    strip(KEPT / name)
            else:
                check(new, KEPT / name)
            print(f"{name}: {'kept' if arguments.keep else 'as in tests/data/docs'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
