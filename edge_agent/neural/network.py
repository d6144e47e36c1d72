"""A network and how an agent uses it: what goes in, what comes out, and which action that is.

Theory of operation. The bundle's ``io`` says it all::

    {"input":   {"name": "observation", "shape": [6]},
     "window":  {"length": 1, "axis": 0},
     "outputs": [{"name": "action", "shape": [4]}],
     "action":  {"kind": "argmax", "output": 0, "logits": true}}

``shape`` is one input of the network without the batch. With a window of length K > 1, ``axis`` of it has K
(or a multiple of K) entries: the last K observations, the oldest first. Kinds of action: ``argmax`` and
``sample`` choose an index of a vector of logits or probabilities; ``value`` is the output itself.

``golden.npz`` holds inputs ``x``, the outputs ``y_0`` ... that the converter saw, and how far each may be
off, ``tolerance``, in the output's units: int8 kernels of two processors may round differently, garbage is
far away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BundleError
from edge_agent.neural.runtime_port import Runtime
from edge_agent.neural.runtimes import open_runtime
from edge_agent.wire import bundle, npz
from edge_agent.wire.bundle import Bundle
from edge_agent.wire.bundle_kinds import GOLDEN, KINDS

ACTIONS = ("argmax", "sample", "value")


@dataclass(frozen=True)
class NeuralModel:
    """A network out of a bundle whose golden vectors came out; immutable.

    ``input_shape`` and ``output_shapes`` are without the batch; ``window`` is the number of observations that
    the network sees, along ``window_axis`` of its input. ``meta`` is the io binding.
    """

    name: str
    kind: str
    digest: str
    payload: memoryview
    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    window: int
    window_axis: int
    action: str
    action_output: int
    logits: bool
    meta: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> NeuralModel:
        """Return the model of a bundle file, after its golden vectors came out."""
        return cls.from_bundle(bundle.read(path))

    @classmethod
    def from_bundle(cls, loaded: Bundle) -> NeuralModel:
        """Return the model of a verified bundle, after its golden vectors came out.

        Raises
        ------
        BundleError
            The io binding is off, the runtime does not take the payload, or an output is not as stored.
        """
        try:
            model = _described(loaded)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{loaded.path}: manifest.json: io is not that of a network ({error!r})"
            ) from error
        _check_golden(loaded, model)
        return model

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation: the input's, with the window taken out."""
        if self.window == 1:
            return self.input_shape
        shape = list(self.input_shape)
        length = shape[self.window_axis] // self.window
        shape[self.window_axis : self.window_axis + 1] = [] if length == 1 else [length]
        return tuple(shape)

    @property
    def interleaving(self) -> tuple[int, int, int]:
        """How an input is made of observations: (outer, window, inner) axes; an observation has no second."""
        outer = math.prod(self.input_shape[: self.window_axis])
        return outer, self.window, math.prod(self.input_shape) // (outer * self.window)

    def open(self, batch: int, threads: int = 1) -> Runtime:
        """Return a runtime for ``batch`` agents at a time."""
        return open_runtime(self.kind, self.payload, self.input_shape, batch, threads)


def _described(loaded: Bundle) -> NeuralModel:
    binding: Mapping[str, Any] = loaded.manifest["io"]
    shape = tuple(int(n) for n in binding["input"]["shape"])
    outputs = tuple(tuple(int(n) for n in output["shape"]) for output in binding["outputs"])
    window, axis = int(binding["window"]["length"]), int(binding["window"]["axis"])
    action, output = str(binding["action"]["kind"]), int(binding["action"]["output"])
    if not shape or min(shape) < 1 or not outputs or not 0 <= output < len(outputs) or action not in ACTIONS:
        raise ValueError(dict(binding))
    if window < 1 or not 0 <= axis < len(shape) or shape[axis] % window:
        raise ValueError(dict(binding["window"]))
    if action != "value" and len(outputs[output]) != 1:
        raise ValueError(dict(binding["action"]))
    return NeuralModel(
        name=loaded.name,
        kind=loaded.kind,
        digest=loaded.digest,
        payload=loaded.entries[KINDS[loaded.kind].entry],
        input_shape=shape,
        output_shapes=outputs,
        window=window,
        window_axis=axis,
        action=action,
        action_output=output,
        logits=bool(binding["action"]["logits"]),
        meta=binding,
    )


def _check_golden(loaded: Bundle, model: NeuralModel) -> None:
    if GOLDEN not in loaded.entries:
        raise BundleError(f"{loaded.path}: {GOLDEN} is missing")
    where = f"{loaded.path}: {GOLDEN}"
    golden = npz.parse(loaded.entries[GOLDEN], where, BundleError)
    try:
        expected = [golden[f"y_{index}"] for index in range(len(model.output_shapes))]
        tolerance = golden["tolerance"]
        x = golden["x"].astype(np.float32).reshape(-1, *model.input_shape)
        runtime = model.open(len(x))
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(f"{where} does not fit the network ({error})") from error
    found = runtime.run(x)
    if len(found) != len(expected):
        raise BundleError(f"{loaded.path}: the network has {len(found)} outputs, io says {len(expected)}")
    for index, (y, wanted) in enumerate(zip(found, expected, strict=True)):
        off = distance(y, wanted)
        if not off <= tolerance[index]:
            raise BundleError(
                f"{where}: y_{index} is off by {off:.3g} on {runtime.library}, "
                f"expected at most {tolerance[index]:.3g}"
            )


def distance(y: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference of two outputs; not a number where one is none or the shapes differ."""
    if y.shape != expected.shape:
        return math.nan
    return float(np.abs(y.astype(np.float64) - expected).max())
