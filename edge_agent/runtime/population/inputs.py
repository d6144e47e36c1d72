"""Inputs of one population: messages on its topics, bulk arrays, and readings of its sources.

Theory of operation. Each reading becomes a bin (`runtime.population.channels`) and goes into the population's
observations, with the time at which it arrived. Invalid input is counted by its `Fault` and ignored: sensors
may send anything. A message that a device is offline (``availability``) discards the device's observations;
later readings count again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.records import AvailabilityConfig, ObserveConfig
from edge_agent.engine.binding import FLOAT32_MAX, Binding, Fault
from edge_agent.errors import PeerError
from edge_agent.runtime.population.channels import (
    Channel,
    ValueField,
    offline,
    parse,
    parse_array,
    resolve,
    unix_time,
)
from edge_agent.runtime.population.counters import GroupCounters
from edge_agent.runtime.population.observations import Observations, Wake
from edge_agent.wire.messages import decode


class Source(Protocol):
    """Readings that are no messages: files, a trace, a plug-in."""

    @property
    def bins(self) -> bool:
        """Whether the numbers are bins already."""

    def read(self) -> Sequence[tuple[int, float]]:
        """Return what is new, (agent, number), without waiting."""

    def close(self) -> None:
        """Let go of what it holds."""


class ReadingNumbers:
    """The newest readings of some modalities as numbers in their units, for telemetry.

    Parameters
    ----------
    columns : sequence of (int, ndarray of float32)
        A modality, and where its agents' numbers (N,) are kept; NaN: none.
    """

    def __init__(self, columns: Sequence[tuple[int, NDArray[np.float32]]]) -> None:
        self._columns = columns

    def note(self, where: int | slice, column: int, value: Any) -> None:
        """Keep a reading that became a bin of modality ``column``; a label is no number."""
        for modality, numbers in self._columns:
            if modality == column:
                try:
                    number = float(value)
                except (TypeError, ValueError, OverflowError):
                    number = math.nan
                numbers[where] = number if abs(number) <= FLOAT32_MAX else math.nan

    def forget(self) -> None:
        """Keep nothing of what was read: only bins are known from now on."""
        for _, numbers in self._columns:
            numbers[:] = math.nan


class Feed(NamedTuple):
    """A source, and what becomes of its readings."""

    source: Source
    field: ValueField


class Inputs:
    """All that one population observes by.

    Parameters
    ----------
    channels : sequence of Channel
        Its topics.
    binding : Binding
        Its modalities.
    size : int
        Agents.
    observations : Observations
        Where bins go.
    counters : GroupCounters
        Counts them.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        binding: Binding,
        size: int,
        observations: Observations,
        counters: GroupCounters,
    ) -> None:
        self.feeds: list[Feed] = []
        self.numbers: ReadingNumbers | None = None
        """Where readings are kept as numbers, if somebody wants them."""
        self.faults: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.bulk_seq = 0
        """Sequence number of the last bulk message."""
        self.unavailable: set[str] = set()
        """Availability topics whose device is offline now."""
        self.went_offline = 0
        """How often a device went offline."""
        self._channels = tuple(channels)
        self._binding = binding
        self._size = size
        self._observations = observations
        self._counters = counters

    def filters(self) -> list[str]:
        """Return the topics to ask for, those of bulk messages excepted."""
        return [topic for channel in self._channels for topic in channel.filters()]

    def message(self, topic: str, payload: bytes, arrived: float, unix: float) -> bool:
        """Take a message in if ``topic`` is one of the population's; return whether it is.

        ``arrived`` is the time of arrival, monotonic seconds, and ``unix`` the same in Unix time.
        """
        known = False
        for channel in self._channels:
            agent = channel.agents.get(topic)
            if agent is None:
                continue
            known = True
            if channel.reachable is None:
                self._observe(channel, agent, payload, arrived, unix)
            else:
                self._reach(channel, channel.reachable, topic, agent, payload)
        return known

    def needs_each(self, topic: str) -> bool:
        """Whether a message on ``topic`` counts although a newer one has arrived."""
        return any(
            field.needs_each
            for channel in self._channels
            if topic in channel.agents and channel.reachable is None
            for field in channel.fields
        )

    def bulk(self, payload: bytes, arrived: float) -> None:
        """Take in a bulk message: the bins of all agents."""
        try:
            message = decode(payload)
        except PeerError:
            self.faults[Fault.BAD_ARRAY] += 1
            return
        codes = parse_array(message.body, self._binding.modalities, self._size)
        if isinstance(codes, Fault):
            self.faults[codes] += 1
            return
        if self.numbers is not None:
            self.numbers.forget()
        self._counters.observations += self._observations.set_all(codes, arrived)
        self.bulk_seq = message.seq

    def feed(self, entry: ObserveConfig, column: int, source: Source) -> None:
        """Take readings from ``source`` from now on."""
        modality = self._binding.modalities[column]
        wake = Wake.NEVER if entry.wakes is False else Wake.ARRIVAL
        field = ValueField((), column, modality, entry.scale, entry.offset, entry.values, wake)
        self.feeds.append(Feed(source, field))

    def poll(self, now: float) -> None:
        """Take in what the sources have."""
        for source, field in self.feeds:
            for agent, value in source.read():
                code = int(value) if source.bins and field.modality.size else field.read(value)
                if code is None:
                    continue
                if isinstance(code, Fault):
                    self.faults[code] += 1
                elif not (0 <= agent < self._size and field.modality.holds(code)):
                    self.faults[Fault.OUT_OF_RANGE] += 1
                else:
                    if self.numbers is not None and not source.bins:
                        self.numbers.note(agent, field.column, field.value(value))
                    self._observations.set(agent, field.column, code, now, field.wake)
                    self._counters.observations += 1

    def close(self) -> None:
        """Let the sources go."""
        for feed in self.feeds:
            feed.source.close()

    def _observe(self, channel: Channel, agent: int, payload: bytes, arrived: float, unix: float) -> None:
        document = parse(payload)
        if document.__class__ is Fault:
            self.faults[document] += 1
            return
        where, count = (slice(None), self._size) if agent < 0 else (agent, 1)
        for field in channel.fields:
            value = field.value(document)
            if value is None:  # not observed: what was stays until it is stale
                continue
            code = value if value.__class__ is Fault else field.encode(value, document)
            if isinstance(code, Fault):
                self.faults[code] += 1
                continue
            number = None
            if field.reduced:
                found = field.number(value)
                if isinstance(found, Fault):
                    self.faults[found] += 1
                    continue
                number = found
            if self.numbers is not None:
                self.numbers.note(where, field.column, value)
            if not field.stamp:
                self._observations.set(where, field.column, code, arrived, field.wake, number)
            else:
                made = unix_time(resolve(document, field.stamp))
                if isinstance(made, Fault):
                    self.faults[made] += 1
                    continue
                age = max(unix - made, 0.0)  # a clock that is ahead makes no reading of the future
                made = arrived - age
                self._observations.set_stamped(where, field.column, code, made, field.wake, number)
            self._counters.observations += count

    def _reach(
        self, channel: Channel, reachable: AvailabilityConfig, topic: str, agent: int, payload: bytes
    ) -> None:
        document = parse(payload)
        gone = document if isinstance(document, Fault) else offline(reachable, document)
        if isinstance(gone, Fault):
            self.faults[gone] += 1
        elif not gone:
            self.unavailable.discard(topic)
        else:
            where = slice(None) if agent < 0 else agent
            for field in channel.fields:
                self._observations.lose(where, field.column)
            self.went_offline += topic not in self.unavailable
            self.unavailable.add(topic)
