"""Figures of learning: ``python -m benchmarks.learning [--case NAME ...] [--json]``."""

from __future__ import annotations

import importlib
import sys

from benchmarks.figures import arguments, show
from edge_agent.errors import EdgeAgentError

CASES = ("device", "size", "fleet", "poison", "merge")
"""Files of this folder, each with ``figures()``."""


def main() -> int:
    """Print the figures of the chosen cases, or of all."""
    parser = arguments(__doc__)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one (repeatable)")
    given = parser.parse_args()
    try:
        for name in given.case or CASES:
            show(importlib.import_module(f"benchmarks.learning.{name}").figures(), given.json)
    except EdgeAgentError as error:
        print(f"benchmarks.learning: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
