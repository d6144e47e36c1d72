"""The window of a live JAX agent with ``inference_algo`` "mmp" or "vmp", as ``pymdp.envs.rollout`` keeps it.

``infer_states`` of such an agent takes all observations and actions of its window at every step, padded to a
fixed length, and the prior of the first of them. pymdp's loop keeps these in functions of its own; this is
what they do.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError

UNSTATED = 32
"""Ticks of the window in ``rollout`` where the agent states no ``inference_horizon``."""


def infers_over_window(agent: Any) -> bool:
    """Whether a JAX agent infers over a window."""
    return getattr(agent, "inference_algo", "fpi") in ("mmp", "vmp")


def horizon(agent: Any) -> int:
    """Return the ticks of an agent's window, this one included."""
    stated = getattr(agent, "inference_horizon", None)
    return UNSTATED if stated is None else int(stated)


class LiveWindow:
    """Observations, actions and prior of the agent's last steps, of a batch that sees and does the same."""

    def __init__(self, agent: Any) -> None:
        if "valid_steps" not in inspect.signature(type(agent).infer_states).parameters:
            raise ModelError(
                f"agent: inference_algo={agent.inference_algo!r} in a pymdp without windows of fixed length, "
                "expected pymdp 1.0.4"
            )
        self._agent = agent
        self._batch, self._size = int(agent.batch_size), horizon(agent)
        self.begin()

    def begin(self) -> None:
        """Start from D, without observations."""
        self._seen = np.full((len(self._agent.num_obs), self._size), -1, np.int32)
        self._done = np.full((max(self._size - 1, 0), self._agent.num_factors), -1, np.int32)
        self._steps = 0
        self.prior = self._agent.D

    def observe(self, observation: Any) -> tuple[list[NDArray[np.int32]], Mapping[str, Any]]:
        """Take in an observation; return all of the window, (batch, ticks) a modality, and what
        ``infer_states`` takes beside it.
        """
        self._seen[:, :-1] = self._seen[:, 1:]
        self._seen[:, -1] = observation
        self._steps = min(self._steps + 1, self._size)
        seen = [np.tile(row, (self._batch, 1)) for row in self._seen]
        done = np.tile(self._done, (self._batch, 1, 1))
        return seen, {"past_actions": done, "valid_steps": np.int32(self._steps)}

    def act(self, action: NDArray[np.int64], qs: Any) -> None:
        """Take ``action`` as executed after beliefs ``qs``, (batch, ticks, states) a factor; a full window
        moves.
        """
        if self._steps == self._size > 1:
            import jax
            from pymdp.control import compute_expected_state

            def moved(first: Any, B: Any, done: Any) -> Any:
                return compute_expected_state(first, B, done, B_dependencies=self._agent.B_dependencies)

            done = jax.numpy.tile(jax.numpy.asarray(self._done[0]), (self._batch, 1))
            self.prior = jax.vmap(moved)([q[:, 0] for q in qs], self._agent.B, done)
        if len(self._done):
            self._done[:-1] = self._done[1:]
            self._done[-1] = action
