"""Vector operations per second that a core does on registers alone, measured in this process.

A limit computed from the clock that the system reports is none: cores run faster than they state. Here loops
of the kernel's own operations (``throughput.c``: multiply-adds, and x log2 x) run on registers, compiled with
the options of the instruction set that the kernel chose; the faster loop is the limit.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from pathlib import Path

from edge_agent.engine import isa

ROOT = Path(__file__).parents[1]
KERNEL = ROOT / "edge_agent" / "engine" / "kernel"
VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
OPTIONS = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
}
TURNS = 2_000_000
RUNS = 5


class Throughput:
    """The loops, compiled for the instruction set in use."""

    def __init__(self) -> None:
        name = isa.chosen().name
        self.lanes = VECTOR_BYTES[name] // 4
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "throughput.so"
            sizes = (f"-DVECTOR_BYTES={VECTOR_BYTES[name]}",)
            options = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi", "-fPIC", "-shared")
            source = Path(__file__).with_suffix(".c")
            command = ("cc", *options, *OPTIONS[name], *sizes, f"-I{KERNEL}", str(source), "-o", str(library))
            subprocess.run(command, check=True)
            self._library = ctypes.CDLL(str(library))
        for loop in (self._library.multiply_adds, self._library.logarithms):
            loop.argtypes, loop.restype = (ctypes.c_int64, ctypes.POINTER(ctypes.c_float)), ctypes.c_int64

    def measured(self) -> float:
        """Return vector operations per second of the faster loop, by the thread's clock."""
        best = 0.0
        for loop in (self._library.multiply_adds, self._library.logarithms):
            for _ in range(RUNS):
                sink = ctypes.c_float(1.0)
                start = time.thread_time()
                operations = loop(TURNS, ctypes.byref(sink))
                best = max(best, operations / (time.thread_time() - start))
        return best
