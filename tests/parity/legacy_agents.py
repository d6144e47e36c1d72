"""Live agents of pymdp 0.0.7.1, or of pymdp.legacy of 1.x: one for each option, and its notebooks' models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    from pymdp.legacy.agent import Agent

    OLD = False
except ImportError:
    from pymdp.agent import Agent

    OLD = True

Case = tuple[Any, dict[str, Any]]
CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Any]) -> Callable[[], Any]:
    """Add a case by its function's name; a bare agent is exported with nothing beside it."""

    def made() -> Case:
        found = make()
        return found if isinstance(found, tuple) else (found, {})

    CASES[make.__name__] = made
    return make


def box(tensors: Any) -> Any:
    out = np.empty(len(tensors), dtype=object)
    for i, tensor in enumerate(tensors):
        out[i] = np.asarray(tensor, dtype=float)
    return out


def columns(rng: np.random.Generator, rows: int, *rest: int) -> Any:
    return np.moveaxis(rng.dirichlet(np.full(rows, 0.5), size=rest), -1, 0)


def one(**options: Any) -> Any:
    """One factor, one modality, three controls."""
    rng = np.random.default_rng(2)
    A, B = box([columns(rng, 5, 6)]), box([columns(rng, 6, 6, 3)])
    return Agent(A=A, B=B, **{"C": box([rng.normal(0, 1, 5)]), "policy_len": 2, "gamma": 4.0} | options)


def two(**options: Any) -> Any:
    """Two factors, one modality over both."""
    rng = np.random.default_rng(3)
    A, B = box([columns(rng, 6, 4, 3)]), box([columns(rng, 4, 4, 3), columns(rng, 3, 3, 2)])
    return Agent(A=A, B=B, **{"C": box([rng.normal(0, 1, 6)]), "policy_len": 1, "gamma": 4.0} | options)


def exact(agent: Any) -> Any:
    """The agent, with all its iterations."""
    agent.inference_params["dF_tol"] = 0.0
    return agent


@case
def legacy_defaults() -> Any:
    return one()


@case
def legacy_sampling_mode_full() -> Any:
    return one(sampling_mode="full")


@case
def legacy_action_selection_stochastic() -> Any:
    return one(action_selection="stochastic", alpha=2.0)


@case
def legacy_use_utility_false() -> Any:
    return one(use_utility=False)


@case
def legacy_use_states_info_gain_false() -> Any:
    return one(use_states_info_gain=False)


@case
def legacy_use_param_info_gain() -> Any:
    rng = np.random.default_rng(4)
    agent = one()
    return one(use_param_info_gain=True, pA=box([agent.A[0] * rng.uniform(1, 9)]))


@case
def legacy_C_over_time() -> Any:
    return one(C=box([np.random.default_rng(5).normal(0, 1, (5, 2))]))


@case
def legacy_E() -> Any:
    return one(E=np.random.default_rng(6).dirichlet(np.ones(9)))


@case
def legacy_policies() -> Any:
    plans = [np.array([[0], [1]]), np.array([[2], [2]]), np.array([[1], [0]])]
    return one(policies=plans)


@case
def legacy_policies_of_several_lengths() -> Any:
    plans = [np.array([[0]]), np.array([[2], [2]]), np.array([[1], [0]])]
    return one(policies=plans)


@case
def legacy_two_factors_early_stop() -> Any:
    return two()


@case
def legacy_two_factors_all_iterations() -> Any:
    return exact(two())


@case
def legacy_two_factors_marginal_stochastic() -> Any:
    return exact(two(action_selection="stochastic", alpha=3.0))


@case
def legacy_several_modalities() -> Any:
    rng = np.random.default_rng(7)
    A = box([columns(rng, 4, 5), columns(rng, 3, 5)])
    return Agent(A=A, B=box([columns(rng, 5, 5, 3)]), C=box([rng.normal(0, 1, 4), rng.normal(0, 1, 3)]))


@case
def legacy_several_modalities_without_gain() -> Any:
    rng = np.random.default_rng(7)
    A = box([columns(rng, 4, 5), columns(rng, 3, 5)])
    C = box([rng.normal(0, 1, 4), rng.normal(0, 1, 3)])
    return Agent(A=A, B=box([columns(rng, 5, 5, 3)]), C=C, use_states_info_gain=False)


@case
def legacy_inference_algo_MMP() -> Any:
    return one(inference_algo="MMP", inference_horizon=3)


@case
def legacy_pD_and_learning_rates() -> Any:
    return one(pD=box([np.ones(6)]), lr_pA=0.5, lr_pB=0.1, save_belief_hist=True)


@case
def legacy_notebook_agent_demo() -> Any:
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
    C = [np.zeros(3), np.array([1.0, -1.0, 0.0]), np.zeros(3)]
    return Agent(A=box(A), B=box(B), C=box(C), control_fac_idx=[1])


@case
def legacy_env_tmaze() -> Any:
    if OLD:
        from pymdp.envs import TMazeEnv
    else:
        from pymdp.legacy.envs import TMazeEnv
    env = TMazeEnv(reward_probs=[0.98, 0.02])
    C = box([np.zeros(o) for o in env.num_obs])
    C[1][1], C[1][2] = 3.0, -3.0
    D = box([np.eye(4)[0], [0.5, 0.5]])
    return Agent(A=env.get_likelihood_dist(), B=env.get_transition_dist(), C=C, D=D, control_fac_idx=[0])


if not OLD:

    @case
    def legacy_sophisticated() -> Any:
        return one(sophisticated=True, si_horizon=2, policy_len=1)

    @case
    def legacy_H() -> Any:
        return one(H=box([np.eye(6)[2]]), B_factor_list=[[0]])

    @case
    def legacy_A_factor_list() -> Any:
        rng = np.random.default_rng(7)
        A = box([columns(rng, 4, 5), columns(rng, 3, 5)])
        C = box([rng.normal(0, 1, 4), rng.normal(0, 1, 3)])
        lists = {"A_factor_list": [[0], [0]], "B_factor_list": [[0]]}
        return Agent(A=A, B=box([columns(rng, 5, 5, 3)]), C=C, **lists)
