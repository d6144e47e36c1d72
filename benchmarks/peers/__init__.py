"""The agents' cost beside pymdp, which runs in an environment of its own (``make bench-peers`` makes it)."""

from benchmarks.peers.models import CASES

__all__ = ["CASES"]
