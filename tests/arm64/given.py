"""Bundles and observations for the board, and the outputs of x86-64.

The office's model is learnt and converted as the demo does it; the network is the one of the converter's
tests, for both runtimes. Every output comes from ``edge-agent infer`` on this machine.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import board_checks.learning
import numpy as np

from edge_agent.wire import signatures

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
TICKS = 200
AGENTS = 3


def install_commands() -> str:
    """Return the commands of the page that tells how to install."""
    page = (ROOT / "docs" / "how-to" / "install.md").read_text()
    blocks = re.findall(r'^```sh title="on the board"\n(.*?)^```', page, re.DOTALL | re.MULTILINE)
    assert blocks
    return "".join(blocks)


def make(folder: Path) -> None:
    """Write NAME.eab, NAME-trace.npz and NAME-expected.npz for office, litert and onnxruntime.

    Besides, learning.eab with its recording and counts, and the certificates and the key of a hub.
    """
    random = np.random.default_rng(8)
    office = ROOT / "examples/office"
    template = ("--template", office / "office.toml")
    _run(
        PROGRAMS / "edge-convert",
        "fit",
        office / "data/office_occupancy.csv",
        *template,
        "-o",
        folder / "office.npz",
    )
    _convert(folder / "office.npz", folder / "office.eab", "--name", "office")
    with np.load(folder / "office.npz") as model:
        outcomes = [
            model[f"A_{m}"].shape[0]
            for m in range(sum(name.startswith("A_") and name[2:].isdigit() for name in model))
        ]
    obs = np.stack([random.integers(-1, n, (TICKS, AGENTS)) for n in outcomes], axis=-1)
    np.savez(folder / "office-trace.npz", obs=obs)

    calibration = folder / "calibration.npz"
    np.savez(calibration, x=2 * random.standard_normal((512, 6), np.float32))
    network = ROOT / "tests/data/networks/mlp_relu.onnx"
    for runtime in ("litert", "onnxruntime"):
        _convert(
            network,
            folder / f"{runtime}.eab",
            "--target",
            runtime,
            "--calibration",
            calibration,
            "--name",
            runtime,
        )
        np.savez(
            folder / f"{runtime}-trace.npz", x=2 * random.standard_normal((TICKS, AGENTS, 6), np.float32)
        )

    _learning(folder)
    authority = ROOT / "tools/mosquitto/make_ca.sh"
    _run(authority, folder, "127.0.0.1")
    signatures.save(signatures.generate("director"), folder / "director")

    for name in ("office", "litert", "onnxruntime"):
        trace, expected = folder / f"{name}-trace.npz", folder / f"{name}-expected.npz"
        _run(PROGRAMS / "edge-agent", "infer", folder / f"{name}.eab", "--trace", trace, "-o", expected)


def _learning(folder: Path) -> None:
    """Write the office's agent with concentrations, a recording of it that learns, and what it counted."""
    with np.load(folder / "office.npz") as model:
        arrays = dict(model)
    learnt = {f"p{name}": 10 * arrays[name] + 0.01 for name in arrays if re.fullmatch(r"[AB]_\d+", name)}
    np.savez(folder / "learning.npz", **arrays, **learnt, learn=json.dumps(["A", "B"]))
    _convert(folder / "learning.npz", folder / "learning.eab", "--name", "office")
    words = ("-c", board_checks.learning.STEPS, folder / "learning.eab", folder / "learning.recording")
    (folder / "learning.json").write_text(_run(sys.executable, *words))


def _convert(source: Path, bundle: Path, *options: str | Path) -> None:
    _run(PROGRAMS / "edge-convert", "convert", source, "-o", bundle, *options)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
