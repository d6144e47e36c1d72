"""New codes while a population runs: when, which, their memory, checkpoints, and the guard."""

import numpy as np
import pytest

from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.counts.recode import recoded
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Arena, total
from tests.unit.engine.conftest import golden
from tests.unit.engine.counts.conftest import learned_model, readings
from tests.unit.engine.counts.test_columns import after_counts, line
from tests.unit.engine.test_integers import dense

AGENTS, EVERY = 20, 6


def learner_of(learned, agents: int = AGENTS, every: int = EVERY, **options) -> Learner:
    population = Population(learned.model, agents, changing=True, **options)
    return Learner(population, learned.concentrations, every=every)


def run(learner: Learner, first: int, last: int, seed: int = 0) -> bytes:
    """Let ticks ``first`` to ``last`` of a fixed world pass; return all actions."""
    rng = np.random.default_rng(seed)
    population, out = learner.population, b""
    for tick, table in enumerate(readings(rng, population.size, last)):
        acts = np.stack([rng.integers(-1, u, population.size) for u in population.model.num_controls], axis=1)
        if tick >= first:
            out += population.step(table).tobytes()
            population.act(acts)
    return out


def sparse_learner(agents: int = 100, every: int = EVERY) -> Learner:
    """A learner whose tensors are stored over a base."""
    rng = np.random.default_rng(0)
    A, B = line(rng)
    model = Model.from_arrays([A], [B], [rng.normal(size=len(A))])
    given = Concentrations.of(model, [after_counts(rng, A, 20)], [after_counts(rng, B, 20)])
    return Learner(Population(model, agents, changing=True), given, every=every)


def walk(learner: Learner, first: int, last: int) -> bytes:
    """The same for ``sparse_learner``, whose agents see where they are."""
    rng = np.random.default_rng(1)
    population, out = learner.population, b""
    for tick, table in enumerate(rng.integers(0, 40, (last, population.size, 1))):
        acts = rng.integers(0, 3, (population.size, 1))
        if tick >= first:
            out += population.step(table).tobytes()
            population.act(acts)
    return out


def test_codes_change_every_so_many_ticks_to_what_was_counted(learned) -> None:
    learner = learner_of(learned)
    run(learner, 0, EVERY - 1)
    assert learner.population.model is learned.model
    run(learner, EVERY - 1, EVERY)
    wanted = recoded(learned.model, learned.concentrations.after(learner.increments()), AGENTS)
    found = learner.population.model
    assert all((a.matrix() == b.matrix()).all() for a, b in zip(found.tensors, wanted.tensors, strict=True))
    assert all((a == b).all() for a, b in zip(found.D, wanted.D, strict=True))
    assert all((a == b).all() for a, b in zip(found.folds.utility, wanted.folds.utility, strict=True))
    assert learner.swaps == 1


@pytest.mark.parametrize("over_base", [False, True])
@pytest.mark.parametrize("ticks", [3, EVERY, EVERY + 2, 2 * EVERY + 3])
def test_a_checkpoint_goes_on_bit_for_bit(learned, ticks: int, over_base: bool) -> None:
    make, pass_ticks = (sparse_learner, walk) if over_base else (lambda: learner_of(learned), run)
    whole, copy = make(), make()
    pass_ticks(whole, 0, ticks)
    data = whole.population.checkpoint()
    copy.population.restore(data)
    assert copy.population.checkpoint() == data
    later = pass_ticks(whole, ticks, ticks + 3 * EVERY)
    assert pass_ticks(copy, ticks, ticks + 3 * EVERY) == later
    assert copy.population.checkpoint() == whole.population.checkpoint()
    assert (whole.swaps, whole.updates) == (copy.swaps, copy.updates)


@pytest.mark.parametrize("size", [1, 100, -1, -30])
def test_a_damaged_checkpoint_changes_nothing(learned, size: int) -> None:
    learner, other = learner_of(learned), learner_of(learned)
    run(learner, 0, EVERY + 2)
    data = learner.population.checkpoint()
    run(other, 0, 2)
    before = other.population.checkpoint()
    for broken in (data[:size], data[:-40] + b"x" + data[-39:], data.replace(b'"ticks"', b'"tocks"')):
        with pytest.raises(ConfigError, match="checkpoint: "):
            other.population.restore(broken)
    assert other.population.checkpoint() == before


def test_a_checkpoint_of_another_model_or_without_learning_is_refused(learned) -> None:
    learner, other = learner_of(learned), learner_of(learned_model(8))
    run(other, 0, EVERY)
    with pytest.raises(ConfigError, match="checkpoint: of 20 agents of model"):
        learner.population.restore(other.population.checkpoint())
    with pytest.raises(ConfigError, match="not one of a population that learns"):
        learner.population.restore(Population(learned.model, AGENTS).checkpoint())
    with pytest.raises(ConfigError, match="checkpoint: "):
        Population(learned.model, AGENTS).restore(other.population.checkpoint())


def test_all_memory_is_that_of_the_plan(learned) -> None:
    sparse = sparse_learner()
    for model, given, agents in (
        (learned.model, learned.concentrations, AGENTS),
        (sparse.delivered, sparse._recoder.concentrations, 100),
    ):
        own = Population.columns(model, agents, changing=True)
        beside = Learner.columns(model, agents, given, every=EVERY)
        arena = Arena(total(own) + total(beside))
        population = Population(
            model, agents, changing=True, allocate=lambda c, a=arena: a.allocate("own", c)
        )
        learner = Learner(
            population, given, every=EVERY, allocate=lambda c, a=arena: a.allocate("learned", c)
        )
        (run if given is learned.concentrations else walk)(learner, 0, 2 * EVERY)
        assert learner.swaps == 2
        assert arena.used == total(own) + total(beside) == population.nbytes + learner.nbytes
        start, end = (np.frombuffer(arena._map, np.uint8).ctypes.data + n for n in (0, arena.nbytes))
        for tensor in (*population.model.A, *population.model.B):
            for part in (tensor.palette, tensor.codes):
                assert start <= part.ctypes.data < end


def test_what_explains_less_than_the_delivered_model_is_dropped(learned) -> None:
    """The agents see what the delivered model expects, and counts of another world are there."""
    learner = sparse_learner(every=4)
    rng = np.random.default_rng(3)
    population = learner.population
    wrong = rng.integers(0, 1 << 20, learner._units.shape)
    for tick in range(12):
        if tick == 3:  # what a poisoner, or a fault, could leave
            learner._units[:] = wrong
        population.step(np.full((100, 1), tick % 40))
        population.act(np.full((100, 1), 2))
    assert (learner.falls, learner.fallen) == (1, True)
    assert population.model is learner.delivered
    swaps, updates = learner.swaps, learner.updates
    walk(learner, 0, 10)
    assert learner.swaps == swaps
    assert learner.updates > updates
    learner.reset()
    assert not learner.fallen
    walk(learner, 0, 4)
    assert (learner.swaps, learner.falls) == (1, 1)


def test_what_explains_more_is_kept() -> None:
    """The floor is slippery: agents stay where they are, which the delivered model does not expect."""
    learner = sparse_learner(every=10)
    rng = np.random.default_rng(4)
    place = rng.integers(0, 40, (100, 1))
    for _ in range(60):
        learner.population.step(place)
        learner.population.act(np.full((100, 1), 2))
    assert (learner.falls, learner.swaps) == (0, 6)
    guard = learner._guard
    learner.population.step(place)
    assert guard.learned < guard.delivered


def test_reset_forgets_all(learned) -> None:
    learner = learner_of(learned)
    run(learner, 0, 2 * EVERY)
    learner.reset()
    assert not learner.increments().units.any()
    assert learner.population.model is learned.model


@pytest.mark.parametrize("name", ["s2_grid10_T1", "s4_grid10x4_T1", "dense"])
def test_the_delivered_model_decides_as_in_a_population_that_does_not_learn(name: str) -> None:
    """Before the first new codes and after a reset: with all that is made of its tensors at load."""
    model = dense(1, 40, 30) if name == "dense" else Model.quantized(golden(name).arrays)
    pA, pB = ([10 * t + 0.01 for t in tensors] for tensors in (model.arrays().A, model.arrays().B))
    learner = Learner(Population(model, AGENTS, changing=True), Concentrations.of(model, pA, pB), every=EVERY)
    plain, rng = Population(model, AGENTS), np.random.default_rng(5)
    for tick in range(3 * EVERY):
        if tick == 2 * EVERY:
            learner.reset()
            for population in (plain, learner.population):
                population.reset()
        table = np.stack([rng.integers(0, o, AGENTS) for o in model.num_obs], axis=1)
        acts, learned = plain.step(table), learner.population.step(table)
        if not EVERY <= tick < 2 * EVERY:
            assert learned.tobytes() == acts.tobytes()
            ours, theirs = (p.state[0][..., :AGENTS] for p in (learner.population, plain))
            assert ours.tobytes() == theirs.tobytes()
        if not EVERY - 1 <= tick < 2 * EVERY and tick < 3 * EVERY - 1:  # new codes come at the end of a tick
            assert learner.population.expected_free_energy.tobytes() == plain.expected_free_energy.tobytes()
    assert learner.swaps == 1


def test_threads_make_the_same_bits(learned) -> None:
    one, many = learner_of(learned, 150), learner_of(learned, 150, threads=3)
    assert run(one, 0, 3 * EVERY) == run(many, 0, 3 * EVERY)
    assert one.population.checkpoint() == many.population.checkpoint()


def test_a_soft_outcome_adds_nothing_to_its_likelihood(learned) -> None:
    learner = learner_of(learned, 3)
    soft = np.zeros((3, 3), np.float32)
    soft[1] = [0.5, 0.5, 0]
    table = np.zeros((3, 3), int)
    learner.population.step_with(table, soft={1: soft})
    assert learner.increments().counts("A_1").sum() == 2
    assert learner.increments().counts("A_0").sum() == 3


def test_agents_of_their_own_counts_have_no_codes(learned) -> None:
    with pytest.raises(ConfigError, match="expected scope population"):
        Learner.columns(learned.model, 3, learned.concentrations, "agent", every=5)


def test_epochs_add_up_to_all_that_was_counted_and_change_nothing(learned) -> None:
    def made() -> Learner:
        population = Population(learned.model, AGENTS, changing=True)
        return Learner(population, learned.concentrations, every=EVERY, epochs=True)

    plain, learner = learner_of(learned), made()
    epochs = []
    for tick, table in enumerate(readings(np.random.default_rng(5), AGENTS, 20)):
        assert (plain.population.step(table) == learner.population.step(table)).all()
        if tick in (3, EVERY + 2, 19):
            epochs.append(learner.take_epoch())
    total = plain.increments()
    assert [one.updates for one in epochs] == [4 * AGENTS, (EVERY - 1) * AGENTS, (17 - EVERY) * AGENTS]
    assert sum(one.units for one in epochs).tobytes() == total.units.tobytes()
    assert learner.increments().units.tobytes() == total.units.tobytes()
    assert learner.epoch == 3
    run(learner, 0, 3)
    copy = made()
    copy.population.restore(learner.population.checkpoint())
    assert copy.epoch == 3
    assert copy.take_epoch().encoded() == learner.take_epoch().encoded()
    with pytest.raises(ConfigError, match="made without them"):
        plain.take_epoch()


def test_a_guard_takes_no_scratch_memory_of_its_own(learned) -> None:
    names = [c.name for c in Learner.columns(learned.model, AGENTS, learned.concentrations, every=EVERY)]
    assert "guard.belief" in names
    assert "guard.scratch" not in names


def test_new_codes_of_a_model_that_plans_to_learn_fit_their_tables() -> None:
    rng = np.random.default_rng(8)
    A, B = line(rng, 6)
    options = AgentOptions(use_param_info_gain=True)
    for sharp in (A, np.eye(6)):  # the gains of few values have short tables as delivered
        pA, pB = 10 * sharp + 0.1, 10 * B + 0.1
        model = Model.from_arrays([sharp], [B], options=options, pA=[pA], pB=[pB])
        learner = Learner(Population(model, 3, changing=True), Concentrations.of(model, [pA], [pB]), every=2)
        for table in rng.integers(0, 6, (5, 3, 1)):
            learner.population.step(table)
        assert learner.swaps == 2
