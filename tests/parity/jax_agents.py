"""Live agents of pymdp 1.x: one for each option, pymdp's own environments, and its notebooks' models.

Runs where pymdp is installed (``make parity``). ``CASES`` maps a name to a function that returns the agent
and what is given to ``export_pymdp`` beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import networkx as nx
import numpy as np
from jax.experimental import sparse
from pymdp.agent import Agent
from pymdp.envs import GraphEnv
from pymdp.envs.cue_chaining import CueChainingEnv
from pymdp.envs.generalized_tmaze import GeneralizedTMazeEnv, get_maze_matrix, parse_maze
from pymdp.envs.grid_world import GridWorld
from pymdp.envs.tmaze import SimplifiedTMaze, TMaze
from pymdp.planning.mcts import mcts_policy_search
from pymdp.planning.si import si_policy_search

Case = tuple[Any, dict[str, Any]]
CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Any]) -> Callable[[], Any]:
    """Add a case by its function's name; a bare agent is exported with nothing beside it."""

    def made() -> Case:
        found = make()
        return found if isinstance(found, tuple) else (found, {})

    CASES[make.__name__] = made
    return make


def grid(**options: Any) -> Agent:
    """An agent on a 7 by 7 grid, three steps ahead, that likes the middle; everything else is pymdp's
    default.
    """
    env = GridWorld(shape=(7, 7), success_prob=0.9)
    options.setdefault("policy_len", 3)
    return of(env, [jnp.zeros(49).at[24].set(3.0)], **options)


def noisy(**options: Any) -> Agent:
    """An agent of two factors and two modalities, with noise in everything."""
    A, B, C, D = tensors(7, (4, 3), (5, 3), ([0, 1], [1]), (3, 2))
    options = {"policy_len": 2, "gamma": 4.0} | options
    return Agent(A, B, C, D, A_dependencies=[[0, 1], [1]], B_dependencies=[[0], [1]], **options)


def learner(**options: Any) -> Agent:
    """``noisy`` with counts."""
    A, B, C, D = tensors(7, (4, 3), (5, 3), ([0, 1], [1]), (3, 2))
    rng = np.random.default_rng(3)
    pA = [a * jnp.asarray(rng.uniform(0.5, 20, (1, *a.shape[1:]))) for a in A]
    pB = [b * jnp.asarray(rng.uniform(0.5, 20, (1, *b.shape[1:]))) for b in B]
    counts = {"pA": pA, "pB": pB, "A_dependencies": [[0, 1], [1]], "B_dependencies": [[0], [1]]}
    return Agent(A, B, C, D, **{"policy_len": 2, "gamma": 4.0} | counts | options)


def of(env: Any, C: Any, D: Any = None, **options: Any) -> Agent:
    """An agent whose model is an environment's."""
    return Agent(
        list(env.A),
        list(env.B),
        list(C),
        list(env.D if D is None else D),
        A_dependencies=env.A_dependencies,
        B_dependencies=env.B_dependencies,
        **options,
    )


def tensors(seed: int, states: Any, outcomes: Any, A_deps: Any, controls: Any) -> Any:
    """Random A, B, C, D: Dirichlet columns, some sharp and some flat."""
    rng = np.random.default_rng(seed)

    def columns(rows: int, *rest: int) -> Any:
        drawn = rng.dirichlet(np.full(rows, 0.5), size=rest)
        return jnp.asarray(np.moveaxis(drawn, -1, 0))

    A = [columns(o, *(states[f] for f in deps)) for o, deps in zip(outcomes, A_deps, strict=True)]
    B = [columns(s, s, u) for s, u in zip(states, controls, strict=True)]
    C = [jnp.asarray(rng.normal(0, 1, o)) for o in outcomes]
    return A, B, C, [columns(s) for s in states]


@case
def defaults() -> Any:
    return grid()


@case
def sampling_mode_marginal() -> Any:
    return grid(sampling_mode="marginal")


@case
def sampling_mode_full_two_factors() -> Any:
    return noisy()


@case
def sampling_mode_marginal_two_factors() -> Any:
    return noisy(sampling_mode="marginal")


@case
def action_selection_stochastic() -> Any:
    return grid(action_selection="stochastic", alpha=2.0)


@case
def action_selection_stochastic_marginal() -> Any:
    return noisy(action_selection="stochastic", sampling_mode="marginal", alpha=3.0)


@case
def gamma_16() -> Any:
    return grid(gamma=16.0)


@case
def gamma_0() -> Any:
    return noisy(gamma=0.0, E=jnp.asarray(np.random.default_rng(5).dirichlet(np.ones(36))))


@case
def E() -> Any:
    return noisy(E=jnp.asarray(np.random.default_rng(5).dirichlet(np.ones(36))))


@case
def use_utility_false() -> Any:
    return grid(use_utility=False)


@case
def use_states_info_gain_false() -> Any:
    return grid(use_states_info_gain=False)


@case
def use_param_info_gain() -> Any:
    return learner(use_param_info_gain=True)


@case
def use_param_info_gain_pA() -> Any:
    return learner(use_param_info_gain=True, pB=None)


@case
def use_param_info_gain_pB() -> Any:
    return learner(use_param_info_gain=True, pA=None)


@case
def use_inductive_H() -> Any:
    return grid(use_inductive=True, H=[jnp.zeros(49).at[24].set(1.0)], inductive_depth=9)


@case
def use_inductive_threshold_epsilon() -> Any:
    goal = [jnp.zeros(49).at[48].set(1.0)]
    options = {"inductive_depth": 14, "inductive_threshold": 0.05, "inductive_epsilon": 0.3}
    return grid(use_inductive=True, H=goal, **options)


@case
def use_inductive_I() -> Any:
    ready = grid(use_inductive=True, H=[jnp.zeros(49).at[3].set(1.0)], inductive_depth=9)
    return grid(use_inductive=True, I=ready.I, inductive_depth=9)


@case
def num_iter_1() -> Any:
    return noisy(num_iter=1)


@case
def num_iter_4() -> Any:
    return noisy(num_iter=4)


@case
def inference_algo_exact() -> Any:
    return grid(inference_algo="exact")


@case
def inference_algo_ovf() -> Any:
    return noisy(inference_algo="ovf")


@case
def inference_algo_mmp() -> Any:
    return noisy(inference_algo="mmp", inference_horizon=4)


@case
def inference_algo_vmp() -> Any:
    return noisy(inference_algo="vmp", inference_horizon=4)


@case
def inference_algo_mmp_grid() -> Any:
    return grid(inference_algo="mmp", inference_horizon=6)


@case
def inference_algo_mmp_num_iter_1() -> Any:
    return noisy(inference_algo="mmp", inference_horizon=5, num_iter=1)


@case
def inference_algo_mmp_categorical_obs() -> Any:
    return noisy(inference_algo="mmp", inference_horizon=4, categorical_obs=True)


@case
def inference_horizon_1() -> Any:
    return noisy(inference_algo="mmp", inference_horizon=1)


@case
def inference_horizon_none() -> Any:
    return noisy(inference_algo="vmp")


@case
def inference_horizon_of_fpi() -> Any:
    return noisy(inference_horizon=3)


@case
def learn_A() -> Any:
    return learner(learn_A=True)


@case
def learn_B() -> Any:
    return learner(learn_B=True)


@case
def learn_A_offline() -> Any:
    return learner(learn_A=True, learning_mode="offline")


@case
def learn_C_D_E() -> Any:
    return noisy(learn_C=True, learn_D=True, learn_E=True)


@case
def preprocess_fn() -> Any:
    return noisy(preprocess_fn=lambda o: o, categorical_obs=True)


@case
def preprocess_fn_allowed() -> Any:
    return noisy(preprocess_fn=lambda o: o, categorical_obs=True), {"allow": ("preprocess_fn",)}


@case
def categorical_obs() -> Any:
    return noisy(categorical_obs=True)


@case
def policy_search_si() -> Any:
    return noisy(), {"policy_search": si_policy_search()}


def si(agent: Any, horizon: int, **options: Any) -> Case:
    """An agent whose actions pymdp's sophisticated inference chooses."""
    options = {"max_nodes": 1000, "entropy_stop_threshold": 0.0, "gamma": 4.0} | options
    return agent, {"policy_search": si_policy_search(horizon=horizon, **options), "traces": 60}


def si_tmaze() -> Agent:
    env = TMaze(cue_validity=0.95, reward_probability=0.9)
    return of(env, _tmaze_preferences(env), policy_len=1)


def si_grid() -> Agent:
    """On a 7 by 7 grid, where it begins in a corner and knows it, and sees where it is most of the time."""
    env = GridWorld(shape=(7, 7), success_prob=0.9)
    A = [0.8 * env.A[0] + 0.2 / 49]
    distance = jnp.abs(jnp.arange(49) // 7 - 3) + jnp.abs(jnp.arange(49) % 7 - 3)
    B, D = list(env.B), [jnp.zeros(49).at[0].set(1.0)]
    options = {"A_dependencies": env.A_dependencies, "B_dependencies": env.B_dependencies, "policy_len": 1}
    return Agent(A, B, [-0.5 * distance], D, **options)


def si_cue_chaining() -> Agent:
    env = CueChainingEnv()
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[3] = C[3].at[1].set(3.0).at[2].set(-6.0)
    D = [env.D[0], *(jnp.ones_like(d) / len(d) for d in env.D[1:])]
    return of(env, C, D, policy_len=1)


@case
def si_tmaze_2() -> Any:
    return si(si_tmaze(), 2)


@case
def si_tmaze_3() -> Any:
    return si(si_tmaze(), 3)


@case
def si_tmaze_4() -> Any:
    return si(si_tmaze(), 4)


@case
def si_tmaze_nodes() -> Any:
    return si(si_tmaze(), 4, max_nodes=300)


@case
def si_grid_2() -> Any:
    return si(si_grid(), 2)


@case
def si_grid_3() -> Any:
    return si(si_grid(), 3)


@case
def si_grid_4() -> Any:
    return si(si_grid(), 4)


@case
def si_cue_chaining_2() -> Any:
    return si(si_cue_chaining(), 2)


@case
def si_cue_chaining_3() -> Any:
    return si(si_cue_chaining(), 3)


@case
def si_cue_chaining_4() -> Any:
    return si(si_cue_chaining(), 4)


@case
def si_two_factors() -> Any:
    return si(noisy(policy_len=1), 3, observation_prune_threshold=0.02, gamma=1.0)


@case
def si_marginal_drawn() -> Any:
    return si(noisy(policy_len=1, sampling_mode="marginal", action_selection="stochastic"), 2)


@case
def si_defaults() -> Any:
    return noisy(policy_len=1), {"policy_search": si_policy_search(), "traces": 20}


@case
def si_kl_threshold() -> Any:
    return si(noisy(policy_len=1), 2, kl_threshold=0.1)


@case
def si_topk() -> Any:
    return si(noisy(policy_len=1), 2, topk_obsspace=2)


@case
def policy_search_mcts() -> Any:
    return noisy(), {"policy_search": mcts_policy_search()}


@case
def overridden_method() -> Any:
    class Mine(Agent):
        def infer_policies(self, qs: Any) -> Any:
            q_pi, G = super().infer_policies(qs)
            return q_pi[:, ::-1], G

    A, B, C, D = tensors(7, (4,), (5,), ([0],), (3,))
    return Mine(A, B, C, D)


@case
def B_action_dependencies() -> Any:
    rng = np.random.default_rng(11)
    A, _, C, D = tensors(8, (3, 4, 2), (4, 3, 3), ([0, 1], [1], [2]), (1, 1, 1))
    shapes = [(3, 3, 2, 3), (4, 4, 3), (2, 2)]
    B = [jnp.asarray(np.moveaxis(rng.dirichlet(np.full(s[0], 0.5), size=s[1:]), -1, 0)) for s in shapes]
    return Agent(
        A,
        B,
        C,
        D,
        A_dependencies=[[0, 1], [1], [2]],
        B_dependencies=[[0], [1], [2]],
        B_action_dependencies=[[0, 1], [1], []],
        num_controls=[2, 3],
        policy_len=2,
    )


def dependent(**options: Any) -> Agent:
    """An agent of two factors, one of which moves as the other lets it."""
    rng = np.random.default_rng(12)
    A, _, C, D = tensors(9, (3, 4), (4, 3), ([0, 1], [1]), (1, 1))
    shapes = [(3, 3, 4, 2), (4, 4, 3)]
    B = [jnp.asarray(np.moveaxis(rng.dirichlet(np.full(s[0], 0.5), size=s[1:]), -1, 0)) for s in shapes]
    options = {"A_dependencies": [[0, 1], [1]], "B_dependencies": [[0, 1], [1]], "policy_len": 2} | options
    return Agent(A, B, C, D, **options)


@case
def B_dependencies() -> Any:
    return dependent()


@case
def inference_algo_mmp_B_dependencies() -> Any:
    return dependent(inference_algo="mmp", inference_horizon=4)


@case
def inference_algo_vmp_B_dependencies() -> Any:
    return dependent(inference_algo="vmp", inference_horizon=4)


@case
def policies_custom() -> Any:
    plans = np.random.default_rng(4).integers(0, 2, (9, 3, 2))
    return noisy(policies=jnp.asarray(plans), policy_len=3)


@case
def policies_masked() -> Any:
    whole = noisy()
    kept = np.asarray(whole.policies.policy_arr)
    return noisy(policies=jnp.asarray(kept[kept[:, 0, 0] != 1]))


@case
def C_over_time() -> Any:
    rng = np.random.default_rng(6)
    agent_C = [jnp.asarray(rng.normal(0, 1, (2, 5))), jnp.asarray(rng.normal(0, 1, 3))]
    A, B, _, D = tensors(7, (4, 3), (5, 3), ([0, 1], [1]), (3, 2))
    lists = {"A_dependencies": [[0, 1], [1]], "B_dependencies": [[0], [1]]}
    return Agent(
        [a[None] for a in A],
        [b[None] for b in B],
        [c[None] for c in agent_C],
        [d[None] for d in D],
        policy_len=2,
        **lists,
    )


@case
def C_D_missing() -> Any:
    A, B, _, _ = tensors(7, (4, 3), (5, 3), ([0, 1], [1]), (3, 2))
    return Agent(A, B, A_dependencies=[[0, 1], [1]], B_dependencies=[[0], [1]], policy_len=2)


@case
def batch_of_4_agent_2() -> Any:
    parts = [tensors(20 + n, (4, 3), (5, 3), ([0, 1], [1]), (3, 2)) for n in range(4)]
    A, B, C, D = ([jnp.stack(same) for same in zip(*one, strict=True)] for one in zip(*parts, strict=True))
    lists = {"A_dependencies": [[0, 1], [1]], "B_dependencies": [[0], [1]]}
    gamma = jnp.array([1.0, 2.0, 3.0, 4.0])
    return Agent(A, B, C, D, batch_size=4, policy_len=2, gamma=gamma, **lists), {"batch": 2}


@case
def sparse_BCOO() -> Any:
    env = GridWorld(shape=(5, 5), success_prob=0.8)
    agent = of(env, [jnp.zeros(25).at[12].set(3.0)], policy_len=2)
    object.__setattr__(agent, "B", [sparse.BCOO.fromdense(b, n_batch=1) for b in agent.B])
    return agent


@case
def control_fac_idx() -> Any:
    return noisy(control_fac_idx=[0])


@case
def env_tmaze() -> Any:
    env = TMaze(cue_validity=0.95, reward_probability=0.9)
    return of(env, _tmaze_preferences(env), policy_len=2)


@case
def env_tmaze_stochastic() -> Any:
    env = TMaze(cue_validity=0.9)
    return of(env, _tmaze_preferences(env), policy_len=2, action_selection="stochastic", alpha=4.0)


@case
def env_tmaze_simplified() -> Any:
    env = SimplifiedTMaze(cue_validity=0.95)
    return of(env, _tmaze_preferences(env), policy_len=2)


@case
def env_tmaze_generalized() -> Any:
    env = GeneralizedTMazeEnv(parse_maze(get_maze_matrix(small=True), jr.PRNGKey(0)))
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[-1] = C[-1].at[1].set(1.0).at[2].set(-3.0)
    return of(env, C, policy_len=4)


@case
def env_graph_world() -> Any:
    graph = nx.Graph()
    graph.add_edges_from([(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5)])
    env = GraphEnv(graph)
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[1] = C[1].at[1].set(1.0)
    uniform = [jnp.ones(b.shape[0]) / b.shape[0] for b in env.B]
    return of(env, C, uniform, policy_len=2)


@case
def env_cue_chaining() -> Any:
    env = CueChainingEnv()
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[3] = C[3].at[1].set(3.0).at[2].set(-6.0)
    D = [env.D[0], *(jnp.ones_like(d) / len(d) for d in env.D[1:])]
    return of(env, C, D, policy_len=4)


@case
def notebook_agent_demo() -> Any:
    A, B, C = agent_demo()
    return Agent(
        [jnp.asarray(a) for a in A], [jnp.asarray(b) for b in B], [jnp.asarray(c) for c in C], gamma=16.0
    )


@case
def notebook_agent_demo_marginal() -> Any:
    A, B, C = agent_demo()
    given = [jnp.asarray(a) for a in A], [jnp.asarray(b) for b in B], [jnp.asarray(c) for c in C]
    return Agent(*given, gamma=16.0, sampling_mode="marginal")


@case
def six_factors_twelve_modalities() -> Any:
    return random_agent(1, 6, 12)


def _tmaze_preferences(env: Any) -> Any:
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[1] = C[1].at[1].set(2.0).at[2].set(-3.0)
    return C


def agent_demo() -> Any:
    """The arrays of pymdp's notebook ``agent_demo``: a game of unknown odds that may be played or sampled."""
    A = [np.zeros((3, 2, 3)) for _ in range(3)]
    A[0][2, :, :2] = 1.0
    A[0][:2, :, 2] = [[0.8, 0.2], [0.2, 0.8]]
    high = np.exp(1.0) / (np.exp(1.0) + 1.0)
    A[1][2, :, 0] = A[1][2, :, 2] = 1.0
    A[1][:2, :, 1] = [[high, 1 - high], [1 - high, high]]
    for state in range(3):
        A[2][state, :, state] = 1.0
    B = [np.eye(2)[:, :, np.newaxis], np.zeros((3, 3, 3))]
    for action in range(3):
        B[1][action, :, action] = 1.0
    return A, B, [np.zeros(3), np.array([1.0, -1.0, 0.0]), np.zeros(3)]


def random_agent(seed: int, factors: int, modalities: int, batch: int = 1) -> Agent:
    """A batch of random agents of one shape: some likelihoods sharp, some flat, some with exact zeros."""
    shape = np.random.default_rng([seed, factors, modalities])
    states = [int(n) for n in shape.integers(2, 5, factors)]
    outcomes = [int(n) for n in shape.integers(2, 5, modalities)]
    most = min(3, factors)
    deps = [
        sorted(shape.choice(factors, shape.integers(1, most + 1), replace=False).tolist()) for _ in outcomes
    ]
    for f in range(factors):  # every factor is seen by some modality, as far as there are enough
        if f < modalities and not any(f in d for d in deps):
            deps[f] = sorted({*deps[f][: most - 1], f})
    controls = [int(n) if f < 2 else 1 for f, n in enumerate(shape.integers(2, 4, factors))]
    rng = np.random.default_rng([seed, factors, modalities, 1])

    def columns(rows: int, *rest: int) -> np.ndarray[Any, Any]:
        sharpness = rng.choice([0.05, 0.3, 1.0, 5.0])
        drawn = rng.dirichlet(np.full(rows, sharpness), size=(batch, *rest))
        if rng.random() < 0.3:
            drawn[drawn < 0.05] = 0.0
            drawn /= drawn.sum(axis=-1, keepdims=True)
        return np.moveaxis(drawn, -1, 1)

    A = [jnp.asarray(columns(o, *(states[f] for f in d))) for o, d in zip(outcomes, deps, strict=True)]
    B = [jnp.asarray(columns(s, s, u)) for s, u in zip(states, controls, strict=True)]
    C = [jnp.asarray(rng.normal(0, 1, (batch, o))) for o in outcomes]
    D = [jnp.asarray(columns(s)) for s in states]
    own = [[f] for f in range(factors)]
    mode = "full" if seed % 2 else "marginal"
    return Agent(
        A, B, C, D, A_dependencies=deps, B_dependencies=own, batch_size=batch, gamma=4.0, sampling_mode=mode
    )
