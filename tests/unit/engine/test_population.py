"""A population beyond a step: subsets, evidence, re-runs, checkpoints, shorter planning."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from edge_agent.engine import likelihood, reference
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError, ModelError, ObservationError


def rows(case, t: int, n: int = 3):
    return np.repeat(case.trace["obs"][t][np.newaxis], n, axis=0)


@pytest.fixture
def model(case) -> Model:
    return Model.quantized(case.arrays)


def test_fresh_agents_hold_D(model) -> None:
    population = Population(model, 5)
    for f, d in enumerate(model.D):
        np.testing.assert_array_equal(population.beliefs(f), np.tile(d, (5, 1)))
    assert (population.free_energy == 0).all()


def test_the_likeliest_state_is_that_of_the_beliefs(case, model) -> None:
    population = Population(model, 3)
    for t in range(4):
        for f in range(len(model.B)):
            for agent, belief in enumerate(population.beliefs(f)):
                state, probability = population.likeliest(f, agent)
                assert belief[state] == belief.max()
                assert probability == pytest.approx(belief[state], rel=1e-6)
        population.step(rows(case, t))


def test_an_action_before_the_first_observation_leaves_D_the_prior(case, model) -> None:
    told, untold = Population(model, 3), Population(model, 3)
    told.act(np.zeros((3, len(model.B)), np.int64))
    told.step(rows(case, 0))
    untold.step(rows(case, 0))
    assert (told.codes() == untold.codes()).all()


def test_infer_is_step_without_planning(case, model) -> None:
    stepped, inferred = Population(model, 3), Population(model, 3)
    for t in range(5):
        actions = stepped.step(rows(case, t))
        inferred.infer(rows(case, t))
        inferred.act(actions)
        assert (inferred.codes() == stepped.codes()).all()
    assert inferred.tick == stepped.tick == 5
    np.testing.assert_array_equal(inferred.expected_free_energy, stepped.expected_free_energy)


def test_infer_twice_without_an_action_does_not_fall_back_to_D(case, model) -> None:
    population = Population(model, 1)
    population.infer(rows(case, 0, 1))
    once = population.beliefs(0).copy()
    population.infer(np.full((1, len(model.A)), -1))
    np.testing.assert_allclose(population.beliefs(0), once, atol=0.02)


def test_reset_of_a_subset(case, model) -> None:
    population, other = Population(model, 70), Population(model, 70)
    for t in range(3):
        population.step(rows(case, t, 70))
        other.step(rows(case, t, 70))
    population.reset([0, 69])
    keep = np.arange(1, 69)
    assert (population.codes(keep) == other.codes(keep)).all()
    fresh = Population(model, 2)
    assert (population.step(rows(case, 0, 2), [0, 69]) == fresh.step(rows(case, 0, 2))).all()
    assert (population.codes([0, 69]) == fresh.codes()).all()


def test_free_energy_is_that_of_the_reference(case, model) -> None:
    population = Population(model, 1)
    prior = list(case.arrays.D)
    for t in range(10):
        qs, F = reference.infer(case.arrays, prior, case.trace["obs"][t])
        population.infer(rows(case, t, 1))
        population.act(case.trace["act"][t][np.newaxis])
        assert population.free_energy[0] == pytest.approx(F, abs=0.03)
        prior = reference.predict(case.arrays, qs, case.trace["act"][t])


def test_checkpoint_continues_bit_for_bit(case, model) -> None:
    options = {"seed": 3, "stochastic": True}
    population = Population(model, 20, **options)
    for t in range(5):
        population.step(rows(case, t, 20))
    saved = population.checkpoint()
    after = [population.step(rows(case, t, 20)) for t in range(5, 9)]
    restored = Population(model, 20, threads=2, **options)
    restored.restore(saved)
    assert restored.tick == 5
    np.testing.assert_array_equal([restored.step(rows(case, t, 20)) for t in range(5, 9)], after)
    assert restored.checkpoint() == population.checkpoint()


@pytest.mark.parametrize("damage", [b"", b"x", b"{}\n"])
def test_damaged_checkpoint_changes_nothing(case, model, damage: bytes) -> None:
    population = Population(model, 2)
    population.step(rows(case, 0, 2))
    before = population.checkpoint()
    for data in (damage, before[:-1], before[:-3] + b"abc"):
        with pytest.raises(ConfigError, match="checkpoint"):
            population.restore(data)
    assert population.checkpoint() == before
    with pytest.raises(ConfigError, match="expected 3 of"):
        Population(model, 3).restore(before)


def altered(checkpoint: bytes, at: int, value: int, **head: object) -> bytes:
    """Return a checkpoint with another byte or head, whose digest is right all the same."""
    line, _, rest = checkpoint.partition(b"\n")
    body = bytearray(rest)
    body[at] = value
    claims = json.loads(line) | {"sha256": hashlib.sha256(body).hexdigest()} | head
    return json.dumps(claims).encode() + b"\n" + bytes(body)


def test_a_checkpoint_that_the_kernel_could_not_go_on_from_changes_nothing(case, model) -> None:
    population = Population(model, 2)
    population.step(rows(case, 0, 2))
    before = population.checkpoint()
    states = sum(model.num_states)
    nowhere = before
    for state in range(model.num_states[0]):
        nowhere = altered(nowhere, state, 0)
    bad = {
        "an action": altered(before, 2 * states, model.num_controls[0]),
        "in no state": nowhere,
        "out of range": altered(before, 0, 255, tick=2**63),
        "not a population's": altered(before, 0, 255, tick=float("inf")),
    }
    for said, data in bad.items():
        with pytest.raises(ConfigError, match=said):
            population.restore(data)
    assert population.checkpoint() == before


def test_soft_outcomes(case, model) -> None:
    generator = np.random.default_rng(0)
    soft = {m: generator.dirichlet(np.ones(n), size=2) for m, n in enumerate(model.num_obs)}
    population = Population(model, 2)
    population.step_with(np.full((2, len(model.A)), -1), soft=soft, act=False)
    for agent in range(2):
        qs, F = reference.infer(case.arrays, case.arrays.D, [soft[m][agent] for m in soft])
        for f, q in enumerate(qs):
            np.testing.assert_allclose(population.beliefs(f)[agent], q, atol=5e-3)
        assert population.free_energy[agent] == pytest.approx(F, abs=0.03)


def test_soft_one_hot_is_the_outcome_and_zeros_leave_it(case, model) -> None:
    hard, soft = Population(model, 2), Population(model, 2)
    hard.infer(rows(case, 0, 2))
    tables = {}
    for m, n in enumerate(model.num_obs):
        tables[m] = np.zeros((2, n))
        tables[m][0, case.trace["obs"][0][m]] = 1
    soft.step_with(rows(case, 0, 2), soft=tables, act=False)
    for f in range(len(model.B)):
        np.testing.assert_allclose(soft.beliefs(f), hard.beliefs(f), atol=5e-3)
    assert (soft.codes()[1] == hard.codes()[1]).all()


def test_evidence_adds_log_likelihood(case, model) -> None:
    generator = np.random.default_rng(1)
    vectors = [generator.uniform(0.05, 1, size=n) for n in model.num_states]
    codes = {f: likelihood.codes(v[np.newaxis]) for f, v in enumerate(vectors)}
    population = Population(model, 1)
    population.step_with(rows(case, 0, 1), evidence=codes, act=False)
    extra = [np.log(v / v.max()) for v in vectors]
    qs, _ = reference.infer(case.arrays, case.arrays.D, case.trace["obs"][0], extra)
    for f, q in enumerate(qs):
        np.testing.assert_allclose(population.beliefs(f)[0], q, atol=0.02)


def test_evidence_of_a_peer_is_worth_the_observation(load_golden) -> None:
    case = load_golden("s2_grid10_T1")
    model = Model.quantized(case.arrays)
    seen, told = Population(model, 4), Population(model, 4)
    observations = np.array([[3], [57], [99], [-1]])
    seen.infer(observations)
    told.step_with(np.full((4, 1), -1), evidence={0: likelihood.message(model, 0, observations)}, act=False)
    np.testing.assert_allclose(told.beliefs(0), seen.beliefs(0), atol=0.01)


def test_rerun_folds_late_evidence_in(case, model) -> None:
    n, ticks = 70, 4
    generator = np.random.default_rng(2)
    late = {0: likelihood.codes(generator.uniform(0.1, 1, size=(n, model.num_states[0])))}
    intime, behind = Population(model, n), Population(model, n)
    for population in (intime, behind):
        population.step(rows(case, 0, n))
    start = behind.codes()
    last = np.repeat(case.trace["act"][0][np.newaxis], n, axis=0)
    for population in (intime, behind):
        population.act(last)
    observations, actions = [], []
    for t in range(1, 1 + ticks):
        observations.append(rows(case, t, n))
        actions.append(last)
        intime.step_with(rows(case, t, n), evidence=late if t == 2 else None, act=False)
        behind.infer(rows(case, t, n))
        last = np.repeat(case.trace["act"][t][np.newaxis], n, axis=0)
        for population in (intime, behind):
            population.act(last)
    agents = np.array([0, 5, 69])
    other = np.setdiff1d(np.arange(n), agents)
    kept, tick = behind.codes(other), behind.tick
    table = np.full((ticks, 3, model.num_states[0]), 255, np.uint8)
    table[1] = late[0][agents]
    behind.rerun(
        np.array(observations)[:, agents],
        np.array(actions)[:, agents],
        agents,
        start=start[agents],
        evidence={0: table},
    )
    assert (behind.codes(agents) == intime.codes(agents)).all()
    assert (behind.codes(other) == kept).all()
    assert behind.tick == tick
    observation = rows(case, ticks + 1, n)
    behind.infer(observation)
    intime.infer(observation)
    assert (behind.codes(agents) == intime.codes(agents)).all()


@pytest.mark.parametrize("epistemic", [True, False])
def test_lighter_planning(load_golden, epistemic: bool) -> None:
    for name in ("s2_grid10_T3", "s3_tmaze_T2"):
        case = load_golden(name)
        model = Model.quantized(case.arrays)
        population = Population(model, 1)
        population.infer(rows(case, 0, 1))
        arrays = model.arrays()
        qs = [population.beliefs(f)[0].astype(np.float64) for f in range(len(model.B))]
        for horizon in range(1, model.policy_len + 1):
            population.plan(horizon=horizon, epistemic=epistemic)
            G = reference.expected_free_energy(arrays, qs, horizon=horizon, epistemic=epistemic)
            np.testing.assert_allclose(population.expected_free_energy[0], G, atol=2e-3)
        with pytest.raises(ModelError, match="horizon"):
            population.plan(horizon=model.policy_len + 1)


def test_preferences_a_step(load_golden) -> None:
    case = load_golden("s3_tmaze_T2")
    a = case.arrays
    C = [np.stack([c, 2 * c[::-1]]) for c in a.C]
    model = Model.from_arrays(a.A, a.B, C, a.D, A_deps=a.A_deps, B_deps=a.B_deps, policy_len=2)
    population = Population(model, 1)
    population.infer(rows(case, 0, 1))
    G = reference.expected_free_energy(model.arrays(), reference.infer(a, a.D, case.trace["obs"][0])[0])
    np.testing.assert_allclose(population.expected_free_energy[0], G, atol=5e-3)


def test_preferences_are_added_and_taken_back(case, model) -> None:
    population = Population(model, 2)
    population.infer(rows(case, 0, 2))
    before = population.expected_free_energy
    rng = np.random.default_rng(3)
    added = {m: rng.normal(size=outcomes) for m, outcomes in enumerate(model.num_obs)}
    population.prefer(added)
    arrays = model.arrays()
    C = [c + added[m] for m, c in enumerate(arrays.C)]
    qs = [population.beliefs(f)[0].astype(np.float64) for f in range(len(model.B))]
    wanted = reference.expected_free_energy(dataclasses.replace(arrays, C=tuple(C)), qs)
    np.testing.assert_allclose(population.expected_free_energy[0], wanted, atol=1e-2)
    assert np.abs(population.expected_free_energy - before).max() > 0.01
    population.plan()  # another horizon keeps them
    np.testing.assert_allclose(population.expected_free_energy[0], wanted, atol=1e-2)
    population.prefer()
    np.testing.assert_array_equal(population.expected_free_energy, before)


@pytest.mark.parametrize(
    ("added", "message"),
    [({9: [0.0]}, "modality 9"), ({0: [0.0]}, "of modality 0: expected"), ({0: [np.nan] * 99}, "modality 0")],
)
def test_preferences_that_do_not_fit_change_nothing(model, added, message: str) -> None:
    population = Population(model, 1)
    before = population.expected_free_energy
    with pytest.raises(ModelError, match=message):
        population.prefer(added)
    np.testing.assert_array_equal(population.expected_free_energy, before)


@pytest.mark.parametrize("selection", ["marginal", "full"])
def test_stochastic_actions_follow_their_probabilities(load_golden, selection: str) -> None:
    a = load_golden("s1_grid5_T1").arrays
    model = Model.from_arrays(a.A, a.B, a.C, a.D, gamma=1.0, alpha=2.0)
    n = 20_000
    population = Population(model, n, seed=11, selection=selection, stochastic=True)
    actions = population.step(np.full((n, 1), 12))
    q_pi = population.policy_posterior[0].astype(np.float64)  # one step: policies are actions
    expected = q_pi**2 / (q_pi**2).sum()
    found = np.bincount(actions[:, 0], minlength=5) / n
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(0.25 / n))
    again = Population(model, n, seed=11, selection=selection, stochastic=True, threads=2)
    assert (again.step(np.full((n, 1), 12)) == actions).all()
    assert (again.step(np.full((n, 1), 12)) != population.step(np.full((n, 1), 13))).any()
    different = Population(model, n, seed=12, selection=selection, stochastic=True)
    assert (different.step(np.full((n, 1), 12)) != actions).any()


def test_lowest_index_wins_a_tie() -> None:
    A, B = [np.eye(2)], [np.stack([np.eye(2)] * 3, axis=-1)]
    population = Population(Model.from_arrays(A, B), 4)
    assert (population.step([[0], [1], [0], [-1]]) == 0).all()


BETWEEN = {"keep": [0.5, 0, 0.5], "reset": [0, 0, 1]}
"""Clipped at epsilon, what is impossible by the belief is as likely as what is impossible by the outcome."""


@pytest.mark.parametrize("choice", list(BETWEEN))
def test_contradiction_of_one_factor(choice: str) -> None:
    A, B, D = [np.eye(3)], [np.eye(3)[:, :, np.newaxis]], [[1, 0, 0]]
    options = AgentOptions(on_contradiction=choice)
    population = Population(Model.from_arrays(A, B, None, D, options=options), 2)
    population.step([[0], [2]])
    np.testing.assert_allclose(population.beliefs(0), [[1, 0, 0], BETWEEN[choice]], atol=1e-5)
    assert population.contradictions == 1
    expected = reference.step(model_arrays(A, B, None, D, options=options), [np.array([1.0, 0, 0])], [2])
    np.testing.assert_allclose(population.beliefs(0)[1], expected.qs[0], atol=1e-5)
    np.testing.assert_allclose(population.free_energy[1], expected.F, atol=1e-3)
    assert expected.contradiction


@pytest.mark.parametrize("choice", list(BETWEEN))
def test_contradiction_of_several_factors(choice: str) -> None:
    A = [np.eye(3), np.eye(2)]
    B = [np.eye(3)[:, :, np.newaxis], np.eye(2)[:, :, np.newaxis]]
    options = AgentOptions(on_contradiction=choice)
    model = Model.from_arrays(A, B, None, [[1, 0, 0], [0.5, 0.5]], A_deps=[[0], [1]], options=options)
    population = Population(model, 2)
    population.step([[0, 1], [2, 0]])
    np.testing.assert_allclose(population.beliefs(0), [[1, 0, 0], BETWEEN[choice]], atol=1e-5)
    assert population.contradictions == 1


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        ([[0], [25]], "agent 1, modality 0: 25, expected -1 to 24"),
        ([[-2], [0]], "agent 0, modality 0: -2"),
        ([[0.0], [np.nan]], "agent 1, modality 0: nan"),
        ([[0.5], [1.0]], "float64, expected integers"),
        ([[0]], r"shape \(1, 1\), expected \(2, 1\)"),
        ([0, 1], r"shape \(2,\), expected \(2, 1\)"),
        ([["a"], ["b"]], "expected integers"),
        ([[0], [1, 2]], "observations: "),
    ],
)
def test_odd_observations(load_golden, observations, message: str) -> None:
    population = Population(Model.quantized(load_golden("s1_grid5_T1").arrays), 2)
    before = population.checkpoint()
    with pytest.raises(ObservationError, match=message):
        population.step(observations)
    with pytest.raises(ObservationError, match=message):
        population.infer(observations)
    assert population.checkpoint() == before


@pytest.mark.parametrize(
    ("agents", "message"), [([0, 2], "2, expected 0 to 1"), ([1, 1], "twice"), ([0.5, 1.0], "integers")]
)
def test_odd_agents(load_golden, agents, message: str) -> None:
    population = Population(Model.quantized(load_golden("s1_grid5_T1").arrays), 2)
    with pytest.raises(ObservationError, match=message):
        population.step([[0], [0]], agents)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integer_type_and_stride(load_golden, dtype) -> None:
    model = Model.quantized(load_golden("s1_grid5_T1").arrays)
    wide = np.arange(40).reshape(20, 2).astype(dtype) % 25
    plain, strided = Population(model, 20), Population(model, 20)
    expected = plain.step(np.ascontiguousarray(wide[:, 1:]).astype(np.int64))
    assert (strided.step(wide[:, 1:]) == expected).all()


def test_set_beliefs(case, model) -> None:
    population = Population(model, 3)
    generator = np.random.default_rng(3)
    q = generator.dirichlet(np.ones(model.num_states[0]), size=2)
    population.set_beliefs(0, q, [0, 2])
    np.testing.assert_allclose(population.beliefs(0)[[0, 2]], q, atol=5e-3)
    with pytest.raises(ObservationError, match="agent 1, factor 0"):
        population.set_beliefs(0, q[:1] * 2, [1])


def test_a_million_steps_leave_distributions(load_golden) -> None:
    for name in ("s1_grid5_T1", "s3_tmaze_T2"):
        model = Model.quantized(load_golden(name).arrays)
        generator = np.random.default_rng(9)
        population = Population(model, 5000, seed=1, stochastic=True)
        for _ in range(100):
            observations = np.stack([generator.integers(-1, n, 5000) for n in model.num_obs], axis=-1)
            population.step(observations)
        for f in range(len(model.B)):
            q = population.beliefs(f).astype(np.float64)
            assert np.isfinite(q).all()
            assert (q >= 0).all()
            np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-5)
        q_pi = population.policy_posterior
        np.testing.assert_allclose(q_pi.sum(axis=1), 1, atol=1e-4)
        assert np.isfinite(population.free_energy).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"evidence": {9: np.zeros((2, 1), np.uint8)}}, "evidence: factor 9"),
        ({"evidence": {0: np.zeros((2, 1), np.uint8)}}, "evidence: factor 0: uint8 of shape"),
        ({"evidence": {0: "states"}}, "agent 0, factor 0: no state is possible"),
        ({"soft": {9: np.zeros((2, 1))}}, "soft: modality 9"),
        ({"soft": {0: np.zeros((2, 1))}}, r"soft: modality 0: shape \(2, 1\)"),
        ({"soft": {0: "outcomes"}}, "soft: agent 0, modality 0: not a distribution"),
    ],
)
def test_evidence_that_cannot_be_is_named_and_changes_nothing(model, given: dict, said: str) -> None:
    population = Population(model, 2)
    before = population.checkpoint()
    made = {
        "states": np.zeros((2, model.num_states[0]), np.uint8),
        "outcomes": np.full((2, model.num_obs[0]), -1.0),
    }
    filled = {
        kind: {key: made[value] if isinstance(value, str) else value for key, value in table.items()}
        for kind, table in given.items()
    }
    with pytest.raises(ObservationError, match=said):
        population.step_with(np.full((2, len(model.A)), -1), **filled)
    assert population.checkpoint() == before


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda m: Population(m, 2, selection="best"), ConfigError, "selection: 'best', expected one of"),
        (lambda m: Population(m, 0), ConfigError, "agents: 0, expected 1 to"),
        (lambda m: Population(m, 2, threads=65), ConfigError, "threads: 65, expected 1 to 64"),
        (lambda m: Population(m, 2).set_beliefs(0, [[1.0]]), ObservationError, r"beliefs: shape \(1, 1\)"),
        (
            lambda m: Population(m, 2, seed=1).restore(Population(m, 2, seed=2).checkpoint()),
            ConfigError,
            "checkpoint: seed 2, expected 1",
        ),
    ],
    ids=["selection", "size", "threads", "beliefs", "seed"],
)
def test_what_a_population_cannot_be_is_named(case, model, mistake, error, message: str) -> None:
    with pytest.raises(error, match=message):
        mistake(model)
