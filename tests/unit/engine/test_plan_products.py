"""Products of A and B in planning: the reference's values, with less work."""

import numpy as np
import pytest

from edge_agent.engine import planning, reference
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population

SIDE = 7
STEPS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def grid(
    background: float = 0.1, steps: int = 2, options: AgentOptions | None = None, fails: float = 0.0
) -> Model:
    """Return a grid world; ``background``: how often the sensor shows any cell, ``fails``: a step fails."""
    cells, edge = SIDE * SIDE, SIDE - 1
    B = np.zeros((cells, cells, len(STEPS)))
    for cell in range(cells):
        for u, (dx, dy) in enumerate(STEPS):
            x, y = min(max(cell % SIDE + dx, 0), edge), min(max(cell // SIDE + dy, 0), edge)
            B[x + SIDE * y, cell, u] = 1.0 - fails
            B[cell, cell, u] += fails
    A = np.eye(cells) * (1 - background) + background / cells
    return Model.from_arrays([A], [B], [3 * np.eye(cells)[10]], policy_len=steps, options=options)


def furthest(model: Model, agents: int = 5) -> float:
    population, generator, arrays = Population(model, agents), np.random.default_rng(1), model.arrays()
    worst = 0.0
    for _ in range(4):
        population.step(np.stack([generator.integers(-1, n, agents) for n in model.num_obs], axis=-1))
        for agent, G in enumerate(population.expected_free_energy):
            qs = [population.beliefs(f)[agent].astype(np.float64) for f in range(len(model.B))]
            worst = max(worst, float(np.abs(reference.expected_free_energy(arrays, qs) - G).max()))
    return worst


def operations(model: Model, *kinds: int) -> list[list[int]]:
    plan = model.plan(model.policy_len, True)
    return [op for op in plan.ops.tolist() if op[0] in kinds]


@pytest.mark.parametrize("background", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("agents", [1, 5])
def test_actions_share_the_rows_that_are_the_same(background: float, steps: int, agents: int) -> None:
    model = grid(background, steps)
    product = model.products[0]
    edges = 4 * SIDE  # cells that a step against the wall does not leave
    assert product.tensor.rows == SIDE * SIDE + edges
    assert furthest(model, agents) < 5e-4


@pytest.mark.parametrize("background", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("agents", [1, 5])
def test_rows_of_two_entries_are_stored_for_every_action(background: float, steps: int, agents: int) -> None:
    model = grid(background, steps, fails=0.1)
    product = model.products[0]
    assert len(product.tensor.codes) == 2 * product.tensor.rows == 2 * len(STEPS) * SIDE * SIDE
    assert len(operations(model, planning.EXPAND)) == (len(STEPS) if steps == 2 else 0)
    assert furthest(model, agents) < 5e-4


def test_rows_are_applied_once_to_the_same_beliefs() -> None:
    nodes = 1 + len(STEPS)  # beliefs that have children
    assert len(operations(grid(steps=2), planning.XLOG2X)) == nodes
    assert len(operations(grid(steps=2), planning.EXPAND)) == len(STEPS)  # none at the last step


def test_without_information_gain_there_is_no_entropy() -> None:
    model = grid(options=AgentOptions(use_states_info_gain=False))
    assert not operations(model, planning.XLOG2X)
    assert furthest(model) < 5e-4


def test_beliefs_that_others_need_are_expanded_at_the_last_step() -> None:
    r = np.random.default_rng(2)

    def dense(rows: int, *shape: int) -> np.ndarray:
        return np.moveaxis(r.dirichlet(np.full(rows, 0.5), size=shape), -1, 0)

    A, B = [dense(20, 24), dense(4, 24, 3)], [dense(24, 24, 2), dense(3, 3, 1)]
    C = [r.normal(size=len(a)) for a in A]
    model = Model.from_arrays(A, B, C, A_deps=[[0], [0, 1]])
    assert 0 in model.products
    assert any(op[1] == len(A) for op in operations(model, planning.EXPAND, planning.EXPAND_PACKED))
    assert furthest(model) < 2e-3


def test_preferences_that_change_over_time_are_carried_to_their_step() -> None:
    r = np.random.default_rng(3)
    A = [r.dirichlet(np.full(20, 0.5), size=24).T]
    B = [np.moveaxis(r.dirichlet(np.full(24, 0.3), size=(24, 2)), -1, 0)]
    model = Model.from_arrays(A, B, [3 * r.normal(size=(2, 20))], policy_len=2)
    assert model.products
    assert furthest(model) < 2e-3
