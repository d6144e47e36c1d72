"""The same bundle and observations give the same decisions on the board as on x86-64."""

from __future__ import annotations

import json

from board_checks import GIVEN, run

PYTHON = "/opt/edge-agent/bin/python3"
# Agents: every array has the same bits. Networks: int8 kernels of two processors may round an output
# differently by a step or so; what is done must be the same.
COMPARE = """
import json, sys, numpy as np
mine, theirs = np.load(sys.argv[1]), np.load(sys.argv[2])
assert set(mine.files) == set(theirs.files), (mine.files, theirs.files)
same = {name: mine[name].dtype == theirs[name].dtype and mine[name].tobytes() == theirs[name].tobytes()
        for name in mine.files}
off = {name: float(np.abs(mine[name] - theirs[name]).max()) for name in mine.files if name.startswith("y_")}
print(json.dumps({"same": same, "off": off, "decisions": int(mine["act"].size)}))
"""


def _compared(name: str) -> dict[str, dict[str, float]]:
    out = "/tmp/out.npz"
    run("edge-agent", "infer", GIVEN / f"{name}.eab", "--trace", GIVEN / f"{name}-trace.npz", "-o", out)
    found: dict[str, dict[str, float]] = json.loads(
        run(PYTHON, "-c", COMPARE, out, GIVEN / f"{name}-expected.npz").stdout
    )
    return found


def agents() -> object:
    """Beliefs, free energies, policies and actions of the office's agents have the same bits."""
    found = _compared("office")
    assert all(found["same"].values()), found
    return found


def litert() -> object:
    """A network decides alike on LiteRT."""
    found = _compared("litert")
    assert found["same"]["act"], found
    return found


def onnxruntime() -> object:
    """A network decides alike on ONNX Runtime."""
    (package,) = GIVEN.glob("edge-agent-onnx_*.deb")
    run("apt-get", "install", "-y", package, seconds=300)
    found = _compared("onnxruntime")
    assert found["same"]["act"], found
    return found
