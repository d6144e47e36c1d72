"""Exchange of evidence: sent when it would change a belief, and repeated until it is received.

Theory of operation. A fleet tick is floor(Unix time / period); clocks within half a period agree on it.
Each tick the device `advance`s, its agents `observe`, and `flush` publishes, at QoS 0:

- own evidence, the most informative first: gain is D(belief with it || belief without it) in nats. Evidence
  is held back as long as all of it together is worth no more than ``worthwhile``; actions of a controlled
  factor are never held back, for without them nobody can predict;
- evidence that a peer's report shows missing, every ``retry`` ticks until the report says it is there;
- what a peer that restarted said itself and has forgotten: it returns with its author's name;
- the base of a channel, for a member that is new there;
- every ``report_every`` ticks (each tick while new) which ticks are held of each source.

All of it within ``rate`` records per tick. A report is a state, not a command, so reports may be lost too.
Events in: `open`, `close`, `advance`, `observe`, `receive`, `flush`; out: publications.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from numpy.typing import ArrayLike

from edge_agent.errors import PeerError
from edge_agent.protocol.peers import codes
from edge_agent.protocol.peers.bayes_fusion import BayesFusion, Outcome
from edge_agent.protocol.peers.conduct import Conduct, Offence
from edge_agent.protocol.ports import Publication
from edge_agent.wire import messages
from edge_agent.wire.evidence import (
    MAX_ROWS,
    MAX_WINDOW,
    NO_ACTION,
    Base,
    Evidence,
    HeldTicks,
    Record,
    channel_number,
    from_body,
    to_body,
)
from edge_agent.wire.topics import DeviceTopics

_OFFENCES = {
    Outcome.CONFLICT: Offence.CONFLICT,
    Outcome.EARLY: Offence.CLOCK,
    Outcome.MISFIT: Offence.MALFORMED,
}
_COMPANY = 2
_Key = tuple[str, int, int]  # author, agent, tick


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """``period`` and ``skew`` in seconds, ``worthwhile`` in nats, the rest in ticks and records per tick."""

    period: float = 1.0
    skew: float = 30.0
    worthwhile: float = 0.0
    rate: int = 16
    report_every: int = 1
    retry: int = 2
    new_for: int = 16


@dataclass(slots=True)
class _Channel:
    """One shared factor: its fused belief, who shares it, and what is to be said about it."""

    fusion: BayesFusion
    members: frozenset[str]
    opened: int
    met: int
    unsent: dict[_Key, float] = field(default_factory=dict)
    wanted: dict[_Key, set[str]] = field(default_factory=dict)
    sent: dict[_Key, int] = field(default_factory=dict)
    encoders: dict[int, codes.Encoder] = field(default_factory=dict)
    base_wanted: bool = False
    base_sent: int = -1


@dataclass(slots=True)
class ExchangeCounters:
    """What happened since the start; in records."""

    sent: int = 0
    resent: int = 0
    returned: int = 0
    received: int = 0
    known: int = 0
    held_back: int = 0


class EvidenceExchange:
    """The shared factors of one device; see the module's head."""

    def __init__(self, topics: DeviceTopics, settings: ExchangeSettings, conduct: Conduct) -> None:
        self.topics = topics
        self.settings = settings
        self.counters = ExchangeCounters()
        self._conduct = conduct
        self._channels: dict[int, _Channel] = {}
        self._tick = -1
        self._seq = 0
        self._credit = 0
        self._reported = 0

    def tick_of(self, unix: float) -> int:
        """Return the fleet tick at a Unix time."""
        return int(unix // self.settings.period)

    def open(self, name: str, fusion: BayesFusion, members: Iterable[str] = ()) -> None:
        """Share the factor called ``name`` with ``members``, from the next `advance` on."""
        first = self._tick + 1
        self._channels[channel_number(name)] = _Channel(fusion, frozenset(members), first, first)

    def share_with(self, members: Iterable[str]) -> None:
        """Share all channels with ``members``, not those before; who comes from being alone is new there."""
        company = frozenset(members)
        for channel in self._channels.values():
            if len(channel.members) < _COMPANY <= len(company):
                channel.met = self._tick + 1
            channel.members = company

    def close(self, name: str) -> None:
        """Share it no more."""
        self._channels.pop(channel_number(name), None)

    def fusion(self, name: str) -> BayesFusion:
        """Return the fused belief of a channel."""
        return self._channels[channel_number(name)].fusion

    def lost(self) -> int:
        """Return how many records came too late for the window, or never, in all channels."""
        return sum(channel.fusion.lost for channel in self._channels.values())

    def shared_with(self, name: str) -> list[str]:
        """Return the members of a channel, sorted; nobody while the device is in no coalition."""
        return sorted(self._channels[channel_number(name)].members)

    def advance(self, unix: float) -> int:
        """Move on to the tick of ``unix``; return it. Channels begin at the first, and after a jump anew."""
        tick, first = self.tick_of(unix), self._tick < 0
        if self._tick - tick > MAX_WINDOW:  # our clock was far ahead
            self._tick = tick - 1
        if tick > self._tick:
            self._credit = min(self._credit + self.settings.rate, 4 * self.settings.rate)
            self._tick = tick
        for number, channel in self._channels.items():
            if channel.fusion.advance(self._tick) or first:
                self._channels[number] = _Channel(channel.fusion, channel.members, tick, tick)
            else:
                _forget(channel)
        return self._tick

    def observe(self, name: str, agent: int, likelihood: ArrayLike, action: int = NO_ACTION) -> None:
        """Add one of our agents' evidence of the present tick.

        Parameters
        ----------
        name : str
            The channel.
        agent : int
            Which of this device's agents; one piece of evidence each a tick.
        likelihood : array (S,)
            Of the observation given the factor's state, of any scale.
        action : int
            What the agent does with the factor from this tick to the next.
        """
        number = channel_number(name)
        channel = self._channels[number]
        encoder = channel.encoders.setdefault(agent, codes.Encoder())
        before = channel.fusion.belief()
        record = Record(number, agent, self._tick, encoder.encode(likelihood), action)
        if channel.fusion.add(self.topics.device, record) is not Outcome.NEW:
            return
        gain = codes.divergence(channel.fusion.belief(), before)
        channel.unsent[self.topics.device, agent, self._tick] = gain if action == NO_ACTION else math.inf

    def receive(self, device: str, payload: bytes, now: float, unix: float) -> None:
        """Take a message from ``peer/DEVICE/evidence``; one that is wrong is counted and ignored."""
        if device == self.topics.device:
            return
        evidence = self._read(device, payload, now, unix)
        if isinstance(evidence, Offence):
            self._conduct.record_offence(device, evidence, now)
            return
        for record in evidence.records:
            self._accept(device, record, now)
        for held in evidence.held_ticks:
            self._compare(device, held)
        for base in evidence.bases:
            channel = self._joined(base.channel, device)
            if channel is not None and self._new(channel):
                channel.fusion.adopt(base)
        for number in evidence.newcomer:
            channel = self._joined(number, device)
            if channel is not None:
                channel.base_wanted = True

    def flush(self, unix: float) -> list[Publication]:
        """Return what is to be published now."""
        records: list[Record] = []
        for _, channel in self._shared():
            records += self._due(channel, min(self._credit, MAX_ROWS) - len(records))
        self._credit -= len(records)
        self.counters.held_back = sum(len(channel.unsent) for _, channel in self._shared())
        evidence = Evidence(tuple(records), tuple(self._reports()), *self._greetings())
        if evidence == Evidence():
            return []
        self._seq += 1
        payload = messages.encode(messages.Message(to_body(evidence), seq=self._seq, t=unix))
        return [Publication(self.topics.evidence, payload, qos=0)]

    def _read(self, device: str, payload: bytes, now: float, unix: float) -> Evidence | Offence:
        if not self._conduct.admit(device, now):
            return Offence.FLOOD
        try:
            message = messages.decode_envelope(payload)
            evidence = from_body(message.body)
        except PeerError:
            return Offence.MALFORMED
        if abs(unix - message.t) > self.settings.skew:
            return Offence.REPLAY if message.t < unix else Offence.CLOCK
        return evidence

    def _accept(self, device: str, record: Record, now: float) -> None:
        channel = self._joined(record.channel, device)
        if channel is None:
            return
        author, record = record.author or device, replace(record, author="")
        if author == self.topics.device:
            # Only what we forgot over a restart; all else we know better.
            known = any(r.tick == record.tick for r in channel.fusion.records(author, record.agent))
            if known or record.tick >= channel.opened:
                return
        elif author != device:
            return  # for its author's ears
        outcome = channel.fusion.add(author, record)
        self.counters.received += outcome is Outcome.NEW
        self.counters.known += outcome is Outcome.KNOWN
        if outcome in _OFFENCES:
            self._conduct.record_offence(device, _OFFENCES[outcome], now)

    def _compare(self, device: str, held: HeldTicks) -> None:
        """Note what a report shows missing: of ours, or of what the reporter itself once said."""
        channel = self._joined(held.channel, device)
        if channel is None or held.device not in (self.topics.device, device):
            return
        if held.device == device:
            reach = min(held.reach, channel.fusion.window)
            sent = (held.newest - i for i in range(reach) if held.bits >> i & 1)
            channel.fusion.expect(device, held.agent, sent)
        for record in channel.fusion.records(held.device, held.agent):
            key = (held.device, record.agent, record.tick)
            behind = held.newest - record.tick
            if behind < 0 or key in channel.unsent:
                continue
            if held.bits >> behind & 1:
                channel.wanted.get(key, set()).discard(device)
            elif held.newest > channel.sent.get(key, record.tick):  # else it may be on its way
                channel.wanted.setdefault(key, set()).add(device)

    def _due(self, channel: _Channel, room: int) -> Iterator[Record]:
        gains = channel.unsent
        held_back = sum(gains.values())
        for key in sorted(gains, key=lambda key: (-gains[key], key)):
            if room <= 0 or held_back <= self.settings.worthwhile:
                break
            gain = gains.pop(key)
            held_back = sum(gains.values()) if gain == math.inf else held_back - gain
            room -= 1
            self.counters.sent += 1
            yield self._said(channel, key)
        waiting = sorted(
            key
            for key, peers in channel.wanted.items()
            if peers and self._tick - channel.sent.get(key, -self.settings.retry) >= self.settings.retry
        )
        for key in waiting[: max(0, room)]:
            self.counters.resent += key[0] == self.topics.device
            self.counters.returned += key[0] != self.topics.device
            yield self._said(channel, key)

    def _said(self, channel: _Channel, key: _Key) -> Record:
        author, agent, tick = key
        channel.sent[key] = self._tick
        record = next(r for r in channel.fusion.records(author, agent) if r.tick == tick)
        return record if author == self.topics.device else replace(record, author=author)

    def _shared(self) -> list[tuple[int, _Channel]]:
        """Return the channels in which somebody listens."""
        return [(n, c) for n, c in sorted(self._channels.items()) if c.members - {self.topics.device}]

    def _reports(self) -> list[HeldTicks]:
        """Return the reports that are due; where they are more than a message holds, channels take turns."""
        due = [
            (n, c) for n, c in self._shared() if self._tick % self.settings.report_every == 0 or self._new(c)
        ]
        rows: list[HeldTicks] = []
        for turn in range(len(due)):
            number, channel = due[(self._reported + turn) % len(due)]
            more = list(self._held_ticks(number, channel))[:MAX_ROWS]
            if len(rows) + len(more) > MAX_ROWS:
                self._reported += turn
                break
            rows += more
        return rows

    def _held_ticks(self, number: int, channel: _Channel) -> Iterator[HeldTicks]:
        fusion = channel.fusion
        for device, agent in sorted(fusion.sources() | {(self.topics.device, 0)}):
            held, reach = fusion.held(device, agent), 0
            if device == self.topics.device:
                unsaid = (fusion.present - tick for _, of, tick in channel.unsent if of == agent)
                held &= ~sum(1 << behind for behind in unsaid if behind >= 0)
                reach = min(fusion.present - fusion.base[0], MAX_WINDOW)
            yield HeldTicks(number, device, agent, fusion.present, held, reach)

    def _greetings(self) -> tuple[tuple[Base, ...], tuple[int, ...]]:
        bases: list[Base] = []
        for number, channel in self._shared():
            if len(bases) == self.settings.rate:
                break
            if channel.base_wanted and self._tick - channel.base_sent >= self.settings.retry:
                channel.base_wanted, channel.base_sent = False, self._tick
                bases.append(channel.fusion.snapshot(number))
        asking = [number for number, channel in self._shared() if self._new(channel)]
        start = self._tick * MAX_ROWS % max(len(asking), 1)
        return tuple(bases), tuple((asking[start:] + asking[:start])[:MAX_ROWS])

    def _new(self, channel: _Channel) -> bool:
        return self._tick < channel.met + self.settings.new_for

    def _joined(self, number: int, device: str) -> _Channel | None:
        channel = self._channels.get(number)
        return channel if channel is not None and device in channel.members else None


def _forget(channel: _Channel) -> None:
    base, _ = channel.fusion.base
    channel.unsent = {key: gain for key, gain in channel.unsent.items() if key[2] > base}
    channel.sent = {key: tick for key, tick in channel.sent.items() if key[2] > base}
    channel.wanted = {key: peers for key, peers in channel.wanted.items() if key[2] > base}
