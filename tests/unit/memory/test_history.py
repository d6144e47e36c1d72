"""A history returns the newest records exactly as they were written, and stays within its bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import PlatformError
from edge_agent.memory.arena import Arena, total
from edge_agent.memory.history import History, columns

steps = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=25, unique=True), st.integers(0, 2**31)), max_size=40
)


def make(nbytes: int, modalities: int, controls: int) -> History:
    wanted = columns(nbytes, modalities, controls)
    arena = Arena(total(wanted))
    return History(arena.allocate("history", wanted) if wanted else {}, modalities, controls)


@given(st.integers(1, 3), st.integers(1, 2), steps, st.integers(3000, 9000))
def test_what_comes_out_is_the_newest_of_what_went_in(
    modalities: int, controls: int, written: list[tuple[list[int], int]], nbytes: int
) -> None:
    history = make(nbytes, modalities, controls)
    rows: list[tuple[int, int, int, list[int], list[int], float]] = []
    rng = np.random.default_rng(7)
    for tick, (agents, time) in enumerate(written):
        n = len(agents)
        observations = rng.integers(-1, 300, (n, modalities)).astype(np.int16)
        actions = rng.integers(0, 5, (n, controls)).astype(np.int16)
        energy = rng.normal(size=n).astype(np.float16).astype(np.float32)
        history.append(np.array(agents, np.intp), tick, time, observations, actions, energy)
        rows += [
            (a, tick, time, observations[i].tolist(), actions[i].tolist(), float(energy[i]))
            for i, a in enumerate(agents)
        ]
    found = history.select()
    got = list(
        zip(
            found["agent"].tolist(),
            found["tick"].tolist(),
            found["time"].tolist(),
            found["observation"].tolist(),
            found["action"].tolist(),
            found["free_energy"].astype(float).tolist(),
            strict=True,
        )
    )
    assert got == rows[len(rows) - len(got) :]
    assert len(got) == history.held
    one = history.select(agent=3, last=2)
    assert one["tick"].tolist() == [row[1] for row in got if row[0] == 3][-2:]


def test_a_steady_population_is_remembered_longer_than_plain_columns_would() -> None:
    nbytes, agents = 64 * 1024, 100
    history = make(nbytes, 1, 1)
    everyone = np.arange(agents)
    for tick in range(2000):
        observations = ((everyone[:, None] + tick // 40) % 9).astype(np.int16)
        actions = (observations > 4).astype(np.int16)
        history.append(everyone, tick, tick * 1000, observations, actions, np.full(agents, 1.5, np.float32))
    assert history.held > 4 * nbytes // 26
    assert total(columns(nbytes, 1, 1)) <= nbytes + 64 * 8


def test_no_budget_keeps_nothing_and_asks_for_nothing() -> None:
    history = make(100, 1, 1)
    history.append(
        np.array([0]), 1, 1, np.zeros((1, 1), np.int16), np.zeros((1, 1), np.int16), np.zeros(1, np.float32)
    )
    assert history.held == 0
    assert columns(100, 1, 1) == ()
    assert len(history.select()["tick"]) == 0


@pytest.mark.parametrize("noise", [True, False])  # kept as it is, or packed
def test_a_block_that_memory_damaged_is_an_error_and_no_records(noise: bool) -> None:
    wanted = columns(4000, 1, 1)
    arrays = Arena(total(wanted)).allocate("history", wanted)
    history = History(arrays, 1, 1)
    rng = np.random.default_rng(3)
    while history.held < len(arrays["agent"]):
        agents = np.sort(rng.integers(0, 2**31, 4)) if noise else np.arange(4)
        values = rng.integers(-(2**15), 2**15, (4, 1)) if noise else np.zeros((4, 1))
        codes = values.astype(np.int16)
        history.append(
            agents, 1, int(rng.integers(2**40)) if noise else 7, codes, codes, np.zeros(4, np.float32)
        )
    start, size = arrays["places"][0].tolist()
    for at, value in ((0, 9), (1, 255), (size // 2, None)):
        if value is None and arrays["closed"][start] == 0:
            continue  # a block that was kept as it is holds any bytes
        before = arrays["closed"][start + at]
        arrays["closed"][start + at] = before ^ 255 if value is None else value
        with pytest.raises(PlatformError, match="history: a closed block is damaged"):
            history.select()
        arrays["closed"][start + at] = before
    assert len(history.select()["tick"]) == history.held
