"""Maps readings to the model's bins (modalities) and the model's actions to values (controls).

Theory of operation. A model's ``meta`` names its modalities (unit, bin edges or labels) and controls (the
values of its actions). A reading x falls into bin ``searchsorted(edges, x, side="right")``; a modality
without edges takes the bin's number itself, or one of its labels. Unnamed modalities and controls are named
by their number. A reading that cannot be used is a `Fault`, never an exception: sensors may send anything.

A network observes numbers, not bins: its modalities have size 0, readings are what they are, and a column of
them is float32 with NaN for "not observed".
"""

from __future__ import annotations

import enum
import itertools
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError

NOT_OBSERVED = -1
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Fault(enum.Enum):
    """Why a reading was ignored."""

    NOT_JSON = "not_json"
    NOT_A_NUMBER = "not_a_number"
    NOT_PROBABILITIES = "not_probabilities"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    NO_SUCH_KEY = "no_such_key"
    BAD_ARRAY = "bad_array"
    BAD_STAMP = "bad_stamp"


class Modality:
    """One kind of observation: ``name``, ``unit``, and how a reading becomes one of ``size`` bins.

    With size 0 there are no bins: it is the number itself.
    """

    def __init__(
        self, name: str, size: int, unit: str, edges: Sequence[float], labels: Sequence[str]
    ) -> None:
        self.name = name
        self.size = size
        self.unit = unit
        self.edges = tuple(float(edge) for edge in edges)
        self.labels = tuple(labels)

    def encode(self, value: Any) -> float | Fault:
        """Return the bin of a reading as JSON gives it: number, boolean, label or number as text."""
        if isinstance(value, str):
            if value in self.labels:
                return self.labels.index(value)
            try:
                value = float(value)
            except ValueError:
                return Fault.NOT_A_NUMBER
        if not isinstance(value, int | float):
            return Fault.NOT_A_NUMBER
        if isinstance(value, float) and not math.isfinite(value):
            return Fault.NOT_A_NUMBER
        if not self.size:
            return float(value) if abs(value) <= FLOAT32_MAX else Fault.OUT_OF_RANGE
        if self.edges:
            return bisect_right(self.edges, value)
        if value != int(value) or not 0 <= value < self.size:
            return Fault.OUT_OF_RANGE
        return int(value)

    def holds(self, code: float) -> bool:
        """Whether ``code`` is one of the bins."""
        return not self.size or 0 <= code < self.size

    def encode_column(self, values: NDArray[np.float32]) -> tuple[NDArray[Any], int]:
        """Return the bins of many readings (NaN: not observed), and how many readings were out of range."""
        known = np.isfinite(values)
        if not self.size:
            return np.where(known, values, np.nan), int(np.count_nonzero(np.isinf(values)))
        if self.edges:
            codes = np.searchsorted(self.edges, values, side="right").astype(np.int16)
        else:
            known &= (values >= 0) & (values < self.size)
            codes = np.where(known, values, 0).astype(np.int16)
        codes[~known] = NOT_OBSERVED
        return codes, int(np.count_nonzero(~known & ~np.isnan(values)))

    def text(self, code: float) -> str:
        """Return what bin ``code`` means, for people."""
        if not self.size:
            return "-" if math.isnan(code) else f"{code:g} {self.unit}".rstrip()
        code = int(code)
        if code < 0:
            return "-"
        if self.labels:
            return self.labels[code]
        if not self.edges:
            return str(code)
        low = f"{self.edges[code - 1]:g}" if code > 0 else ""
        high = f"{self.edges[code]:g}" if code < len(self.edges) else ""
        return f"{low}..{high} {self.unit}".rstrip()


class Control:
    """One kind of action: ``name`` and the ``values`` of its actions."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        self.name = name
        self.values = tuple(values)

    def texts(self) -> list[str]:
        """Return the values as written in payloads."""
        return [text_of(value) for value in self.values]


def text_of(value: Any) -> str:
    """Return a value as written in payloads: ``true`` and ``false`` for booleans, text unchanged."""
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


class Output(NamedTuple):
    """What actions mean outside: the ``control``, in which column of the actions it is, and, where several
    controls share a column, which of its values each of the column's actions is (``part``). ``columns`` are
    all columns that depend on the control: ``column``, and others that have the same control.
    """

    control: Control
    column: int
    part: NDArray[np.int16] | None
    columns: tuple[int, ...]


class Binding:
    """The modalities and controls of one model.

    A model that was exported with several controls per factor (pymdp's ``B_action_dependencies``) has one
    flattened action per factor: ``action_maps`` in ``meta`` says which of the agent's own controls lie in it,
    and ``controls`` there names those.

    Parameters
    ----------
    meta : mapping
        ``modalities``, ``factors`` and ``controls`` as the bundle's io binding has them; may be empty.
    num_obs, num_controls : sequence of int
        Bins of each modality (0 for all of them: numbers), actions of each control.
    where : str
        The bundle's path, for messages.
    """

    def __init__(
        self, meta: Mapping[str, Any], num_obs: Sequence[int], num_controls: Sequence[int], where: str
    ) -> None:
        self.where = where
        self.dtype: type[np.float32 | np.int16] = np.int16 if all(num_obs) else np.float32
        self.missing = NOT_OBSERVED if all(num_obs) else math.nan
        modalities = meta.get("modalities") or [{}] * len(num_obs)
        maps = _action_maps(meta, num_controls, where)
        own = (
            len(num_controls) if maps is None else 1 + max((c for m in maps for c in m.controls), default=-1)
        )
        controls = meta.get("controls") or [{}] * own
        self.tick_s = _tick_seconds(meta, where)
        """Seconds per tick of the model; None if ``meta`` does not state it."""
        if len(modalities) != len(num_obs):
            raise ConfigError(f"{where}: io names {len(modalities)} modalities, the model has {len(num_obs)}")
        if len(controls) != own:
            raise ConfigError(f"{where}: io names {len(controls)} controls, the model has {own}")
        self.modalities = tuple(
            self._modality(number, entry, size)
            for number, (entry, size) in enumerate(zip(modalities, num_obs, strict=True))
        )
        self.seen = seen_counts(meta, num_obs, where)
        """For each modality how often each bin was seen in what the model was made of; () if unknown."""
        if maps is None:
            self.controls = tuple(
                self._control(number, entry, size)
                for number, (entry, size) in enumerate(zip(controls, num_controls, strict=True))
            )
            self.outputs = tuple(
                Output(c, n, None, tuple(i for i, other in enumerate(self.controls) if other.name == c.name))
                for n, c in enumerate(self.controls)
            )
        else:
            self.outputs = tuple(self._own(number, entry, maps) for number, entry in enumerate(controls))
            self.controls = tuple(
                self._flattened(map_, size) for map_, size in zip(maps, num_controls, strict=True)
            )

    def _modality(self, number: int, entry: Mapping[str, Any], size: int) -> Modality:
        edges = entry.get("edges") or ()
        labels = entry.get("labels") or entry.get("values") or ()
        name = str(entry.get("name", number))
        if edges and len(edges) + 1 != size:
            raise ConfigError(
                f"{self.where}: modality {name}: {len(edges)} edges make {len(edges) + 1} bins, "
                f"the model has {size}"
            )
        if labels and len(labels) != size:
            raise ConfigError(
                f"{self.where}: modality {name}: {len(labels)} labels, the model has {size} bins"
            )
        return Modality(name, size, str(entry.get("unit") or ""), edges, [str(label) for label in labels])

    def _control(self, number: int, entry: Mapping[str, Any], size: int) -> Control:
        values = entry.get("values") or list(range(size))
        name = str(entry.get("name", number))
        if len(values) != size:
            raise ConfigError(
                f"{self.where}: control {name}: {len(values)} values, the model has {size} actions"
            )
        return Control(name, values)

    def _own(self, number: int, entry: Mapping[str, Any], maps: Sequence[_ActionMap]) -> Output:
        """Return one of the agent's own controls; the last factor that has it decides, as in pymdp."""
        having = tuple(f for f, m in enumerate(maps) if number in m.controls)
        column, found = having[-1], maps[having[-1]]
        place = found.controls.index(number)
        part = np.indices(found.sizes)[place].ravel().astype(np.int16)
        return Output(self._control(number, entry, found.sizes[place]), column, part, having)

    def _flattened(self, found: _ActionMap, size: int) -> Control:
        """Return the control of a factor's flattened actions: the names and values of its parts, joined."""
        parts = [self.outputs[c].control for c in found.controls]
        values = ["+".join(map(str, one)) for one in itertools.product(*(p.values for p in parts))]
        return Control("+".join(p.name for p in parts) or "-", values if parts else range(size))

    @property
    def infers(self) -> bool:
        """Whether the model is one of agents that infer, and not a network."""
        return self.dtype is np.int16

    def observed(self, codes: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of ``codes`` (N, M) are observations."""
        known: NDArray[np.bool_] = codes != NOT_OBSERVED if self.dtype is np.int16 else ~np.isnan(codes)
        return known

    def same(self, other: Binding) -> bool:
        """Whether readings and actions mean the same in both."""
        return (
            self.tick_s == other.tick_s
            and [vars(m) for m in (*self.modalities, *self.controls)]
            == [vars(m) for m in (*other.modalities, *other.controls)]
            and [o.control.name for o in self.outputs] == [o.control.name for o in other.outputs]
        )

    def modality(self, name: str, key: str) -> int:
        """Return the number of the modality called ``name``; ``key`` is where it was asked for."""
        return find_name([m.name for m in self.modalities], name, f"{key}: {self.where} has no modality")

    def output(self, name: str, key: str) -> Output:
        """Return the output of the control called ``name``; ``key`` is where it was asked for."""
        names = [output.control.name for output in self.outputs]
        return self.outputs[find_name(names, name, f"{key}: {self.where} has no control")]


def seen_counts(meta: Mapping[str, Any], num_obs: Sequence[int], where: str) -> tuple[tuple[float, ...], ...]:
    """Return the counts of bins that ``meta`` states for each modality (``seen``), () where it states none.

    Raises
    ------
    ConfigError
        They are not one number from 0 for each bin.
    """
    rows: list[tuple[float, ...]] = []
    for number, (entry, size) in enumerate(
        zip(meta.get("modalities") or [{}] * len(num_obs), num_obs, strict=True)
    ):
        counts = entry.get("seen")
        if counts is None or not size:
            rows.append(())
            continue
        name = entry.get("name", number)
        numbers = isinstance(counts, list) and all(
            type(count) in (int, float) and 0 <= count < math.inf for count in counts
        )
        if not numbers or len(counts) != size:
            raise ConfigError(f"{where}: modality {name}: seen: found {counts!r}, expected {size} counts")
        rows.append(tuple(float(count) for count in counts))
    return tuple(rows)


class _ActionMap(NamedTuple):
    """Which of the agent's own controls a factor's flattened action is made of, and how many values they
    have.
    """

    controls: tuple[int, ...]
    sizes: tuple[int, ...]


def _action_maps(
    meta: Mapping[str, Any], num_controls: Sequence[int], where: str
) -> tuple[_ActionMap, ...] | None:
    """Return the maps of a model with flattened actions, None where there are none."""
    stated = meta.get("action_maps")
    if stated is None:
        return None
    try:
        maps = tuple(_ActionMap(tuple(map(int, m["controls"])), tuple(map(int, m["sizes"]))) for m in stated)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: action_maps: expected controls and sizes for each factor") from error
    used = {c for m in maps for c in m.controls}
    fits = len(maps) == len(num_controls) and all(
        len(m.controls) == len(m.sizes) and math.prod(m.sizes) == n
        for m, n in zip(maps, num_controls, strict=True)
    )
    if not fits or used != set(range(len(used))):
        raise ConfigError(f"{where}: action_maps do not fit the model's actions {list(num_controls)}")
    return maps


def _tick_seconds(meta: Mapping[str, Any], where: str) -> float | None:
    value = meta.get("tick_seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise ConfigError(f"{where}: io.tick_seconds: found {value!r}, expected seconds above 0")
    return float(value)


def find_name(names: Sequence[str], name: str, message: str) -> int:
    """Return the place of ``name``, which may be given as its number; raises ConfigError with ``message``."""
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(names):
        return int(name)
    raise ConfigError(f"{message} {name!r}, expected one of {', '.join(names)}")
