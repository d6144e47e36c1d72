"""The step of one-factor, one-step models in NumPy float32: batched, fused, into preallocated arrays.

The baseline that a careful NumPy user would reach: every product is one BLAS call for all agents and
controls, the predicted beliefs of planning are kept as the next prior, and a step allocates nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays


class NumpyStep:
    """``n`` agents of a model with one factor, one modality and policies of one step."""

    def __init__(self, model: ModelArrays, n: int) -> None:
        A, B = model.A[0].astype(np.float32), model.B[0].astype(np.float32)
        states, controls = B.shape[0], B.shape[2]
        self.A, self.gamma = A, np.float32(model.gamma)
        self.transition = np.ascontiguousarray(B.transpose(1, 2, 0).reshape(states, controls * states))
        self.likelihood = np.ascontiguousarray(A.T)
        safe = np.maximum(A, 1e-16)
        self.fold = (model.C[0].astype(np.float32) @ A + (A * np.log(safe)).sum(axis=0)).astype(np.float32)
        self.prior = np.tile(model.D[0].astype(np.float32), (n, 1))
        self.post = np.empty_like(self.prior)
        self.next = np.empty((n, controls * states), np.float32)
        self.predicted = self.next.reshape(n * controls, states)
        self.outcomes = np.empty((n * controls, len(A)), np.float32)
        self.logs = np.empty_like(self.outcomes)
        self.G = np.empty(n * controls, np.float32)
        self.agents = np.arange(n)

    def step(self, observations: np.ndarray) -> np.ndarray:
        """Return the actions for outcomes int (n,)."""
        np.take(self.A, observations, axis=0, out=self.post)
        self.post *= self.prior
        self.post /= self.post.sum(axis=1, keepdims=True)
        np.matmul(self.post, self.transition, out=self.next)
        np.matmul(self.predicted, self.likelihood, out=self.outcomes)
        np.maximum(self.outcomes, 1e-16, out=self.outcomes)
        np.log(self.outcomes, out=self.logs)
        np.einsum("no,no->n", self.outcomes, self.logs, out=self.G)
        G = (self.predicted @ self.fold - self.G).reshape(len(self.agents), -1) * self.gamma
        G -= G.max(axis=1, keepdims=True)
        np.exp(G, out=G)
        G /= G.sum(axis=1, keepdims=True)
        actions: NDArray[np.intp] = G.argmax(axis=1)
        self.prior[:] = self.next.reshape(len(self.agents), -1, self.prior.shape[1])[self.agents, actions]
        return actions
