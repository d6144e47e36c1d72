"""Field names, types and bounds of the body on ``up/learned``; `wire.learned` reads and writes it."""

from __future__ import annotations

from edge_agent.wire.bodies import RANGES
from edge_agent.wire.body_checks import BodyField, Schema

LEARNED: Schema = {
    "population": BodyField(str, "name of the population", required=True),
    "bundle": BodyField(str, "digest of the bundle that ran", required=True),
    "epoch": BodyField(
        int,
        "when the counts were taken out; larger than that of the epoch before",
        required=True,
        unit="Unix s",
        least=1,
        most=2**53,
    ),
    "updates": BodyField(
        int, "ticks of agents that were counted; no tensor has more counts", required=True, least=0
    ),
    "shift": BodyField(int, "how often the counts were halved; 0 if missing", least=0, most=62),
    "tensors": BodyField(
        list,
        "what is counted, in the order of the cells: [name, shape, bits]; A [O, *states], B [U, S, *states], "
        "D [S]; a count is 2**bits units",
        required=True,
        least=1,
        most=512,
        each=BodyField(list, "[name, shape, bits]", least=3),
    ),
    "pieces": BodyField(int, "into which the contribution is cut", required=True, least=1),
    "piece": BodyField(int, "which of them, from 0", required=True, least=0),
    "listed": BodyField(
        int, "cells of this piece; others of its range are 0", required=True, least=0, most=16_384
    ),
    "data": BodyField(
        bytes,
        "zlib: of each listed cell the distance from the one before (uint32 LE; the first: place + 1), then "
        "the units (int64 LE), first bytes of all, then second bytes, and so on",
        required=True,
    ),
    "outbox": BodyField(str, "name of the outbox that numbered the message"),
    "historical": BodyField(bool, "true if sent later than made; false if missing"),
    "skipped": BodyField(
        list, "[first, last] ranges of sequence numbers that were thinned out on the device", each=RANGES
    ),
}
