"""The plan adds up, lays the arena's columns end to end, and says how many bytes are missing."""

import numpy as np
import pytest

from edge_agent.errors import BudgetError
from edge_agent.memory.arena import Column
from edge_agent.memory.budget import Line, plan, region_bytes

REGIONS = [
    ("a", [Column("belief", (10, 3), np.uint8), Column("time", (4,), np.float64)]),
    ("b", [Column("action", (5,), np.int16)]),
]
FIXED = [Line("process", "interpreter", 1000), Line("process", "inbox", 24)]


def test_columns_lie_end_to_end_and_the_spare_after_them() -> None:
    found = plan(5000, FIXED, REGIONS, spare=100)
    arena = [line for line in found.lines if line.offset is not None]
    nbytes = [column.nbytes for _, columns in REGIONS for column in columns] + [100]
    assert [line.nbytes for line in arena] == nbytes
    assert [line.owner for line in arena] == ["a", "a", "b", "arena"]
    assert [line.offset for line in arena] == [sum(nbytes[:i]) for i in range(4)]
    assert (found.arena, found.total) == (sum(nbytes), sum(nbytes) + 1024)
    assert region_bytes(REGIONS) == sum(nbytes[:3])
    assert [line.what for line in arena] == [
        "belief 10x3 uint8",
        "time 4 float64",
        "action 5 int16",
        "spare for changes at run time",
    ]
    assert len(plan(5000, FIXED, REGIONS, spare=0).lines) == len(found.lines) - 1


def test_what_does_not_fit_is_refused_with_the_bytes_that_are_missing() -> None:
    total = plan(0, FIXED, REGIONS, 0).total
    fits, larger = plan(total, FIXED, REGIONS, 0), plan(total - 1, FIXED, REGIONS, 0)
    assert fits.missing == 0
    fits.check("profile")
    assert larger.missing == 1
    with pytest.raises(
        BudgetError, match=f"profile: the plan takes {total} bytes.*: 1 bytes are missing"
    ) as e:
        larger.check("profile")
    assert e.value.missing == 1
