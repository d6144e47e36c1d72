"""What a population counts: the rule in float64 on its beliefs; the same bits however it is run."""

import numpy as np
import pytest

from edge_agent.engine import isa
from edge_agent.engine.counts import rule
from edge_agent.engine.counts.concentrations import Concentrations, in_pymdp_order, shapes
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.counts.units import whole_units
from edge_agent.engine.population import Population
from edge_agent.engine.quantize import codes_from_bytes
from edge_agent.errors import ConfigError, ModelError, ObservationError
from tests.unit.engine.counts.conftest import learned_model, readings

TICKS = 9


def run(learned, agents: int, *, threads: int = 1, scope: str = "population", subsets: bool = False):
    """Let ``agents`` learn, with actions of their own and a reset on the way; return the learner."""
    rng = np.random.default_rng(agents)
    population = Population(learned.model, agents, threads=threads)
    learner = Learner(population, learned.concentrations, scope)
    for tick, table in enumerate(readings(rng, agents, TICKS)):
        parts = np.array_split(rng.permutation(agents), 3) if subsets else [np.arange(agents)]
        for part in parts:
            if len(part):
                learner.population.step(table[part], part if subsets else None)
        population.act(np.stack([rng.integers(-1, u, agents) for u in learned.model.num_controls], axis=1))
        if tick == 4:
            population.reset([0])
    return learner


def followed(learned, agents: int, bits: int = 8):
    """The rule in float64 on the codes of each tick: pymdp's windows of two, D where an agent begins."""
    model = learned.model
    rng = np.random.default_rng(agents)
    population = Population(model, agents)
    want = shapes(model)
    sums = {kind: [np.zeros(shape) for shape in want[kind]] for kind in "ABD"}
    splits = np.cumsum(model.code_rows)[:-1]
    before, executed = None, np.full((agents, 3), -1)
    begun = np.zeros(agents, bool)
    for tick, table in enumerate(readings(rng, agents, TICKS)):
        rng.permutation(0)
        population.step(table)
        parts = np.split(population.codes(), splits, axis=1)
        values = [
            codes_from_bytes(p, b).astype(np.float64) ** 4
            for p, b in zip(parts, model.belief_bits, strict=True)
        ]
        beliefs = [v / v.sum(axis=1, keepdims=True) for v in values]
        for n in range(agents):
            window = [b[n][None] for b in beliefs]
            for m, deps in enumerate(model.A_deps):
                sums["A"][m] += rule.outcome_counts(want["A"][m], deps, table[n : n + 1, m], window)
            for f, deps in enumerate(model.B_deps):
                if not begun[n]:
                    sums["D"][f] += beliefs[f][n]
                    continue
                pair = [np.stack([old[n], new[n]]) for old, new in zip(before, beliefs, strict=True)]
                acts = np.array([-1, executed[n, f]])
                sums["B"][f] += rule.transition_counts(want["B"][f], f, deps, acts, pair)
        before, begun = beliefs, np.ones(agents, bool)
        executed = np.stack([rng.integers(-1, u, agents) for u in model.num_controls], axis=1)
        population.act(executed)
        if tick == 4:
            population.reset([0])
            begun[0] = False
    return sums


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("agents", [1, 3, 7, 40, 70])
def test_counts_are_those_of_the_rule(agents: int, bits: int) -> None:
    learned = learned_model(bits=bits)
    learner = run(learned, agents)
    found = learner.increments()
    for kind, tensors in followed(learned, agents).items():
        for i, wanted in enumerate(tensors):
            counts = in_pymdp_order(kind, found.counts(f"{kind}_{i}"))
            # a belief is off by a unit at most in its running sum: two units an entry, whatever its size
            products = found.updates * 4 * 2.0**-12
            assert np.abs(counts - wanted).max() <= products
            assert counts.sum() == pytest.approx(wanted.sum(), rel=1e-12)
    assert found.whole


def test_one_agent_by_hand() -> None:
    learned = learned_model()
    population = Population(learned.model, 1)
    learner = Learner(population, learned.concentrations)
    learner.population.step([[2, -1, 1]])
    first = population.codes()
    population.act([[1, -1, 0]])
    learner.population.step([[-1, 0, 1]])
    units = [
        whole_units(part, 12)
        for codes in (first, population.codes())
        for part in np.split(codes, [4, 7], axis=1)
    ]
    q0, q1 = [u[0] for u in units[:3]], [u[0] for u in units[3:]]
    found = {t.name: np.rint(learner.increments().counts(t.name) * 2.0**t.bits) for t in learner.tensors}
    assert (found["A_0"][2] == np.outer(q0[0], q0[1])).all()
    assert found["A_0"].sum() == 2**24
    assert (found["A_1"][0] == q1[2]).all()
    assert (found["A_2"][1] == q0[1] + q1[1]).all()
    assert (found["B_0"][1] == np.outer(q1[0], q0[0])).all()
    assert found["B_1"].sum() == 0  # no action was executed
    assert (found["B_2"][0] == np.outer(q1[2], q0[2])).all()
    assert [(found[f"D_{f}"] == q0[f]).all() for f in range(3)] == [True] * 3


@pytest.mark.parametrize("name", [i.name for i in isa.available()])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_bits_from_instruction_sets_threads_and_subsets(
    monkeypatch, name: str, threads: int
) -> None:
    learned = learned_model(3)
    monkeypatch.setenv(isa.VARIABLE, isa.available()[0].name)
    whole = run(learned, 150).increments()
    monkeypatch.setenv(isa.VARIABLE, name)
    assert (run(learned, 150, threads=threads).increments().units == whole.units).all()


def test_all_agents_count_what_their_own_counts_add_up_to() -> None:
    learned = learned_model(4)
    for agents in (3, 16, 90):
        together, own = run(learned, agents), run(learned, agents, scope="agent")
        apart = np.sum([own.increments(n).units for n in range(agents)], axis=0)
        assert (apart == together.increments().units).all()
        assert (own.increments().units == apart).all()
        in_parts = run(learned, agents, subsets=True)
        assert in_parts.updates == together.updates


def test_agents_alone_count_the_same_as_among_others() -> None:
    learned = learned_model(5)
    rng = np.random.default_rng(0)
    tables = readings(rng, 50, TICKS)
    acts = rng.integers(0, 1, (TICKS, 50, 3))

    def counted(groups, by_call: bool) -> np.ndarray:
        out = np.zeros(1, np.int64)
        if by_call:
            population = Population(learned.model, 50)
            learner = Learner(population, learned.concentrations)
            for table, act in zip(tables, acts, strict=True):
                for group in groups:
                    learner.population.step(table[group], group)
                population.act(act)
            return learner.increments().units
        for group in groups:
            population = Population(learned.model, len(group))
            learner = Learner(population, learned.concentrations)
            for table, act in zip(tables, acts, strict=True):
                learner.population.step(table[group])
                population.act(act[group])
            out = out + learner.increments().units
        return out

    wanted = counted([np.arange(50)], False)
    for seed in range(4):
        groups = np.split(np.random.default_rng(seed).permutation(50), [1, 4, 21])
        assert (counted(groups, False) == wanted).all()
        assert (counted(groups, True) == wanted).all()


def test_only_what_has_concentrations_learns(learned) -> None:
    own = Concentrations.of(learned.model, pB=[None, learned.concentrations.B[1], None])
    learner = run(learned._replace(concentrations=own), 5)
    assert [tensor.name for tensor in learner.tensors] == ["B_1"]
    assert (learner.increments().units == 0).sum() < learner.layout.cells


def test_a_bad_observation_counts_nothing(learned) -> None:
    learner = run(learned, 3)
    before = learner.increments()
    for bad in ([[9, 0, 0]] * 3, [[0, 0]] * 3, [[0, 0, 0]] * 2):
        with pytest.raises(ObservationError, match="observations"):
            learner.population.step(bad)
    assert (learner.increments().units == before.units).all()
    assert learner.updates == before.updates


def test_full_counts_stay_as_they_are(learned) -> None:
    learner = Learner(Population(learned.model, 2), learned.concentrations)
    learner.population.step([[0, 0, 0]] * 2)
    before = learner.increments()
    learner.updates = learner.layout.capacity - 1
    assert learner.full
    learner.population.step([[0, 0, 0]] * 2)
    learner.updates = before.updates
    assert (learner.increments().units == before.units).all()
    learner.reset()
    learner.population.step([[0, 0, 0]] * 2)
    assert learner.updates == 2


def test_counts_go_on_from_a_checkpoint(learned) -> None:
    whole = run(learned, 20)
    copied = Learner(Population(learned.model, 20), learned.concentrations)
    copied.restore(type(whole.increments()).decoded(whole.increments().encoded()))
    for learner in (whole, copied):
        learner.population.reset()
        learner.population.step(np.zeros((20, 3), int))
    assert whole.increments().encoded() == copied.increments().encoded()


def test_counts_of_another_model_are_refused(learned) -> None:
    learner = run(learned, 2)
    other = run(learned_model(8), 2)
    with pytest.raises(ConfigError, match="learn: counts of model"):
        learner.restore(other.increments())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"pA": [np.ones((5, 4, 3)), None]}, "pA: 2 tensors, expected 3"),
        ({"pB": [np.ones((4, 4)), None, None]}, r"pB_0: shape \(4, 4\), expected \(4, 4, 3\)"),
        ({"pD": [[1, 1, -1, 1], None, None]}, r"pD_0: entry \(2,\) is -1, expected a count from 0"),
        ({"pD": [[0, 0, 0, 0], None, None]}, r"pD_0: column \(\) is all 0"),
        ({"pD": [None, None, None], "lr_pA": 0.0}, "lr_pA: 0.0, expected a number above 0"),
    ],
)
def test_bad_concentrations_are_refused(learned, given, line: str) -> None:
    with pytest.raises(ModelError, match=line):
        Concentrations.of(learned.model, **given)


def test_nothing_to_learn_is_refused(learned) -> None:
    with pytest.raises(ModelError, match="no concentrations"):
        Learner.columns(learned.model, 3, Concentrations.of(learned.model))
    with pytest.raises(ConfigError, match="learn: 'all', expected one of population, agent"):
        Learner.columns(learned.model, 3, learned.concentrations, "all")
