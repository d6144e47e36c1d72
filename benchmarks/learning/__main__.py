"""Runs the cases of `benchmarks.learning`."""

from __future__ import annotations

import sys

from benchmarks import learning
from benchmarks.cases import run

if __name__ == "__main__":
    sys.exit(run("benchmarks.learning", learning.__doc__, learning.CASES))
