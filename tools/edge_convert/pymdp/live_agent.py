"""Runs a live pymdp agent step by step, of either generation, without importing what its user did not.

Theory of operation. Both generations are given one face: ``begin`` from D, ``decide`` after an observation,
``act`` with what was executed. The JAX agent keeps no state: the prior is carried here, and its methods are
compiled together once. The legacy agent is copied, so the user's own stays as it is. Options that the user
exports without (``allow``) are off in the agent that runs here: what is compared with the bundle is the agent
without them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_convert.pymdp import pymdp_options
from edge_convert.pymdp.live_window import LiveWindow, infers_over_window

_WITHOUT = {
    "preprocess_fn": None,
    "inference_algo": "fpi",
    "learn_A": False,
    "learn_B": False,
    "H": None,
    "sophisticated": False,
    "use_param_info_gain": False,
}
_SMALLEST = 1e-30  # of a probability whose logarithm is taken
Observation = Sequence[Any]
"""An outcome (int) or a distribution over outcomes a modality."""


class Decided(NamedTuple):
    """Beliefs [S_f] a factor, G [P], q(pi) [P], and the action [F] that the agent chose."""

    qs: list[NDArray[np.float64]]
    G: NDArray[np.float64]
    q_pi: NDArray[np.float64]
    act: NDArray[np.int64]


class LiveAgent(Protocol):
    """One agent that runs."""

    def begin(self) -> None:
        """Start from D."""

    def decide(self, observation: Observation) -> Decided:
        """Infer, plan and choose."""

    def act(self, action: NDArray[np.int64]) -> None:
        """Take ``action`` [F] as executed."""


class JaxAgent:
    """``pymdp.agent.Agent``, the agent ``batch`` of it; all of the batch see the same.

    ``policy_search`` scores policies in the agent's place; its G is only known up to a constant.
    """

    def __init__(
        self, agent: Any, batch: int, seed: int, without: Collection[str], policy_search: Any = None
    ) -> None:
        import jax

        self._jax = jax
        self._agent = copy.copy(agent)
        for name in without:
            if name in _WITHOUT:
                object.__setattr__(self._agent, name, _WITHOUT[name])
        for letter in "AB":  # the same numbers; compiled with BCOO, pymdp did not end within a minute
            tensors = [t.todense() if hasattr(t, "n_batch") else t for t in getattr(agent, letter)]
            object.__setattr__(self._agent, letter, tensors)
        self._batch = batch
        self._key = jax.random.PRNGKey(seed)
        kind = pymdp_options.class_of(agent) or type(agent)
        self._decide, self._predict = _compiled(kind, self._agent, policy_search)
        self._window = LiveWindow(self._agent) if infers_over_window(self._agent) else None
        self.begin()

    def begin(self) -> None:
        """Start from D."""
        self._prior = self._agent.D
        self._qs: Any = None
        if self._window is not None:
            self._window.begin()

    def decide(self, observation: Observation) -> Decided:
        """Infer, plan and choose."""
        np_of = self._jax.numpy
        size = self._agent.batch_size
        beside: Mapping[str, Any] = {}
        if self._window is None:
            given = [np_of.broadcast_to(np_of.asarray(o), (size, 1, *np.shape(o))) for o in observation]
        else:
            given, beside = self._window.observe(observation)
            self._prior = self._window.prior
        self._key, key = self._jax.random.split(self._key)
        self._qs, G, q_pi, action = self._decide(self._agent, given, self._prior, beside, key)
        n = self._batch
        return Decided(
            [np.asarray(q[n, -1], np.float64) for q in self._qs],
            np.asarray(G[n], np.float64),
            np.asarray(q_pi[n], np.float64),
            np.asarray(action[n], np.int64).reshape(-1),
        )

    def act(self, action: NDArray[np.int64]) -> None:
        """Take ``action`` as executed."""
        if self._window is not None:
            self._window.act(action, self._qs)
            return
        np_of = self._jax.numpy
        given = np_of.broadcast_to(np_of.asarray(action, np_of.int32), (self._agent.batch_size, len(action)))
        self._prior = self._predict(self._agent, given, self._qs)


_COMPILED: dict[tuple[type, Any], tuple[Callable[..., Any], Callable[..., Any]]] = {}


def _compiled(kind: Any, agent: Any, policy_search: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return (decide, predict), compiled once for all agents whose options and shapes are the same.

    Releases before 1.0.4 keep their policies in a static array, which cannot be looked up: theirs are
    compiled for each agent.
    """
    import jax

    def decide(agent: Any, observation: Any, prior: Any, beside: Any, key: Any) -> Any:
        qs = kind.infer_states(agent, observation, empirical_prior=prior, **beside)
        if policy_search is None:
            q_pi, G = kind.infer_policies(agent, qs)
        else:
            q_pi, _ = policy_search(agent, qs)
            G = jax.numpy.log(jax.numpy.maximum(q_pi, _SMALLEST))
        return qs, G, q_pi, kind.sample_action(agent, q_pi, rng_key=jax.random.split(key, agent.batch_size))

    def predict(agent: Any, action: Any, qs: Any) -> Any:
        return kind.update_empirical_prior(agent, action, qs)

    try:
        hash(jax.tree_util.tree_structure(agent))
    except TypeError:
        bound = jax.jit(lambda *given: decide(agent, *given))
        ahead = jax.jit(lambda action, qs: predict(agent, action, qs))
        return lambda _, *given: bound(*given), lambda _, *given: ahead(*given)
    key = kind, policy_search
    if key not in _COMPILED:
        _COMPILED[key] = jax.jit(decide), jax.jit(predict)
    return _COMPILED[key]


class LegacyAgent:
    """``pymdp.agent.Agent`` 0.0.7.1, or ``pymdp.legacy.agent.Agent``."""

    def __init__(self, agent: Any, seed: int, without: Collection[str]) -> None:
        self._agent = copy.deepcopy(agent)
        for name in without:
            if name in _WITHOUT:
                setattr(self._agent, name, "VANILLA" if name == "inference_algo" else _WITHOUT[name])
        self._kind: Any = pymdp_options.class_of(agent) or type(agent)
        self._seed = seed
        self.begin()

    def begin(self) -> None:
        """Start from D."""
        self._agent.action = None
        self._agent.prev_actions = None
        self._agent.prev_obs = []
        self._kind.reset(self._agent)

    def decide(self, observation: Observation) -> Decided:
        """Infer, plan and choose. The legacy agent draws from NumPy's global generator, which is left as it
        was.
        """
        soft = any(np.ndim(o) for o in observation)
        given: Any = [int(o) for o in observation]
        if soft:
            given = np.empty(len(observation), dtype=object)
            for m, o in enumerate(observation):
                given[m] = np.asarray(o, np.float64)
        state = np.random.get_state()  # noqa: NPY002 - pymdp draws from this one
        np.random.seed(self._seed)  # noqa: NPY002
        self._seed += 1
        try:
            qs = self._kind.infer_states(self._agent, given, *([True] if soft else []))
            q_pi, G = self._kind.infer_policies(self._agent)
            action = self._kind.sample_action(self._agent)
        finally:
            np.random.set_state(state)  # noqa: NPY002
        beliefs = [np.asarray(q, np.float64) for q in qs]
        values, posterior = (np.asarray(v, np.float64).ravel() for v in (G, q_pi))
        return Decided(beliefs, values, posterior, np.asarray(action).astype(np.int64))

    def act(self, action: NDArray[np.int64]) -> None:
        """Take ``action`` as executed."""
        self._agent.action = np.asarray(action, np.float64)
