"""a * b + c is rounded once: also where the processor can't, as on x86-64 without FMA."""

import ctypes
import math
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.native.dump import FLAGS, KERNEL

Floats = NDArray[np.float32]


def library(folder: Path, *options: str) -> Any:
    path = folder / "madd.so"
    source = Path(__file__).with_name("madd.c")
    subprocess.run(
        ["cc", *FLAGS, *options, "-fPIC", "-shared", f"-I{KERNEL}", source, "-o", path], check=True
    )
    return ctypes.CDLL(str(path))


def multiply_add(built: Any, a: Floats, b: Floats, c: Floats) -> tuple[Floats, Floats]:
    vectors, singles = np.empty_like(a), np.empty_like(a)
    pointers = [x.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for x in (a, b, c, vectors, singles)]
    built.multiply_add(ctypes.c_int64(len(a) // 4), *pointers)
    return vectors, singles


def rounded(exact: Fraction) -> np.float32:
    """Round to the nearest float, half way to the even one: IEEE 754-2019, 4.3.1."""
    if exact == 0:
        return np.float32(0.0)
    size = max(math.frexp(abs(float(exact)))[1] - 24, -149)
    while abs(exact) >= Fraction(2) ** (size + 24):
        size += 1
    while size > -149 and abs(exact) < Fraction(2) ** (size + 23):
        size -= 1
    return np.float32(math.ldexp(round(exact / Fraction(2) ** size), size))


def cases() -> tuple[Floats, Floats, Floats]:
    """Return products whose sum with c lies half way between two floats, a little beside it, or below the
    smallest normal one; and any.
    """
    rng = np.random.default_rng(5)
    n = 4000
    a = np.ldexp(1 + rng.integers(0, 2**23, n) / 2**23, rng.integers(-40, 40, n))
    b = np.ldexp(1 + rng.integers(0, 2**23, n) / 2**23, rng.integers(-40, 40, n))
    c = np.ldexp(rng.choice([-1, 1], n) * (1 + rng.integers(0, 2**23, n) / 2**23), rng.integers(-80, 80, n))
    near = slice(0, 1500)  # half an ulp of c, less or more a tiny part of it
    c[near] = 1 + rng.integers(0, 2**23, 1500) / 2**23
    a[near], b[near] = (
        2.0**-24 * (1 + rng.integers(-1, 2, 1500) / 2**23),
        1 + rng.integers(-1, 2, 1500) / 2**23,
    )
    tiny = slice(1500, 2500)
    a[tiny], b[tiny] = np.ldexp(a[tiny], -50), np.ldexp(b[tiny], -60)
    c[tiny] = rng.choice([0.0, 2.0**-149, -(2.0**-130), 2.0**-126], 1000)
    a[2500:2504], c[2500:2504] = 0.0, [0.0, 1.0, -1.0, 2.0**-149]
    c[2504:2604] = -(
        a[2504:2604].astype(np.float32) * b[2504:2604].astype(np.float32)
    )  # what a product loses
    return a.astype(np.float32), b.astype(np.float32), c.astype(np.float32)


@pytest.mark.parametrize("options", [(), ("-mfma",)])
def test_a_multiply_add_is_rounded_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    if options and " fma " not in Path("/proc/cpuinfo").read_text():
        options = ()
    a, b, c = cases()
    wanted = [
        rounded(Fraction(x) * Fraction(y) + Fraction(z))
        for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    for found in multiply_add(library(tmp_path, *options), a, b, c):
        np.testing.assert_array_equal(found, np.array(wanted))


def test_under_rules_1_it_is_rounded_twice(tmp_path: Path) -> None:
    a, b, c = cases()
    for found in multiply_add(library(tmp_path, "-DRULES_1"), a, b, c):
        np.testing.assert_array_equal(found, a * b + c)
