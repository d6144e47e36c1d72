"""docs/reference/bundle.md: the bundle's format from wire/bundle.py, and the entries of a real bundle.

The entries are those of the T-maze in tests/golden, so shapes and types are those that the engine writes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from page_text import prose, table

from edge_agent.engine import Model, golden
from edge_agent.wire import blocks, bundle, signatures
from edge_convert.readers import pymdp_npz

ROOT = Path(__file__).parents[3]
EXAMPLE = "tests/golden/models/s3_tmaze_T2.npz"
MEANINGS = {
    "format": f"version of this format, {bundle.FORMAT}; another number is refused",
    "name": "name of the model",
    "version": "its version, free text (`--version`)",
    "kind": "who reads the payload: `pomdp` (the engine), `tflite` (LiteRT) or `onnx` (ONNX Runtime)",
    "created": "Unix time of the source file, or `SOURCE_DATE_EPOCH`: the same source gives the same bytes",
    "source_sha256": "SHA-256 of the float model it was made of",
    "entries": "name of every entry of the payload → its SHA-256 in hex",
    "io": "names, units and bin edges of modalities, control values; of a network input, outputs, action",
    "memory": "bytes of the model in 8 bits and in floats; agents: bytes per agent",
    "evaluation": "what was measured against the float source, and on which data",
    "requires": "the runtime that can run it, and its version",
}
ENTRIES = {
    "model.json": "shapes, layouts, dependencies, policy length, the agent's options that are not pymdp's "
    "defaults; `bits`: 16 for a tensor whose codes are uint16, `belief_bits` a factor where one has 16",
    "palette": "the values that codes stand for",
    "codes": "one code an entry; in a sparse tensor of the listed entries only",
    "columns": "sparse tensors: the column of each listed entry",
    "starts": "sparse tensors: where each row's listed entries begin",
    "C": "preferences, log-probabilities up to a constant",
    "D": "prior over the first state",
    "E": "prior over policies, where there is one",
    "policies": "where they are not all combinations of controls",
    "utility": "expected utility of each state, for each set of factors that modalities depend on",
    "ambiguity": "entropy of the outcomes in each state, for each set of factors",
    "golden.npz": "observations, and the exact beliefs, actions and free energies that must come out",
}
HEAD = """\
# The bundle

`NAME.eab` is what a device runs: a model in 8 or 16 bits, what it was measured to be worth, and vectors that
prove on the device that it computes what it should.

"""
_PAYLOAD = f"""\
Arrays are `.npy` files, mapped and not copied; i counts modalities (A, C), factors (B, D) or sets of
factors (utility, ambiguity). The middle column shows what is in the bundle of a T-maze with three
modalities and two factors, `{EXAMPLE}`. Models whose agents plan for information about
their parameters also have `novelty_i`, stored as tensors are (i counts A, then B), and those that plan
inductively `I_i.npy`, uint8 [depth, states]: 1 where the goal is at most so many steps away."""
LOADING = """\
## At load

In this order, and nothing of a bundle is used before all of it held: container and digests; the
signature, if the device or the hub demands one; shapes, distributions that sum to 1, no NaN; the memory
plan; the golden vectors. Agents' golden vectors must come out bit for bit, networks' within the
tolerance in `golden.npz`. What is off is one line that names the entry, and the bundle that ran before
goes on.

A hub sends a bundle in blocks of {block:,} bytes, each with its SHA-256 in the signed desired document
([protocol](../protocol.md)).
"""


def page() -> str:
    """Return the page."""
    lines = [HEAD.rstrip(), "", "## Container", "", _words(bundle.__doc__ or ""), ""]
    limits = [
        ["largest file", f"{bundle.MAX_BYTES:,} bytes"],
        ["most entries", f"{bundle.MAX_ENTRIES:,}"],
        [
            f"`{bundle.SIGNATURE}`",
            f"{signatures.PUBLIC_KEY_BYTES} bytes public key, {signatures.SIGNATURE_BYTES} signature",
        ],
    ]
    lines += table(["limit", ""], limits)
    lines += [
        f"## `{bundle.MANIFEST}`",
        "",
        "Canonical JSON: sorted keys, no blanks, ASCII. Every key is required.",
        "",
    ]
    kinds = {str: "text", int: "whole number", dict: "object"}
    rows = [
        [f"`{key}`", kinds[kind], MEANINGS[key]]
        for key, kind in bundle.REQUIRED_KEYS.items()
        if isinstance(kind, type)
    ]
    lines += table(["key", "type", "meaning"], rows)
    lines += ["## Payload of an agent", "", _PAYLOAD, ""]
    lines += table(["entry", "in the T-maze", "meaning"], _entries())
    lines += ["## Payload of a network", ""]
    network = [
        ["`model.tflite` or `model.onnx`", "the quantized network"],
        [
            "`golden.npz`",
            "inputs `x`, outputs `y_0` …, and how far each may be off, `tolerance`, in the output's units",
        ],
    ]
    lines += table(["entry", "meaning"], network)
    lines += [LOADING.format(block=blocks.BLOCK_BYTES).rstrip(), ""]
    return "\n".join(lines)


def _words(docstring: str) -> str:
    """Return the theory of operation: the paragraph after the one that names the file's subject."""
    return prose(docstring).split("\n\n")[1].replace("Theory of operation. ", "")


def _entries() -> Iterator[list[str]]:
    model = Model.quantized(pymdp_npz.read(ROOT / EXAMPLE).arrays)
    payload = model.entries() | {"golden.npz": golden.make(model)}
    series: dict[str, list[str]] = {}
    for name, data in sorted(payload.items()):
        shapes = series.setdefault(re.sub(r"_\d+", "_i", name), [])
        if name.endswith(".npy"):
            array = np.load(io.BytesIO(data))
            shapes.append(f"{array.dtype} [{', '.join(map(str, array.shape))}]")
    for name, shapes in series.items():
        yield [f"`{name}`", ", ".join(dict.fromkeys(shapes)), _meaning(name)]


def _meaning(name: str) -> str:
    for key, words in ENTRIES.items():
        if name == key or f".{key}." in name or name.split("_")[0].partition(".")[0] == key:
            return words
    raise KeyError(f"{name}: an entry of a bundle that this page does not describe")
