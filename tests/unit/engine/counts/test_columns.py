"""Learned tensors over a base: what is left of a column, the room that was planned, and what the kernel makes
of them, against the float64 reference.
"""

import numpy as np
import pytest

from edge_agent.engine import isa, reference
from edge_agent.engine.counts import columns, selection
from edge_agent.engine.counts.columns import room, stored
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.recode import recoded
from edge_agent.engine.logarithm import ln
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.memory.arena import apart

STATES = 40


def line(rng: np.random.Generator, states: int = STATES) -> tuple[np.ndarray, np.ndarray]:
    """A walk on a line that a sensor sees with few errors: A and B are stored by their entries."""
    A = np.full((states, states), 0.05 / (states - 1))
    np.fill_diagonal(A, 0.95)
    B = np.zeros((states, states, 3))
    for u, by in enumerate((-1, 0, 1)):
        for s in range(states):
            B[np.clip(s + by, 0, states - 1), s, u] += 0.9
            B[s, s, u] += 0.1
    return A, B


def after_counts(rng: np.random.Generator, tensor: np.ndarray, visits: float) -> np.ndarray:
    """Concentrations of ``tensor`` times 10, a little everywhere, and counts of ``visits`` to a column."""
    return 10 * tensor + 0.01 + rng.poisson(visits * tensor)


def learned_line(seed: int = 0, **options) -> Model:
    rng = np.random.default_rng(seed)
    A, B = line(rng)
    C = rng.normal(size=STATES)
    model = Model.from_arrays([A], [B], [C], options=AgentOptions(**options))
    pA, pB = after_counts(rng, A, 20), after_counts(rng, B, 20)
    new = recoded(model, Concentrations.of(model, [pA], [pB]), 1000)
    assert len(new.A[0].base) == 1
    assert len(new.B[0].base) == 3
    return new


def learned_rooms(seed: int = 0, **options) -> Model:
    """Two factors that a modality couples, each seen by a modality of its own."""
    rng = np.random.default_rng(seed)
    A, B = line(rng, 20)
    joint = np.full((3, 20, 2), 0.02)
    joint[0, :, 0] = joint[1, :, 1] = 0.96
    joint[:, 5] = [[0.02] * 2, [0.02] * 2, [0.96] * 2]
    other = np.stack([[0.9, 0.1], [0.1, 0.9]])
    B2 = np.array([[[0.98], [0.02]], [[0.02], [0.98]]])
    tensors = [A, joint, other], [B, B2]
    C = [rng.normal(size=len(a)) for a in tensors[0]]
    model = Model.from_arrays(
        *tensors, C, A_deps=[[0], [0, 1], [1]], B_deps=[[0], [1]], options=AgentOptions(**options)
    )
    pA, pB = ([after_counts(rng, t, 4) for t in kind] for kind in tensors)
    new = recoded(model, Concentrations.of(model, pA, pB), 1000)
    assert len(new.A[0].base) == 1
    assert len(new.A[1].base) == 1
    assert len(new.B[0].base) == 3
    return new


def agrees(model: Model, ticks: int = 6, agents: int = 70, soft: bool = False) -> None:
    """Step a population, each tick from its own beliefs, beside the reference."""
    rng = np.random.default_rng(1)
    arrays, population = model.arrays(), Population(model, agents)
    factors = range(len(model.num_states))
    for _ in range(ticks):
        table = np.stack([rng.integers(-1, o, agents) for o in model.num_obs], axis=1)
        spread = rng.dirichlet(np.full(model.num_obs[0], 0.2), agents).astype(np.float32)
        spread[::2] = 0.0
        before = [population.beliefs(f).astype(float) for f in factors]
        executed = population.state[1].transpose(0, 2, 1).reshape(-1, len(factors))[:agents].astype(int)
        chosen = population.step_with(table, soft={0: spread}) if soft else population.step(table)
        energy = population.expected_free_energy
        for n in range(agents):
            prior = [b[n] for b in before]
            if executed[n, 0] < 254:
                prior = reference.predict(arrays, prior, executed[n])
            seen = list(table[n])
            if soft and spread[n].any():
                seen[0] = spread[n].astype(float)
            decision = reference.step(arrays, [p / p.sum() for p in prior], seen)
            for f in factors:
                assert population.beliefs(f)[n] == pytest.approx(decision.qs[f], abs=5e-3)
            assert population.free_energy[n] == pytest.approx(decision.F, abs=2e-2)
            found = reference.expected_free_energy(
                arrays, [population.beliefs(f)[n].astype(float) for f in factors]
            )
            assert energy[n] == pytest.approx(found, abs=5e-3)
        population.act(np.stack([rng.integers(0, u, agents) for u in model.num_controls], axis=1))
        assert chosen.shape == (agents, len(factors))


@pytest.mark.parametrize("soft", [False, True])
def test_one_factor_over_a_base_is_the_references(soft: bool) -> None:
    agrees(learned_line(), soft=soft)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("algorithm", ["fpi", "exact"])
def test_several_factors_over_a_base_are_the_references(algorithm: str, soft: bool) -> None:
    agrees(learned_rooms(inference_algo=algorithm), soft=soft)


@pytest.mark.parametrize("agents", [1, 3, 16, 70])
def test_the_same_bits_from_instruction_sets_and_sizes(monkeypatch, agents: int) -> None:
    model = learned_line(3)
    table = np.random.default_rng(0).integers(-1, STATES, (5, agents, 1))
    found = set()
    for name in (i.name for i in isa.available()):
        monkeypatch.setenv(isa.VARIABLE, name)
        population = Population(model, agents)
        acts = [population.step(one).tobytes() for one in table]
        found.add((population.codes().tobytes(), *acts))
    assert len(found) == 1


def test_an_outcome_that_is_nearly_certain_keeps_its_entropy() -> None:
    """Predictions that sum to more than 1 would give rare outcomes less than 0 over a common value of 1."""
    rng = np.random.default_rng(1)
    A = rng.uniform(1e-6, 5e-5, (3, STATES))
    A[0] = 1.0
    A[:, ::9] = rng.dirichlet(np.ones(3), A[:, ::9].shape[1]).T
    own = [A / A.sum(axis=0), np.eye(STATES)]
    B = [np.moveaxis(rng.dirichlet(np.full(STATES, 0.02), (STATES, 3)), -1, 0)]
    model = Model.from_arrays(own, B, A_deps=[[0], [0]])
    counts = [[500 * t + 1e-6 for t in tensors] for tensors in (own, B)]
    new = recoded(model, Concentrations.of(model, *counts), 1000)
    population = Population(new, 1)
    for state in range(STATES):
        population.set_beliefs(0, np.eye(STATES)[[state]])
        belief = [population.beliefs(0)[0].astype(float)]
        wanted = reference.expected_free_energy(new.arrays(), belief)
        assert population.expected_free_energy[0] == pytest.approx(wanted, abs=2e-3)


def listed(
    block: np.ndarray, room: int, tolerance: float, noise: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """The least listed value of each column, and whether all are within the tolerance."""
    ranks, ascending = selection.ranked(block, noise)
    rank, within = selection.cutoff([ranks], room, tolerance)
    return selection.thresholds(ranks, ascending, rank), within


def kept(block: np.ndarray, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns that are left with entries of ``least`` and more, and their divergence."""
    marks = block >= least
    rest = np.where(marks, 0, block).sum(axis=0) / np.maximum((~marks).sum(axis=0), 1)
    out = np.where(marks, block, rest)
    terms = block * np.log(np.maximum(block, 1e-300) / np.maximum(out, 1e-300))
    return out, terms.sum(axis=0)


@pytest.mark.parametrize("concentration", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("tolerance", [1e-7, 1e-4, 1e-2])
def test_columns_keep_their_sum_and_their_divergence(concentration: float, tolerance: float) -> None:
    block = np.random.default_rng(2).dirichlet(np.full(60, concentration), 50).T
    least, within = listed(block, block.size, tolerance)
    assert within
    out, divergence = kept(block, least)
    assert out.sum(axis=0) == pytest.approx(np.ones(50))
    assert divergence.max() <= tolerance * (1 + 1e-9)
    assert 0 < (block >= least).sum() < block.size


def test_the_room_is_given_to_the_columns_that_need_it_most() -> None:
    """Of two kinds of columns, one even but for an entry, the spread ones are listed further."""
    rng = np.random.default_rng(3)
    block = np.full((60, 40), 0.001)
    block[5] = 1 - 59 * 0.001
    block[:, 20:] = rng.dirichlet(np.full(60, 0.1), 20).T
    counts, worst = [], []
    for places in (40, 100, 200, 400):
        least, within = listed(block, places, 1e-9)
        marks = block >= least
        assert not within
        assert 0.7 * places <= marks.sum() <= places
        counts.append(marks.sum(axis=0))
        worst.append(kept(block, least)[1].max())
    assert (counts[-1][:20] == 1).all()
    assert counts[-1][20:].min() > 5
    assert worst == sorted(worst, reverse=True)


def test_equal_entries_are_listed_together_or_not_at_all() -> None:
    block = np.full((10, 8), 0.01)
    block[2:4] = 0.46
    for places, wanted in ((15, 0), (16, 16)):
        assert (block >= listed(block, places, 1e-3)[0]).sum() == wanted


def test_the_noise_of_few_counts_is_not_listed_and_what_stands_out_is() -> None:
    """Truth: 0.8 on one entry, 0.1 on another, the rest even; ``seen`` draws a column."""
    rng = np.random.default_rng(4)
    truth = np.full((100, 50), 0.1 / 98)
    truth[7], truth[30] = 0.8, 0.1
    for seen in (500, 5_000, 50_000):
        counts = rng.multinomial(seen, truth.T).T.astype(float)
        block = counts / seen
        marks = block >= listed(block, block.size, 1e-5, np.full(50, 1 / seen))[0]
        assert marks[[7, 30]].all()
        assert marks.sum() <= 103
        assert (block >= listed(block, block.size, 1e-5)[0]).sum() > 1000


def test_a_tensor_keeps_to_its_room_whatever_was_counted() -> None:
    rng = np.random.default_rng(3)
    A, B = line(rng)
    model = Model.from_arrays([A], [B])
    for agents in (1, 1000):
        place = room("B_0", model.B[0], 3, agents)
        flat = np.moveaxis(rng.dirichlet(np.full(STATES, 0.5), (STATES, 3)), -1, 0)
        blocks = [(np.ascontiguousarray(flat[..., u]), None) for u in range(3)]
        numbers = np.arange(place.numbered, dtype=np.uint16)
        tensor = stored(place, apart(place.columns), numbers, lambda own=blocks: iter(own))
        assert len(tensor.codes) <= place.listed
        found = tensor.matrix().reshape(3, STATES, STATES)
        assert found.sum(axis=1) == pytest.approx(np.ones((3, STATES)), abs=1e-5)
        assert (found >= 0).all()
    assert place.listed == 3 * len(model.B[0].codes)


def test_a_search_over_a_base_is_the_references() -> None:
    model = learned_line(
        sophisticated=True, si_horizon=2, gamma=2.0, si_entropy_stop_threshold=0.0, si_max_nodes=2000
    )
    agrees(model, ticks=3, agents=9)


def test_a_delivered_model_stays_as_it_was_stored() -> None:
    A, B = line(np.random.default_rng(0))
    model = Model.from_arrays([A], [B])
    assert not len(model.A[0].base)
    assert not len(model.B[0].base)
    assert model.A[0].sparse


def test_logarithms_are_those_of_mathematics() -> None:
    rng = np.random.default_rng(5)
    near = 1 + rng.normal(size=1000) * 1e-6
    x = np.concatenate([10.0 ** rng.uniform(-300, 300, 10_000), near, [1.0, 0.5, 2.0]])
    assert ln(x) == pytest.approx(np.log(x), rel=1e-15, abs=3e-16)
    assert ln(np.array([1.0]))[0] == 0.0


def test_small_tensors_that_were_delivered_dense_are_float32() -> None:
    rng = np.random.default_rng(6)
    A = rng.dirichlet(np.ones(4), 5).T
    B = np.moveaxis(rng.dirichlet(np.ones(5), (5, 2)), -1, 0)
    model = Model.from_arrays([A], [B])
    p = 7 * A + 0.3
    new = recoded(model, Concentrations.of(model, [p]))
    assert (new.A[0].matrix() == (p / p.sum(axis=0)).astype(np.float32)).all()
    assert A.size <= columns.SMALL
