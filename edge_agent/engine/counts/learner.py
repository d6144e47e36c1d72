"""Learning of a population: its ticks are counted, in whole units, and new codes are made of the counts.

Theory of operation. A tick's lesson needs the beliefs and actions from before it. They are copied, the
population ticks, and the kernel (counts.c) adds the products of the beliefs, rounded once each, to one vector
of integers: one for all agents, or one an agent. Nothing of a population that has no learner changes.

What is counted is increments alone. Concentrations, learning rates and the model are applied when a new model
is made (``recode``), so that counts can be added over agents, devices and time in any order. Every ``every``
ticks the codes of the new model are written into the one of two sets of arrays that is not in use, and the
population adopts them. What goes wrong for the first agents on the way is seen by the guard: then the
population runs the delivered model again, and goes on counting, until ``reset``.

All of it is planned memory, and part of the population's checkpoint: counts, codes in force, and the guard's
window. A recording that begins with that checkpoint is decided again with the same bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import _counts, payload
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.engine.counts.guard import Guard
from edge_agent.engine.counts.recode import SETS, Recoder
from edge_agent.engine.counts.units import Layout, kernel_tables, layout
from edge_agent.engine.input_checks import outcomes
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.engine.ticks import Result
from edge_agent.errors import ConfigError, ModelError
from edge_agent.memory.arena import Allocate, Column, apart, total
from edge_agent.wire.increments import MAX_CELLS, Counts, Increments

SCOPES = ("population", "agent")
MAGIC = "edge-agent learned 1"


class Learner:
    """Counts what a population's agents see and do, and lets it adopt what they learned.

    Parameters
    ----------
    population : Population
        Made with ``changing`` if ``every`` is not 0. Its ticks are counted from now on.
    concentrations : Concentrations
        Which tensors learn.
    scope : {"population", "agent"}
        One set of counts for all agents, or one an agent.
    every : int
        Ticks between new codes; 0: none are made. With scope "population" alone.
    epochs : bool
        Whether ``take_epoch`` will be called: takes as much memory again as the counts. With scope
        "population" alone.
    allocate : callable, optional
        As in ``Population``, for the columns of ``columns``.
    """

    def __init__(
        self,
        population: Population,
        concentrations: Concentrations,
        scope: str = "population",
        every: int = 0,
        allocate: Allocate | None = None,
        *,
        epochs: bool = False,
    ) -> None:
        model = population.model
        columns = self.columns(model, population.size, concentrations, scope, every, epochs)
        arrays = (allocate or apart)(columns)
        self.population, self.scope, self.every = population, scope, every
        self.model = payload.digest(model)
        self.layout = counted(model, concentrations)
        self.tensors = described(self.layout)
        self.nbytes = total(columns)
        self.updates = self.ticks = self.swaps = self.falls = 0
        """Agents' ticks that were counted, ticks, new codes, and returns to the delivered model."""
        self.fallen = False
        """Whether the delivered model runs since the guard found what was learned to be worse."""
        self.epoch = self._taken_updates = 0
        """Epochs that were taken out."""
        self._taken = arrays.get("counts_taken")
        self.delivered = self.decided = model
        """The model as delivered, and the one that decided the last tick."""
        self._set = 0
        self._units, self._scratch = arrays["counts"], arrays["count_scratch"]
        self._belief, self._action = arrays["belief_before"], arrays["action_before"]
        self._factors, self._tables = kernel_tables(model, self.layout)
        self._recoder: Recoder[StoredModel] | None = None
        if every:
            self._recoder = Recoder(model, concentrations, self.layout.tensors, arrays, population.size)
            self._guard = Guard(population, model, arrays)
            self._kernel_tables = arrays["learned_tables"]
        population.attend(self)

    @staticmethod
    def columns(
        model: StoredModel,
        size: int,
        concentrations: Concentrations,
        scope: str = "population",
        every: int = 0,
        epochs: bool = False,
    ) -> tuple[Column, ...]:
        """Return the arrays that learning needs beside the population's, for the memory plan.

        Raises
        ------
        ConfigError, ModelError
            The scope is unknown, nothing learns, or the counts have too many cells.
        """
        if scope not in SCOPES:
            raise ConfigError(f"learn: {scope!r}, expected one of {', '.join(SCOPES)}")
        if (every or epochs) and scope != "population":
            raise ConfigError(
                "learn: new codes or epochs of counts of an agent each, expected scope population"
            )
        plan = counted(model, concentrations)
        if not plan.tensors:
            raise ModelError("learn: the model has no concentrations, expected pA, pB or pD")
        if plan.cells > MAX_CELLS:
            raise ModelError(f"learn: {plan.cells} cells, expected at most {MAX_CELLS}")
        factors, _ = kernel_tables(model, plan)
        own = {column.name: column for column in Population.columns(model, size)}
        codes: tuple[Column, ...] = ()
        if every:
            floats = Recoder.table_floats(model, concentrations, size)
            codes = (
                *Recoder.columns(model, concentrations, size),
                Column("learned_tables", (SETS, floats), np.float32),
                *Guard.columns(model, size),
            )
        return (
            Column("counts", (size if scope == "agent" else 1, plan.cells), np.int64),
            *((Column("counts_taken", (plan.cells,), np.int64),) if epochs else ()),
            Column("belief_before", own["belief"].shape, np.uint8),
            Column("action_before", own["action"].shape, np.uint8),
            Column("count_scratch", (_counts.scratch_bytes(factors),), np.uint8),
            *codes,
        )

    @property
    def before(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """``Population.state`` from before the last tick."""
        return self._belief, self._action

    @property
    def full(self) -> bool:
        """Whether another tick could overflow the counts: nothing is counted any more."""
        return self.updates + self.population.size > self.layout.capacity

    def around(
        self,
        tick: Callable[[], Result],
        observations: ArrayLike,
        agents: NDArray[np.int64] | None,
        soft: Mapping[int, ArrayLike] | None = None,
    ) -> Result:
        """Run a tick of ``agents`` (None: all) and count it. A soft outcome adds nothing to A."""
        if self.full:
            return tick()
        population = self.population
        found = outcomes(population.model, observations, agents, population.size)
        table = np.array(found, dtype=np.int64, order="C")
        for modality, weights in (soft or {}).items():
            table[np.asarray(weights).any(axis=1), modality] = -1
        self._belief[:], self._action[:] = population.state
        self.decided = population.model
        if self.every:
            self._guard.before()
        result = tick()
        self._add(table, agents)
        self.ticks += 1
        if self.every:
            self._guard.after(table, agents)
            if self.ticks % self.every == 0:
                self._renew()
        return result

    def _renew(self) -> None:
        """Make new codes and let the population adopt them; or return to the delivered model."""
        if self._recoder is None or self.fallen:
            return
        if self.swaps and self._guard.failed():
            self._fall()
        else:
            self._set = 1 - self._set
            self._adopt(self._recoder.made(self._units[0], self._set))
            self.swaps += 1
        self._guard.begin()

    def _fall(self) -> None:
        self.falls += 1
        self.fallen = True
        self._set = 1 - self._set
        self._adopt(self.delivered)

    def _adopt(self, model: StoredModel) -> None:
        self.population.adopt(model, self._kernel_tables[self._set])

    def _add(self, table: NDArray[np.int64], numbers: NDArray[np.int64] | None) -> None:
        self.updates += len(table)
        belief, _ = self.population.state
        _counts.add(
            self._units,
            self._scratch,
            self._factors,
            self._tables,
            self._belief,
            belief,
            self._action,
            table,
            numbers,
            belief.shape[2],
        )

    def increments(self, agent: int | None = None) -> Increments:
        """Return a copy of what was counted: by all agents, or by one (scope "agent").

        Raises
        ------
        ConfigError
            ``agent`` has no counts of its own.
        """
        if agent is None:
            units = self._units.sum(axis=0)
        elif self.scope == "agent" and 0 <= agent < self.population.size:
            units = self._units[agent].copy()
        else:
            raise ConfigError(f"learn: agent {agent} has no counts of its own")
        return Increments(self.model, self.tensors, self.updates, units)

    def take_epoch(self) -> Increments:
        """Return what was counted since the last call, or since the beginning, and begin a new epoch.

        What the population itself learned stays: it goes on with all counts. The sum of all epochs is
        ``increments``.

        Raises
        ------
        ConfigError
            The learner was made without ``epochs``.
        """
        if self._taken is None:
            raise ConfigError("learn: epochs of a learner that was made without them")
        out = Increments(
            self.model, self.tensors, self.updates - self._taken_updates, self._units[0] - self._taken
        )
        self._taken[:], self._taken_updates = self._units[0], self.updates
        self.epoch += 1
        return out

    def restore(self, increments: Increments) -> None:
        """Go on counting from ``increments`` (scope "population").

        Raises
        ------
        ConfigError
            They are of another model or of other tensors; nothing was changed.
        """
        if self.scope != "population":
            raise ConfigError("learn: counts of an agent each are not restored from one sum")
        self._fits(increments)
        self._units[0] = increments.units
        self.updates = increments.updates

    def _take(self, taken: Increments | None) -> None:
        """Let what was taken out so far be ``taken``, or nothing."""
        self._taken_updates = 0 if taken is None else taken.updates
        if self._taken is not None:
            self._taken[:] = 0 if taken is None else taken.units

    def _fits(self, increments: Increments) -> None:
        if (increments.model, increments.tensors) != (self.model, self.tensors):
            raise ConfigError(
                f"learn: counts of model {increments.model[:12]}, expected {self.model[:12]} and its tensors"
            )

    def reset(self) -> None:
        """Forget all counts, and run the delivered model again."""
        self._units[:] = 0
        self.updates = 0
        self._take(None)
        self.fallen = False
        if self.every and self.swaps:
            self._set = 1 - self._set
            self._adopt(self.delivered)
            self.swaps = 0
            self._guard.begin()

    def figures(self) -> dict[str, int | float]:
        """Return what was counted and adopted; ``fallen`` and ``full`` are 0 or 1."""
        return {
            "updates": self.updates,
            "swaps": self.swaps,
            "falls": self.falls,
            "fallen": int(self.fallen),
            "full": int(self.full),
        }

    def saved(self) -> bytes:
        """Return the state: a line of JSON, the counts, and the codes in force.

        Raises
        ------
        ConfigError
            Counts of an agent each are not saved.
        """
        if self.scope != "population":
            raise ConfigError("learn: counts of an agent each are not saved")
        running = self._recoder is not None and self.swaps > 0 and not self.fallen
        codes = self._recoder.saved(self.population.model) if self._recoder and running else b""
        counts, taken = self.increments().encoded(), b""
        if self._taken is not None:
            taken = Increments(self.model, self.tensors, self._taken_updates, self._taken.copy()).encoded()
        head = {
            "magic": MAGIC,
            "counts": len(counts),
            "taken": len(taken),
            "codes": len(codes),
            "sha256": hashlib.sha256(counts + taken + codes).hexdigest(),
            "epoch": self.epoch,
            "ticks": self.ticks,
            "swaps": self.swaps,
            "falls": self.falls,
            "fallen": self.fallen,
            "guard": self._guard.saved() if self.every else None,
        }
        return json.dumps(head).encode("ascii") + b"\n" + counts + taken + codes

    def restored(self, data: bytes, check: Callable[[bytes], object]) -> bytes:
        """Take the state from the beginning of ``data`` and return the rest, once ``check`` has passed it.

        Raises
        ------
        ConfigError
            It is damaged or of another model; nothing was changed but codes that are not in use.
        """
        line, _, body = data.partition(b"\n")
        try:
            head = json.loads(line)
            magic, digest, guard = head["magic"], head["sha256"], head["guard"]
            sizes = [int(head[key]) for key in ("counts", "taken", "codes")]
            ticks, swaps, falls, epoch = (int(head[key]) for key in ("ticks", "swaps", "falls", "epoch"))
            fallen = bool(head["fallen"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError("checkpoint: not one of a population that learns") from error
        first, cut, end = accumulate(sizes)
        if magic != MAGIC or min(*sizes, ticks, swaps, falls, epoch) < 0 or end > len(body):
            raise ConfigError("checkpoint: not one of a population that learns")
        if hashlib.sha256(body[:end]).hexdigest() != digest:
            raise ConfigError("checkpoint: learned state is damaged")
        check(body[end:])
        try:
            increments = Increments.decoded(body[:first])
            taken = Increments.decoded(body[first:cut]) if cut > first else None
        except ModelError as error:
            raise ConfigError(f"checkpoint: {error}") from error
        self._fits(increments)
        if taken is not None:
            self._fits(taken)
        running = self.delivered
        if self._recoder is not None and end > cut:
            running = self._recoder.restored(body[cut:end], 1 - self._set)
        if self.every:
            try:
                self._guard.restore(guard)
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError("checkpoint: the guard's window is damaged") from error
            self._set = 1 - self._set
            self._adopt(running)
        self._units[0], self.updates = increments.units, increments.updates
        self.ticks, self.swaps, self.falls, self.fallen = ticks, swaps, falls, fallen
        self.epoch = epoch
        self._take(taken)
        return body[end:]


def counted(model: StoredModel, concentrations: Concentrations) -> Layout:
    """Return where the counts of what learns lie."""
    return layout(model, concentrations.learned)


def described(plan: Layout) -> tuple[Counts, ...]:
    """Return a layout as it stands with increments."""
    return tuple(Counts(tensor.name, tensor.shape, tensor.bits) for tensor in plan.tensors)
