"""Population: agents that share a model, stepped together.

Theory of operation. An agent's state is one byte a hidden state, or two (its beliefs, ``quantize``), one byte
a factor (the last action, or that there is none) and its free energy; behind its beliefs lies its window,
where it infers over one (``inference_window``). ``step`` predicts from the last action, infers, plans and
acts; all of it happens in the kernel, this class checks arguments and shows results.
Planning starts from the stored beliefs, so ``expected_free_energy`` computed later is what the step used. A
step is one tick of the model. Within it ``decide`` may be called any number of times (`engine.tick_base`).

Columns lie in tiles of lanes: [tile, code byte, lane], 64 lanes a tile, or 16 or 4 for few agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import kernel_args, payload, snapshot
from edge_agent.engine.input_checks import (
    evidence_tables,
    executed_actions,
    factor_beliefs,
    outcomes,
    refuse_window,
    soft_tables,
    start_codes,
)
from edge_agent.engine.quantize import belief_bytes, codes_from_bytes
from edge_agent.engine.snapshot import START, STILL
from edge_agent.engine.stored_model import StoredModel
from edge_agent.engine.tick_base import TickBase
from edge_agent.engine.ticks import Ticks
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Allocate, Column, apart, total
from edge_agent.memory.rows import agent_numbers

SELECTIONS = ("marginal", "full")


class Population:
    """``size`` agents of one model.

    Parameters
    ----------
    model : StoredModel
    size : int
        Number of agents, from 1.
    seed : int
        Of the random generator; used when actions are drawn (``stochastic``).
    threads : int
        Threads a step uses, 1 to 64; results do not depend on it.
    allocate : callable, optional
        Takes the columns of ``columns(model, size, threads)`` and returns zeroed arrays by name, for instance
        ``functools.partial(arena.allocate, "office")``. Default: arrays of its own.
    selection : {"marginal", "full"}, optional
        Choose each factor's action by its marginal probability, or the first action of the best policy;
        default the model's ``sampling_mode``.
    stochastic : bool, optional
        Draw actions with precision alpha instead of taking the most probable (the lowest index wins a tie);
        default the model's ``action_selection``.
    redecides : bool
        Whether ``decide`` will be called: takes ``S + 1`` bytes more per agent.
    changing : bool
        Whether it will ``adopt`` models.
    """

    def __init__(
        self,
        model: StoredModel,
        size: int,
        seed: int = 0,
        threads: int = 1,
        allocate: Allocate | None = None,
        *,
        selection: str | None = None,
        stochastic: bool | None = None,
        redecides: bool = False,
        changing: bool = False,
    ) -> None:
        selection = model.options.sampling_mode if selection is None else selection
        if selection not in SELECTIONS:
            raise ConfigError(f"selection: {selection!r}, expected one of {', '.join(SELECTIONS)}")
        if stochastic is None:
            stochastic = model.options.action_selection == "stochastic"
        columns = self.columns(model, size, threads, redecides, changing)
        arrays = (allocate or apart)(columns)
        self.model = self._preferring = self._delivered = model
        self._arrays = arrays
        self.scratch = arrays["scratch"]  # free between calls
        self.runner: Ticks | None = None
        self.size = size
        self.seed = seed
        self.threads = threads
        self.nbytes = total(columns)
        self._belief, self._action = arrays["belief"], arrays["action"]
        self._free_energy = arrays["free_energy"]
        self._belief[:] = 255
        self._action[:] = START
        self._base = TickBase(self._belief, arrays["base"], arrays["open"]) if redecides else None
        self._selection = (SELECTIONS.index(selection), int(stochastic))
        self.horizon, self.epistemic = model.depth, True
        self.added: Mapping[int, ArrayLike] | None = None
        self._core = kernel_args.core(model, arrays, size, threads, seed)
        self._plan()

    @staticmethod
    def columns(
        model: StoredModel, size: int, threads: int = 1, redecides: bool = False, changing: bool = False
    ) -> tuple[Column, ...]:
        """Return the arrays that a population needs, for the memory plan; ``changing``: it will ``adopt``.

        Raises
        ------
        ConfigError
            ``size`` or ``threads`` is out of range.
        """
        return kernel_args.columns(model, size, threads, redecides, changing)

    def step(self, observations: ArrayLike, agents: ArrayLike | None = None) -> NDArray[np.int64]:
        """Predict, infer, plan and act: one tick.

        Parameters
        ----------
        observations : array_like of int, shape (n, M)
            An outcome a modality; -1 is "not observed".
        agents : array_like of int, shape (n,), optional
            The agents that are stepped, distinct; default all, in order.

        Returns
        -------
        ndarray of int64, shape (n, F)
            The chosen control value of every factor.

        Raises
        ------
        ObservationError
            The message names agent and modality; no agent was stepped.
        """
        numbers = None if agents is None else agent_numbers(agents, self.size)
        self._return_to_base()
        if self.runner is None:
            return self._stepped(observations, numbers)
        return self.runner.around(lambda: self._stepped(observations, numbers), observations, numbers)

    def decide(
        self,
        observations: ArrayLike,
        agents: ArrayLike | None = None,
        *,
        soft: Mapping[int, ArrayLike] | None = None,
    ) -> NDArray[np.int64]:
        """Choose actions within a tick, from all that it has shown so far; arguments and result as
        ``step_with``.

        The next ``decide`` or ``step`` starts again from what the last ``step`` left, so that observations
        count once. Actions drawn are those that ``step`` would draw; contradictions are not counted.
        """
        if self._base is None:
            raise ConfigError("decide: the population was made without redecides")
        numbers = np.arange(self.size) if agents is None else agent_numbers(agents, self.size)
        self._base.open(*np.divmod(numbers, self._belief.shape[2]))
        core, standing, energy = self._core, self._action.copy(), self._free_energy.copy()
        tick, contradictions = core.tick, core.contradictions
        try:
            if not soft:
                return self._stepped(observations, numbers)
            return np.asarray(self._stepped_with(observations, numbers, soft))
        finally:
            self._action[:], self._free_energy[:] = standing, energy
            core.tick, core.contradictions = tick, contradictions

    def _stepped(self, observations: ArrayLike, numbers: NDArray[np.int64] | None) -> NDArray[np.int64]:
        try:
            return self._core.step(observations, numbers)
        except (TypeError, ValueError, BufferError):
            return self._core.step(outcomes(self.model, observations, numbers, self.size), numbers)

    def _return_to_base(self) -> None:
        if self._base is not None:
            self._base.close()

    def infer(self, observations: ArrayLike, agents: ArrayLike | None = None) -> None:
        """Update beliefs without planning; the last action stands. Arguments and errors as ``step``."""
        numbers = None if agents is None else agent_numbers(agents, self.size)
        self._return_to_base()
        table = outcomes(self.model, observations, numbers, self.size)
        if self.runner is None:
            self._core.infer(table, numbers)
        else:
            self.runner.around(lambda: self._core.infer(table, numbers), table, numbers)

    def step_with(
        self,
        observations: ArrayLike,
        agents: ArrayLike | None = None,
        *,
        soft: Mapping[int, ArrayLike] | None = None,
        evidence: Mapping[int, ArrayLike] | None = None,
        act: bool = True,
    ) -> NDArray[np.int64] | None:
        """Step with soft observations or evidence from outside.

        Parameters
        ----------
        observations, agents
            As in ``step``.
        soft : mapping of modality to array_like of float, shape (n, O_m)
            A distribution over outcomes in place of the modality's outcome; rows of zeros leave that as it
            is.
        evidence : mapping of factor to array_like of uint8, shape (n, S_f)
            Likelihood of the states as ``evidence.message`` gives it, from outside the model's modalities.
        act : bool
            False: beliefs are updated without planning, as by ``infer``.

        Returns
        -------
        ndarray of int64, shape (n, F), or None without ``act``
        """
        numbers = None if agents is None else agent_numbers(agents, self.size)
        self._return_to_base()
        run = partial(self._stepped_with, observations, numbers, soft, evidence, act)
        return run() if self.runner is None else self.runner.around(run, observations, numbers, soft)

    def _stepped_with(
        self,
        observations: ArrayLike,
        numbers: NDArray[np.int64] | None,
        soft: Mapping[int, ArrayLike] | None,
        evidence: Mapping[int, ArrayLike] | None = None,
        act: bool = True,
    ) -> NDArray[np.int64] | None:
        table = outcomes(self.model, observations, numbers, self.size)
        outside = evidence_tables(self.model, evidence, (1, len(table)), numbers)
        spread = soft_tables(self.model, soft, (1, len(table)), numbers)
        out = self._core.run(table[np.newaxis], numbers, outside, spread, None, None, None, None, act)
        self._core.tick += 1
        return out

    def rerun(
        self,
        observations: ArrayLike,
        actions: ArrayLike,
        agents: ArrayLike | None = None,
        *,
        start: NDArray[np.uint8] | None = None,
        evidence: Mapping[int, ArrayLike] | None = None,
    ) -> None:
        """Infer the last K ticks again, in one call, without planning: late evidence is folded in so.

        Parameters
        ----------
        observations : array_like of int, shape (K, n, M)
        actions : array_like of int, shape (K, n, F)
            The action executed before each of the ticks; -1: none, the beliefs are the prior.
        start : ndarray of uint8, shape (n, bytes of all beliefs), optional
            ``codes`` taken before the first of the ticks; default the beliefs as they stand.
        evidence : mapping of factor to array_like of uint8, shape (K, n, S_f)
            As in ``step_with``; 255 everywhere says nothing.

        Notes
        -----
        The last action and the tick stay as they are. Contradictions met again are not counted twice.
        """
        numbers = None if agents is None else agent_numbers(agents, self.size)
        count = self.size if numbers is None else len(numbers)
        table = outcomes(self.model, observations, numbers, self.size, ticks=True)
        executed = executed_actions(self.model, actions, (len(table), count))
        codes = None if start is None else start_codes(start, count, self.model.state_rows)
        outside = evidence_tables(self.model, evidence, table.shape[:2], numbers)
        seen = self._core.contradictions
        self._return_to_base()
        self._core.run(table, numbers, outside, None, executed, codes, None, None, False)
        self._core.contradictions = seen

    def plan(self, *, horizon: int | None = None, epistemic: bool = True) -> None:
        """Plan fewer steps ahead, or without the information gain, from now on (a board that is too hot).

        Parameters
        ----------
        horizon : int, optional
            1 to the model's ``depth``; default all of it.
        """
        self.horizon = self.model.depth if horizon is None else horizon
        self.epistemic = epistemic
        self._plan()

    def prefer(self, added: Mapping[int, ArrayLike] | None = None) -> None:
        """Plan towards C and ``added`` log-preferences, nats, (O_m,) a modality, from now on; None: C alone.

        Raises
        ------
        ModelError
            They don't fit the model; nothing was changed.
        """
        if added or self._preferring is not self.model:
            self._preferring = self.model.preferring(added) if added else self.model
            self.added = added
            self._plan()

    def _plan(self) -> None:
        plan = self._preferring.plan(self.horizon, self.epistemic)
        self._core.set_plan(
            plan.ops, plan.fold, plan.lists, plan.values, plan.penalties, self.horizon, *self._selection
        )

    def reset(self, agents: ArrayLike | None = None) -> None:
        """Start again from D: all agents, or some."""
        self._return_to_base()
        numbers = np.arange(self.size) if agents is None else agent_numbers(agents, self.size)
        tile, lane = np.divmod(numbers, self._belief.shape[2])
        self._belief[tile, :, lane] = 255
        self._action[tile, :, lane] = START
        self._free_energy[numbers] = 0.0

    def act(self, actions: ArrayLike, agents: ArrayLike | None = None) -> None:
        """Say which action was really executed, int (n, F), where it is not the one that ``step`` chose.

        -1 is "none": the beliefs are the next prior. An agent that has not begun begins with D regardless.
        """
        numbers = np.arange(self.size) if agents is None else agent_numbers(agents, self.size)
        executed = executed_actions(self.model, np.asarray(actions)[np.newaxis], (1, len(numbers)))[0]
        tile, lane = np.divmod(numbers, self._belief.shape[2])
        begun = self._action[tile, :, lane] != START
        self._action[tile, :, lane] = np.where(begun, np.where(executed < 0, STILL, executed), START)

    def codes(self, agents: ArrayLike | None = None) -> NDArray[np.uint8]:
        """Return the belief codes, uint8 (n, bytes of all beliefs): the start of a later ``rerun``.

        A belief has a byte a state; two, the low one first, where the model keeps it in 16 bits.
        """
        numbers = np.arange(self.size) if agents is None else agent_numbers(agents, self.size)
        tile, lane = np.divmod(numbers, self._belief.shape[2])
        return np.ascontiguousarray(self._belief[tile, :, lane])

    def likeliest(self, f: int, agent: int) -> tuple[int, float]:
        """Return the most probable state of factor ``f`` for one agent, and its probability."""
        beliefs = self.beliefs(f, [agent])[0]
        return int(beliefs.argmax()), float(beliefs.max())

    def beliefs(self, f: int, agents: ArrayLike | None = None) -> NDArray[np.float32]:
        """Return the beliefs about factor ``f``, float32 (n, S_f); D before the first observation."""
        numbers = np.arange(self.size) if agents is None else agent_numbers(agents, self.size)
        tile, lane = np.divmod(numbers, self._belief.shape[2])
        first, n = sum(self.model.code_rows[:f]), self.model.code_rows[f]
        codes = codes_from_bytes(self._belief[tile, first : first + n, lane], self.model.belief_bits[f])
        fourth = codes.astype(np.uint64 if codes.itemsize == 1 else np.float64) ** 4
        out = (fourth / fourth.sum(axis=1, keepdims=True)).astype(np.float32)
        fresh = self._action[tile, f, lane] == START
        if self._base is not None:
            fresh &= ~self._base.opened[tile, lane]
        out[fresh] = self.model.D[f]
        return np.asarray(out)

    def set_beliefs(self, f: int, beliefs: ArrayLike, agents: ArrayLike | None = None) -> None:
        """Set the beliefs about factor ``f``, float (n, S_f): the next prior. Not of agents with a window."""
        refuse_window(self.model, "beliefs from outside")
        self._return_to_base()
        numbers = np.arange(self.size) if agents is None else agent_numbers(agents, self.size)
        values = factor_beliefs(beliefs, numbers, f, self.model.num_states[f])
        first, rows = sum(self.model.code_rows[:f]), self.model.code_rows[f]
        tile, lane = np.divmod(numbers, self._belief.shape[2])
        place = tile[:, np.newaxis], np.arange(first, first + rows), lane[:, np.newaxis]
        self._belief[place] = belief_bytes(values, self.model.belief_bits[f])
        self._action[tile, f, lane] = STILL

    @property
    def state(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Belief codes [tile, code row, lane] and last actions [tile, factor, lane] as they lie in memory."""
        return self._belief, self._action

    def attend(self, runner: Ticks) -> None:
        """Let ``runner`` run each tick from now on, and keep its state with this one's."""
        self.runner = runner

    def adopt(self, model: StoredModel, tables: NDArray[np.float32]) -> None:
        """Go on with the delivered model, or one shaped as it whose tables are written into ``tables``."""
        tick, contradictions, added = self.tick, self.contradictions, self.added
        given = self._arrays if model is self._delivered else {**self._arrays, "tables": tables}
        self._core = kernel_args.core(model, given, self.size, self.threads, self.seed)
        self._core.tick, self._core.contradictions = tick, contradictions
        self.model, self._preferring = model, model.preferring(added) if added else model
        self._plan()

    def evaluate(self, agents: ArrayLike | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (``expected_free_energy``, ``policy_posterior``) of ``agents``, default all, in one pass."""
        numbers = None if agents is None else agent_numbers(agents, self.size)
        G = np.empty((self.size if numbers is None else len(numbers), len(self.model.policies)), np.float32)
        q_pi = np.empty_like(G)
        self._core.run(None, numbers, None, None, None, None, G, q_pi, False)
        return G, q_pi

    @property
    def expected_free_energy(self) -> NDArray[np.float32]:
        """Negative expected free energy of every policy, float32 (N, P), from the beliefs as they stand."""
        return self.evaluate()[0]

    @property
    def policy_posterior(self) -> NDArray[np.float32]:
        """Posterior over policies, float32 (N, P), from the beliefs as they stand."""
        return self.evaluate()[1]

    @property
    def free_energy(self) -> NDArray[np.float32]:
        """Variational free energy of the last update, nats, float32 (N,); 0 before the first."""
        return self._free_energy.copy()

    @property
    def contradictions(self) -> int:
        """Observations so far that the belief held impossible; the agent went on from the likelihood."""
        return self._core.contradictions

    @property
    def tick(self) -> int:
        """Calls of ``step`` and ``infer`` so far."""
        return self._core.tick

    @cached_property
    def _digest(self) -> str:
        return payload.digest(self._delivered)

    def checkpoint(self) -> bytes:
        """Return the whole state as the last step left it; ``restore`` continues from it bit for bit."""
        tile, lane = np.divmod(np.arange(self.size), self._belief.shape[2])
        beside = b"" if self.runner is None else self.runner.saved()
        belief = (self._belief if self._base is None else self._base.codes())[tile, :, lane]
        action = self._action.transpose(0, 2, 1).reshape(-1, self._action.shape[1])[: self.size]
        numbers = self.seed, self.tick, self.contradictions
        return beside + snapshot.pack(self._digest, *numbers, belief, action, self._free_energy)

    def restore(self, data: bytes) -> None:
        """Take over a checkpoint of a population of the same model, size and seed.

        Raises
        ------
        ConfigError
            It is damaged, or of another model, size or seed; nothing was changed.
        """
        own = partial(snapshot.unpack, digest=self._digest, size=self.size, seed=self.seed, model=self.model)
        state = own(data if self.runner is None else self.runner.restored(data, own))
        tile, lane = np.divmod(np.arange(self.size), self._belief.shape[2])
        self._return_to_base()
        self._belief[tile, :, lane] = state.belief
        self._action[tile, :, lane] = state.action
        self._free_energy[:] = state.free_energy
        self._core.tick = state.tick
        self._core.contradictions = state.contradictions
