"""``python -m benchmarks.peers``."""

import sys

from benchmarks.cases import run
from benchmarks.peers import CASES

if __name__ == "__main__":
    sys.exit(run("benchmarks.peers", "The agents' cost beside pymdp's.", CASES))
