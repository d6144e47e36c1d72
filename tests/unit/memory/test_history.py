"""A history returns the newest records exactly as they were written, and stays within its bytes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from edge_agent.errors import PlatformError
from edge_agent.memory.arena import ALIGNMENT, Arena, total
from edge_agent.memory.history import (
    MIN_OPEN_RECORDS,
    OPEN_SHARE,
    History,
    columns,
    fields,
    record_bytes,
)

steps = st.lists(
    st.tuples(st.lists(st.integers(0, 30), max_size=25, unique=True), st.integers(0, 2**31)), max_size=40
)


def make(nbytes: int, modalities: int, controls: int, observed: DTypeLike = np.int16) -> History:
    wanted = columns(nbytes, modalities, controls, observed)
    arena = Arena(total(wanted))
    return History(arena.allocate("history", wanted) if wanted else {}, modalities, controls, observed)


@settings(max_examples=50)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from([np.int16, np.float32]),
    steps,
    st.integers(2000, 9000),
)
def test_what_comes_out_is_the_newest_of_what_went_in(
    modalities: int,
    controls: int,
    observed: DTypeLike,
    written: list[tuple[list[int], int]],
    nbytes: int,
) -> None:
    history = make(nbytes, modalities, controls, observed)
    rows: list[tuple[int, int, int, list[float], list[int], float]] = []
    rng = np.random.default_rng(7)
    for tick, (agents, time) in enumerate(written * 6):  # blocks close, and fall out
        n = len(agents)
        observations = rng.integers(-1, 300, (n, modalities)).astype(observed)
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
    assert len(history.select(last=len(got))["tick"]) == len(got)
    one = history.select(agent=3, last=2)
    assert one["tick"].tolist() == [row[1] for row in got if row[0] == 3][-2:]


@given(st.integers(1, 40), st.integers(1, 5), st.sampled_from([np.int16, np.float32]), st.integers(0, 60_000))
def test_columns_are_as_large_as_the_budget_and_hold_a_block_that_does_not_pack(
    modalities: int, controls: int, observed: DTypeLike, nbytes: int
) -> None:
    record = record_bytes(modalities, controls, observed)
    least = OPEN_SHARE * MIN_OPEN_RECORDS * record
    assert columns(least - 1, modalities, controls, observed) == ()
    wanted = columns(least + nbytes, modalities, controls, observed)
    assert total(wanted) - (least + nbytes) in range(ALIGNMENT)
    *block, places, closed = wanted
    plain = sum(math.prod(column.shape) * np.dtype(column.dtype).itemsize for column in block)
    assert plain == block[0].shape[0] * record
    assert plain < closed.nbytes
    assert places.shape[0] >= 16


def test_free_energy_beyond_what_is_kept_stays_finite() -> None:
    history = make(4000, 1, 1)
    energy = np.array([-np.inf, -1e6, 2.5, 1e6, np.inf], np.float32)
    nothing = np.zeros((5, 1), np.int16)
    history.append(np.arange(5), 0, 0, nothing, nothing, energy)
    assert history.select()["free_energy"].tolist() == [-65504.0, -65504.0, 2.5, 65504.0, 65504.0]


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
        agents, tick, time = rng.integers(0, [2**31, 2**62, 2**62]) if noise else (0, 1, 7)
        values = rng.integers(-(2**15), 2**15, 3) if noise else np.zeros(3)
        seen, done = values[:2].astype(np.int16).reshape(2, 1, 1)
        history.append(np.array([agents]), int(tick), int(time), seen, done, values[2:].astype(np.float32))
    start, size = arrays["places"][0].tolist()
    assert arrays["closed"][start] == (0 if noise else 1)
    for at, value in ((0, 9), (1, 255), (size // 2, None)):
        if value is None and arrays["closed"][start] == 0:
            continue  # a block that was kept as it is holds any bytes
        before = arrays["closed"][start + at]
        arrays["closed"][start + at] = before ^ 255 if value is None else value
        with pytest.raises(PlatformError, match=r"^history: a closed block is damaged"):
            history.select()
        arrays["closed"][start + at] = before
    assert len(history.select()["tick"]) == history.held


@pytest.mark.parametrize("nbytes", [0, 4000])
def test_columns_have_their_types_whether_or_not_there_are_records(nbytes: int) -> None:
    history = make(nbytes, 2, 1)
    for tick in range(60 if nbytes else 0):
        history.append(
            np.arange(3),
            tick,
            tick,
            np.zeros((3, 2), np.int16),
            np.zeros((3, 1), np.int16),
            np.zeros(3, np.float32),
        )
    assert history.held == 0 or len(history._closed) > 1
    for name, (shape, dtype) in fields(2, 1).items():
        column = history.select()[name]
        assert (column.dtype, column.shape[1:]) == (np.dtype(dtype), shape)
