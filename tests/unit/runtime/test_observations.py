"""Columns of observations behave like a plain dictionary of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.records import ObserveConfig, PopulationConfig
from edge_agent.engine.binding import NOT_OBSERVED, Binding
from edge_agent.runtime.population.observations import Observations

SIZE, BINS = 2, (2, 2)
STALE_S = (30.0, 5.0)
ROWS = st.lists(st.tuples(*(st.integers(-1, bins - 1) for bins in BINS)), min_size=SIZE, max_size=SIZE)
SAID = st.one_of(
    st.tuples(st.just("set"), st.integers(0, SIZE - 1), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("all"), ROWS),
)
ROUND = st.tuples(st.lists(SAID, max_size=2), st.sampled_from([1.0, 5.0, 30.0]), st.booleans())


def make(step: Any = "arrival", unchanged: bool = True) -> Observations:
    observe = tuple(
        ObserveConfig(
            modality=str(m), topic="z", stale_s=stale, silence="unchanged" if unchanged or m == 0 else None
        )
        for m, stale in enumerate(STALE_S)
    )
    config = PopulationConfig(name="rooms", bundle="b", size=SIZE, step=step, observe=observe)
    columns = Observations.columns(config, SIZE, len(BINS), np.int16)
    arrays = {column.name: np.zeros(column.shape, column.dtype) for column in columns}
    return Observations(config, Binding({}, BINS, (2,), "b"), arrays)


class Plain:
    """What agents observe, one by one."""

    def __init__(self, on_change: bool, unchanged: bool) -> None:
        self.on_change, self.unchanged = on_change, unchanged
        self.counted: set[tuple[int, int]] = set()
        self.seen: dict[tuple[int, int], tuple[int, float]] = {}
        self.fresh: set[int] = set()

    def set(self, agent: int, modality: int, code: int, now: float) -> None:
        before = self.seen.get((agent, modality), (NOT_OBSERVED, 0.0))[0]
        if not self.on_change or before != code:
            self.fresh.add(agent)
        self.seen[agent, modality] = (code, now)
        self.counted.discard((agent, modality))

    def collect(self, agents: list[int], now: float) -> tuple[list[list[int]], list[bool]]:
        rows, silent = [], []
        for agent in agents:
            found = [self.seen.get((agent, m), (NOT_OBSERVED, -1e9)) for m in range(len(BINS))]
            late = [arrived < now - stale for (_, arrived), stale in zip(found, STALE_S, strict=True)]
            row = []
            for m, ((code, _), old) in enumerate(zip(found, late, strict=True)):
                repeated = not old and (self.unchanged or m == 0)
                row.append(code if (agent, m) not in self.counted or repeated else NOT_OBSERVED)
                self.counted.add((agent, m))
            rows.append(row)
            silent.append(all(late))
        return rows, silent


@settings(max_examples=100)
@given(
    step=st.sampled_from(["arrival", "change"]),
    unchanged=st.booleans(),
    rounds=st.lists(ROUND, min_size=2, max_size=6),
)
def test_a_step_takes_what_was_said_since_the_last_one_and_what_stands(
    step: str, unchanged: bool, rounds: list[tuple[list[tuple[Any, ...]], float, bool]]
) -> None:
    table, plain, now = make(step, unchanged), Plain(step == "change", unchanged), 100.0
    for said, pause, subset in rounds:
        for kind, *rest in said:
            if kind == "set":
                agent, modality, code = rest
                table.set(agent, modality, code, now)
                plain.set(agent, modality, code, now)
            else:
                (rows,) = rest
                known = [(a, m, c) for a, row in enumerate(rows) for m, c in enumerate(row) if c >= 0]
                assert table.set_all(np.array(rows, np.int16), now) == len(known)
                for agent, modality, code in known:
                    plain.set(agent, modality, code, now)
        now += pause
        assert table.fresh().tolist() == sorted(plain.fresh)
        assert table.any_fresh == bool(plain.fresh)
        agents = table.fresh() if subset else np.arange(SIZE)
        observed, silent = table.collect(agents if subset else None, now)
        assert (observed.tolist(), silent.tolist()) == plain.collect(agents.tolist(), now)
        table.close(agents if subset else None, now)
        heard = [max(plain.seen[a, m][1] for m in range(2) if (a, m) in plain.seen) for a in plain.fresh]
        assert sorted(table.answered(agents).tolist()) == sorted(heard)
        assert not table.any_fresh
        plain.fresh.clear()


def test_without_observe_entries_only_a_bulk_population_falls_silent() -> None:
    for bulk, silent in ((True, [0, 1]), (False, [])):
        config = PopulationConfig(name="rooms", bundle="b", size=SIZE, bulk=bulk)
        columns = Observations.columns(config, SIZE, len(BINS), np.int16)
        arrays = {column.name: np.zeros(column.shape, column.dtype) for column in columns}
        assert Observations(config, Binding({}, BINS, (2,), "b"), arrays).silent(0.0).tolist() == silent
