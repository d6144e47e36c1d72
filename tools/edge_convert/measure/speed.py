"""Latency and memory of a model on this machine. For tables and reports, never for manifests.

Networks are measured in a process of their own (``stopwatch``), so that the memory is theirs alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np

from edge_agent.engine import Model, Population
from edge_agent.engine.arrays import ModelArrays
from edge_agent.errors import PlatformError
from edge_convert.measure.oracle import Oracle
from edge_convert.measure.stopwatch import median_us
from edge_convert.readers.network import Network

AGENTS = 1024
SLOWER, WORTH_IT = 1.1, 0.5  # a slower int8 model must halve the size to be worth it


class Speed(NamedTuple):
    """Microseconds a run of the batch, and bytes of resident memory for runtime and model together."""

    us: float
    rss_bytes: int


def measure(kind: str, model: bytes, shape: tuple[int, ...], batch: int = 1) -> Speed:
    """Return the speed of a model in a fresh process."""
    with tempfile.NamedTemporaryFile(suffix=f".{kind}") as file:
        file.write(model)
        file.flush()
        command = [
            sys.executable,
            "-m",
            "edge_convert.measure.stopwatch",
            kind,
            file.name,
            json.dumps(shape),
            str(batch),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PlatformError(f"measuring speed: {result.stderr.strip().splitlines()[-1]}")
    us, rss = json.loads(result.stdout)
    return Speed(us, rss)


def verdict(float32: Speed, int8: Speed, float_bytes: int, int8_bytes: int) -> str:
    """Return the words for people: which of the two is the better choice here, and for what."""
    ratio = int8.us / float32.us
    saved = 1 - int8_bytes / float_bytes
    size = f"takes {saved:.0%} fewer bytes" if saved >= 0 else f"takes {-saved:.0%} more bytes"
    words = f"int8 runs {ratio:.2f} times as long as float and {size}"
    return f"float is the better choice here: {words}" if ratio > SLOWER and saved < WORTH_IT else words


def network_speed(network: Network, int8: bytes) -> dict[str, Any]:
    """Return float32 and int8 side by side, one input at a time, in words and numbers."""
    shape = network.input[1]
    single, small = measure(network.kind, network.model, shape), measure(network.kind, int8, shape)
    return {
        "float_us": round(single.us, 2),
        "int8_us": round(small.us, 2),
        "float_rss_bytes": single.rss_bytes,
        "int8_rss_bytes": small.rss_bytes,
        "verdict": verdict(single, small, len(network.model), len(int8)),
    }


def agent_speed(source: ModelArrays, model: Model) -> dict[str, Any]:
    """Return microseconds an agent-step: of the engine on ``AGENTS`` agents, and of the float64 reference."""
    agents = Population(model, AGENTS)
    outcomes = np.zeros((AGENTS, len(model.num_obs)), dtype=np.int64)
    agents.step(outcomes)
    oracle = Oracle(source)
    return {
        "int8_us_per_agent_step": round(median_us(lambda: agents.step(outcomes)) / AGENTS, 3),
        "reference_us_per_step": round(median_us(lambda: oracle.step(outcomes[:1])), 1),
        "agents": AGENTS,
    }
