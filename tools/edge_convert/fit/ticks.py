"""Puts recorded readings into ticks, as the model takes them.

Theory of operation. Ticks are counted from the first reading; a tick's boundaries lie half a tick before and
after, so readings that come once per tick, a little early or late, fall into one each. Of several readings in
a tick the newest stands for it, or their mean or maximum (``reduce``). The action of a tick is the one that
stood at its end. A gap of ``GAP_TICKS`` without any reading ends a segment; nothing is learned across it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError
from edge_agent.wire.readings import NOT_OBSERVED, Readings
from edge_convert.fit.template import ControlTemplate, ModalityTemplate, Template, seconds_since_1970

GAP_TICKS = 50
MAX_TICKS = 2_000_000
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive ticks of one agent.

    Attributes
    ----------
    agent : str
    first : int
        Number of the first tick.
    values : float64 array (T, M)
        Readings in the units of the modalities, or numbers of labels; NaN: not observed.
    codes : int64 array (T, M)
        Bins of the device where only they were recorded; else -1.
    actions : int64 array (T, C)
        Numbers of the controls' values.
    """

    agent: str
    first: int
    values: FloatArray
    codes: IntArray
    actions: IntArray

    def part(self, begin: int, end: int) -> Segment:
        """Return its ticks from ``begin`` to before ``end``, counted from its own first."""
        return replace(
            self,
            first=self.first + begin,
            values=self.values[begin:end],
            codes=self.codes[begin:end],
            actions=self.actions[begin:end],
        )

    def __len__(self) -> int:
        return len(self.values)


def segments(readings: Readings, template: Template, where: str) -> list[Segment]:
    """Return the readings in ticks.

    Raises
    ------
    ConfigError
        A modality, label or value is not the template's, or there are no readings.
    """
    if not len(readings.time):
        raise ConfigError(f"{where}: found no readings; expected some")
    tick, start = template.tick_seconds, float(readings.time[0])
    numbers = np.floor((readings.time - start) / tick + 0.5).astype(np.int64)
    if numbers[-1] >= MAX_TICKS:
        expected = f"at most {MAX_TICKS} of {tick:g} s"
        raise ConfigError(f"{where}: found {numbers[-1] + 1} ticks; expected {expected}")
    columns = [_column(readings, modality, where) for modality in template.modality]
    controls = [_control(readings, control, where) for control in template.control]
    relabelled = [_relabel(readings, m, c, where) for m, c in zip(template.modality, columns, strict=True)]
    found: list[Segment] = []
    for agent, name in enumerate(readings.agents):
        own = readings.agent == agent
        if not own.any():
            continue
        base, last = int(numbers[own].min()), int(numbers[own].max())
        count = last - base + 1
        values = np.full((count, len(columns)), np.nan)
        codes = np.full((count, len(columns)), NOT_OBSERVED, np.int64)
        for m, column in enumerate(columns):
            chosen = own & (readings.modality == column) if column is not None else np.zeros_like(own)
            at = numbers[chosen] - base
            raw, bins = relabelled[m][chosen], readings.bin[chosen]
            values[:, m], codes[:, m] = _reduced(template.modality[m], at, raw, bins, count, tick)
        closes = np.asarray(start + (base + np.arange(count) + 0.5) * tick, np.float64)
        actions = np.zeros((count, len(controls)), np.int64)
        for c, (number, numbering, default) in enumerate(controls):
            actions[:, c] = _standing(readings, agent, number, numbering, default, closes)
        found += _split(Segment(name, base, values, codes, actions))
    if sum(len(segment) for segment in found) > MAX_TICKS:
        raise ConfigError(f"{where}: found more than {MAX_TICKS} ticks of all agents; expected fewer")
    return found


def split_at(found: Sequence[Segment], tick: int) -> tuple[list[Segment], list[Segment]]:
    """Return the segments before tick number ``tick``, and those from it on."""
    before, after = [], []
    for segment in found:
        place = min(max(tick - segment.first, 0), len(segment))
        if place:
            before.append(segment.part(0, place))
        if place < len(segment):
            after.append(segment.part(place, len(segment)))
    return before, after


def _column(readings: Readings, modality: ModalityTemplate, where: str) -> int | None:
    """Return the number of a modality in the readings; None if it is not among them and need not be."""
    names = [entry.name for entry in readings.modalities]
    for name in (modality.reading, modality.name):
        if name in names:
            return names.index(name)
    if modality.likelihood != "learned":
        return None
    wanted = modality.reading or modality.name
    raise ConfigError(f"{where}: found modalities {', '.join(names) or 'none'}; expected {wanted} among them")


def _relabel(readings: Readings, modality: ModalityTemplate, column: int | None, where: str) -> FloatArray:
    """Return the readings with the file's labels numbered as the template's."""
    if column is None or not (modality.labels and readings.modalities[column].labels):
        return readings.value
    theirs = readings.modalities[column].labels
    own = readings.modality == column
    numbers = readings.value[own]
    used = np.unique(numbers[~np.isnan(numbers)]).astype(np.int64)
    table = np.full(len(theirs) + 1, np.nan)
    for number in used:
        label = theirs[number] if 0 <= number < len(theirs) else str(number)
        if label not in modality.labels:
            expected = f"one of {', '.join(modality.labels)}, the template's labels"
            raise ConfigError(f"{where}: {modality.name}: found {label!r}; expected {expected}")
        table[number] = modality.labels.index(label)
    values = readings.value.copy()
    values[own] = table[np.where(np.isnan(numbers), len(theirs), numbers).astype(np.int64)]
    return values


def _control(readings: Readings, control: ControlTemplate, where: str) -> tuple[int | None, IntArray, int]:
    """Return the control's number in the readings, what its values are called there, and the default."""
    default = control.values.index(control.default) if control.default else 0
    name = control.reading or control.name
    for number, entry in enumerate(readings.controls):
        if entry.name not in (control.reading, control.name):
            continue
        used = set(readings.action[readings.action_control == number].tolist())
        for code, value in enumerate(entry.values):
            if code in used and value not in control.values:
                expected = f"one of {', '.join(control.values)}, the template's values"
                raise ConfigError(f"{where}: control {name}: found {value!r}; expected {expected}")
        known = [control.values.index(v) if v in control.values else default for v in entry.values]
        return number, np.array(known, np.int64), default
    return None, np.zeros(0, np.int64), default


def _reduced(
    modality: ModalityTemplate, at: IntArray, raw: FloatArray, bins: IntArray, count: int, tick: float
) -> tuple[FloatArray, IntArray]:
    """Return the value and the recorded bin of each of ``count`` ticks."""
    value, code = np.full(count, np.nan), np.full(count, NOT_OBSERVED, np.int64)
    event = np.full(count, -1)
    event[at] = at
    known = ~np.isnan(raw)
    if modality.reduce == "last":
        value[at], code[at] = raw, bins  # of equal indices the last assignment stays, and times ascend
    elif modality.reduce == "mean":
        sums, hits = np.zeros(count), np.zeros(count)
        np.add.at(sums, at[known], raw[known])
        np.add.at(hits, at[known], 1.0)
        np.divide(sums, hits, out=value, where=hits > 0)
    else:
        most = np.full(count, -np.inf)
        np.maximum.at(most, at[known], raw[known])
        value = np.where(np.isinf(most), np.nan, most)
    code[~np.isnan(value)] = NOT_OBSERVED
    if modality.silence == "unchanged":
        last = np.maximum.accumulate(event)
        stands = (last >= 0) & ((np.arange(count) - last) * tick <= modality.stale_s)
        value = np.where(stands, value[last], np.nan)
        code = np.where(stands, code[last], NOT_OBSERVED)
    return value, code


def _standing(
    readings: Readings, agent: int, number: int | None, numbering: IntArray, default: int, closes: FloatArray
) -> IntArray:
    """Return the action that stood at the end of each tick."""
    if number is None:
        return np.full(len(closes), default, np.int64)
    own = (readings.action_agent == agent) & (readings.action_control == number)
    last = np.searchsorted(readings.action_time[own], closes, side="right") - 1
    actions = numbering[readings.action[own]]
    if not len(actions):
        return np.full(len(closes), default, np.int64)
    return np.where(last >= 0, actions[np.maximum(last, 0)], default)


def _split(segment: Segment) -> Iterator[Segment]:
    """Yield the parts of a segment between long gaps."""
    observed = (~np.isnan(segment.values) | (segment.codes >= 0)).any(axis=1)
    ticks = np.flatnonzero(observed)
    if not ticks.size:
        return
    breaks = np.flatnonzero(np.diff(ticks) > GAP_TICKS)
    begins = [int(ticks[0]), *ticks[breaks + 1].tolist()]
    ends = [*(ticks[breaks] + 1).tolist(), int(ticks[-1]) + 1]
    for begin, end in zip(begins, ends, strict=True):
        yield segment.part(begin, end)


def held_out_tick(readings: Readings, template: Template, found: Sequence[Segment], where: str) -> int:
    """Return the number of the first held-out tick.

    Raises
    ------
    ConfigError
        No ticks are left for learning, or none for the test.
    """
    end = max(segment.first + len(segment) for segment in found)
    if isinstance(template.held_out, float):
        tick = math.floor(end * (1.0 - template.held_out))
    else:
        since = seconds_since_1970(template.held_out)
        tick = math.ceil((since - float(readings.time[0])) / template.tick_seconds)
    if not 0 < tick < end:
        raise ConfigError(f"{where}: held_out: found no ticks before or after it; expected both")
    return tick
