"""How near two agents are that saw the same and were told the same executed actions, decision by decision.

Theory of operation. ``wanted`` is the agent that a bundle is held against (the user's own, or the float64
reference),
``found`` the other. An agent chooses by the largest of some probabilities: those of policies
(``sampling_mode`` "full"), or of each factor's actions ("marginal"). Figures of a decision:

- ``kl``: KL(wanted || found) of the posterior over states, nats, the worst factor;
- ``tv``: total variation distance of the posteriors over policies;
- ``gap``: by how much probability the wanted choice leads over the best choice of another action;
- ``regret``: what found's action gives away: ln of the largest probability less ln of the largest that goes
  with that action, nats, as the wanted agent sees it. It is 0 for an equal action, and for a tie whatever was
  chosen;
- ``agree``: whether the actions are the same. Of an agent that draws, the most probable actions are compared.

A decision is clear where the gap is more than ``CLEAR``, and a tie where the best is ahead by no more than
the share
``TIE`` of it, the tolerance that kernel and reference choose with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.options import TIE
from edge_agent.engine.reference import EPSILON

CLEAR = 0.05

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Decisions:
    """What N agents held and chose at T steps: beliefs [T, N, S_f] a factor, q(pi) [T, N, P], actions [T,
    N, F].
    """

    qs: tuple[Float, ...]
    q_pi: Float
    act: Int


@dataclass(frozen=True)
class Comparison:
    """Figures [T, N] of T steps of N agents; ``kl_factors`` [F] is the largest KL of each factor."""

    kl: Float
    tv: Float
    regret: Float
    gap: Float
    tied: NDArray[np.bool_]
    agree: NDArray[np.bool_]
    kl_factors: Float
    found: Int
    wanted: Int
    origin: str

    @property
    def alike(self) -> NDArray[np.bool_]:
        """Where the actions are the same, or nothing hangs on which."""
        out: NDArray[np.bool_] = self.agree | self.tied
        return out

    def figures(self) -> dict[str, Any]:
        """Return what the gate, the manifest and the tables show."""
        clear, tied = self.gap > CLEAR, self.tied
        return {
            "action_agreement": float(self.agree.mean()),
            "clear_agreement": float(self.agree[clear].mean()) if clear.any() else 1.0,
            "max_regret": float(self.regret.max()),
            "max_posterior_kl": float(self.kl.max()),
            "mean_posterior_kl": float(self.kl.mean()),
            "mean_policy_tv": float(self.tv.mean()),
            "max_policy_tv": float(self.tv.max()),
            "decisions": int(self.agree.size),
            "clear_decisions": int(clear.sum()),
            "clear_differences": int((clear & ~self.agree).sum()),
            "ties": int(tied.sum()),
            "tie_differences": int((tied & ~self.agree).sum()),
            "data": self.origin,
        }

    def line(self) -> dict[str, Any]:
        """Return what a table has room for."""
        figures = self.figures()
        return {
            "decisions": figures["decisions"],
            "clear": figures["clear_decisions"],
            "clear, another": figures["clear_differences"],
            "ties": figures["ties"],
            "regret": figures["max_regret"],
            "KL": figures["max_posterior_kl"],
            "on": self.origin,
        }

    def worst_steps(self) -> list[str]:
        """Return the two steps that are off most, and the factor, in words."""
        said = []
        for flat in np.argsort(-(self.kl + self.regret), axis=None)[:2]:
            t, n = np.unravel_index(flat, self.kl.shape)
            found, wanted = self.found[t, n].tolist(), self.wanted[t, n].tolist()
            said.append(
                f"step {t}, agent {n}: KL {self.kl[t, n]:.3g}, action {found} for {wanted}, "
                f"regret {self.regret[t, n]:.3g}"
            )
        factor = int(self.kl_factors.argmax())
        said.append(f"factor {factor} reaches a posterior KL of {self.kl_factors[factor]:.3g}")
        return said


def compare(model: ModelArrays, wanted: Decisions, found: Decisions, origin: str) -> Comparison:
    """Return how near ``found`` is to ``wanted``; ``model`` gives policies and options."""
    kl = np.stack([divergence(p, q) for p, q in zip(wanted.qs, found.qs, strict=True)], axis=-1)
    regret, gap, tied = _choice(model, wanted, found.act)
    return Comparison(
        kl=kl.max(axis=-1),
        tv=np.abs(wanted.q_pi - found.q_pi).sum(axis=-1) / 2,
        regret=regret,
        gap=gap,
        tied=tied,
        agree=(wanted.act == found.act).all(axis=-1),
        kl_factors=kl.max(axis=(0, 1)),
        found=found.act,
        wanted=wanted.act,
        origin=origin,
    )


def divergence(p: Float, q: Float) -> Float:
    """Return KL(p || q) in nats over the last axis, with logarithms clipped as the reference clips them."""
    logs = np.log(np.maximum(p, EPSILON)) - np.log(np.maximum(q, EPSILON))
    out: Float = np.maximum((p * logs).sum(axis=-1), 0.0)
    return out


def most_probable(model: ModelArrays, q_pi: Float) -> Int:
    """Return the action [..., F] that a deterministic agent takes at q(pi) [..., P]; the lowest index wins
    a tie.
    """
    if model.options.sampling_mode == "full":
        chosen: Int = model.policies[_first_best(q_pi), 0]
        return chosen
    return np.stack([_first_best(m) for m in _marginals(model, q_pi)], axis=-1)


def _first_best(values: Float) -> Int:
    best: Int = (values >= values.max(axis=-1, keepdims=True) * (1 - TIE)).argmax(axis=-1)
    return best


def _marginals(model: ModelArrays, q_pi: Float) -> list[Float]:
    """Return the probability [..., U_f] of each factor's first actions."""
    first = model.policies[:, 0]
    return [q_pi @ (first[:, f, np.newaxis] == np.arange(n)) for f, n in enumerate(model.num_controls)]


def _choice(model: ModelArrays, wanted: Decisions, act: Int) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Return regret of ``act`` for the wanted agent, gap, and whether it is a tie, [T, N] each."""
    if model.options.sampling_mode == "full":
        first = model.policies[:, 0]
        kinds, owner = np.unique(first, axis=0, return_inverse=True)
        best = np.stack(
            [wanted.q_pi[..., owner.ravel() == k].max(axis=-1) for k in range(len(kinds))], axis=-1
        )
        return _lead(best, _index(kinds, act), _index(kinds, wanted.act))
    sides = [
        _lead(marginal, act[..., f], wanted.act[..., f])
        for f, marginal in enumerate(_marginals(model, wanted.q_pi))
    ]
    regrets, gaps, ties = zip(*sides, strict=True)
    return np.maximum.reduce(regrets), np.minimum.reduce(gaps), np.logical_or.reduce(ties)


def _index(kinds: Int, actions: Int) -> Int:
    """Return which row of ``kinds`` [K, F] each action [..., F] is; K where it is none of them."""
    same = (actions[..., np.newaxis, :] == kinds).all(axis=-1)
    found: Int = np.where(same.any(axis=-1), same.argmax(axis=-1), len(kinds))
    return found


def _lead(values: Float, chosen: Int, wanted: Int) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Return regret of ``chosen``, lead of ``wanted`` over the others, and ties, for probabilities [...,
    K].
    """
    padded = np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)
    best = values.max(axis=-1)
    mine, theirs = (
        np.take_along_axis(padded, index[..., np.newaxis], axis=-1)[..., 0] for index in (chosen, wanted)
    )
    logs = np.log(np.maximum(best, EPSILON)) - np.log(np.maximum(mine, EPSILON))
    regret = np.where(best - mine <= TIE * best, 0.0, logs)
    if values.shape[-1] == 1:
        return regret, np.ones(regret.shape), np.zeros(regret.shape, dtype=bool)
    second = np.sort(values, axis=-1)[..., -2]
    np.put_along_axis(padded, wanted[..., np.newaxis], -1.0, axis=-1)
    gap = np.maximum(theirs - padded.max(axis=-1), 0.0)
    return regret, gap, best - second <= TIE * best


def stacked(rows: Sequence[Decisions]) -> Decisions:
    """Return the decisions of successive steps, each [N, ...], as one [T, N, ...]."""
    return Decisions(
        tuple(np.stack([row.qs[f] for row in rows]) for f in range(len(rows[0].qs))),
        np.stack([row.q_pi for row in rows]),
        np.stack([row.act for row in rows]),
    )
