"""Agents that learn each by itself: each is a population of one with a learner, bit for bit."""

import numpy as np
import pytest

from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.counts.own_models import STRIDE, OwnModels
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError, ObservationError
from edge_agent.memory.arena import Arena, total
from tests.unit.engine.counts.conftest import learned_model, readings

AGENTS, EVERY, TICKS = 5, 4, 14


def made(learned, every: int = EVERY, **more) -> OwnModels:
    return OwnModels(learned.model, AGENTS, learned.concentrations, every, seed=3, **more)


def actions(rng: np.random.Generator, model, count: int) -> np.ndarray:
    return np.stack([rng.integers(-1, u, count) for u in model.num_controls], axis=1)


def run(population, first: int, last: int) -> bytes:
    """Let ticks of a fixed world pass; return all actions."""
    rng = np.random.default_rng(0)
    out = b""
    for tick, table in enumerate(readings(np.random.default_rng(1), AGENTS, 40)[:last]):
        acts = actions(rng, population.model, AGENTS)
        if tick >= first:
            out += population.step(table).tobytes()
            population.act(acts)
    return out


def test_each_agent_is_a_population_of_one_that_learns(learned) -> None:
    whole = made(learned)
    ones = [Population(learned.model, 1, seed=(3 + n * STRIDE) % 2**64, changing=True) for n in range(AGENTS)]
    learners = [Learner(one, learned.concentrations, every=EVERY) for one in ones]
    rng = np.random.default_rng(0)
    soft = np.tile(np.array([0.2, 0.5, 0.3], np.float32), (2, 1))
    for tick, table in enumerate(readings(rng, AGENTS, TICKS)):
        agents = np.array([4, 1]) if tick % 3 == 2 else None
        rows = [4, 1] if agents is not None else range(AGENTS)
        given = {1: soft} if tick == 5 else None
        found = whole.step_with(table[list(rows)], agents, soft=given)
        alone = [ones[n].step_with(table[n : n + 1], soft=given and {1: soft[:1]}) for n in rows]
        assert (found == np.concatenate(alone)).all()
        acts = actions(rng, learned.model, AGENTS)
        whole.act(acts)
        for n in range(AGENTS):
            ones[n].act(acts[n : n + 1])
    for f in range(len(learned.model.B)):
        assert (whole.beliefs(f) == np.concatenate([one.beliefs(f) for one in ones])).all()
    assert (whole.free_energy == np.concatenate([one.free_energy for one in ones])).all()
    assert (whole.evaluate([2])[0] == ones[2].evaluate()[0]).all()
    assert whole.figures()["swaps"] == sum(learner.swaps for learner in learners) > AGENTS
    assert len({learner.population.model.A[0].palette.tobytes() for learner in whole.learners}) == AGENTS


def test_together_they_count_what_a_population_that_shares_its_counts_does(learned) -> None:
    """Until new codes are made all infer with the same ones."""
    whole = made(learned, every=1000)
    shared = Population(learned.model, AGENTS, changing=True)
    learner = Learner(shared, learned.concentrations, every=1000)
    assert run(whole, 0, 30) == run(shared, 0, 30)
    assert whole.increments().encoded() == learner.increments().encoded()


def test_a_checkpoint_goes_on_bit_for_bit_and_a_damaged_one_changes_nothing(learned) -> None:
    whole, copy = made(learned), made(learned)
    run(whole, 0, 9)
    data = whole.checkpoint()
    before = copy.checkpoint()
    for broken in (b"", data[:60], data[:-1], data[:-9] + b"x" + data[-8:], before.partition(b"\n")[2]):
        with pytest.raises(ConfigError, match="checkpoint: "):
            copy.restore(broken)
    with pytest.raises(ConfigError, match="not one of 2 agents"):
        OwnModels(learned.model, 2, learned.concentrations, EVERY).restore(data)
    assert copy.checkpoint() == before
    copy.restore(data)
    assert run(copy, 9, 25) == run(whole, 9, 25)
    assert copy.checkpoint() == whole.checkpoint()


def test_within_a_tick_it_decides_and_leaves_no_trace(learned) -> None:
    whole, plain = made(learned, redecides=True), made(learned)
    for table in readings(np.random.default_rng(2), AGENTS, 9):
        first = whole.decide(table[[2, 0]], np.array([2, 0]))
        found = whole.step(table)
        assert (first == found[[2, 0]]).all()
        assert (found == plain.step(table)).all()
    assert whole.increments().encoded() == plain.increments().encoded()


def test_all_arrays_are_those_of_the_plan_and_scratch_is_there_once(learned) -> None:
    columns = OwnModels.all_columns(learned.model, AGENTS, learned.concentrations, EVERY)
    arena = Arena(total(columns))
    whole = made(learned, allocate=lambda wanted: arena.allocate("own", wanted))
    run(whole, 0, TICKS)
    assert arena.used == whole.nbytes == total(columns)
    shapes = {column.name: column.shape for column in columns}
    assert shapes["counts"][0] == AGENTS
    assert shapes["scratch"][0] == 1


def test_an_outcome_out_of_range_steps_nobody(learned) -> None:
    whole = made(learned)
    before = whole.checkpoint()
    table = np.zeros((AGENTS, 3), int)
    table[3, 1] = 3
    with pytest.raises(ObservationError, match="agent 3, modality 1: outcome 3, expected -1 to 2"):
        whole.step(table)
    assert whole.checkpoint() == before


def test_evidence_from_outside_is_refused(learned) -> None:
    with pytest.raises(ConfigError, match="evidence from outside"):
        made(learned).step_with(np.zeros((AGENTS, 3), int), evidence={0: np.ones((AGENTS, 4), np.uint8)})


def test_agents_that_draw_their_actions_draw_apart() -> None:
    learned = learned_model(4)
    whole = OwnModels(learned.model, 30, learned.concentrations, 100, seed=1)
    for one in whole.agents:
        assert one.seed != whole.agents[0].seed or one is whole.agents[0]
