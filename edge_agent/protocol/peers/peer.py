"""A device in the peer protocol: publishes presence, tracks other devices, and computes coalitions.

Theory of operation. There is no leader: every device applies the same function (`formation`) to the same
roster and so knows all coalitions. It publishes the digests of those it is a member of; a coalition is
*confirmed* once every member has published its digest, and only then does it act as one. A network that
splits makes two rosters, each side forms and confirms its own; when it heals the rosters join and so do the
answers.

A device publishes its presence on connect, at each heartbeat, and when a value changes that others use (at
most once per ``pause``). Promises: a co-member that stays through a ``term`` of a confirmed coalition kept
one, one that falls silent in it broke one, and so does every offence (`conduct`).

Changes are gathered for ``gather`` seconds before coalitions are formed anew: a starting fleet forms
coalitions once, not once per device.

Events in: `connected`, `presence`, `gone`, `set_objectives`, `describe`, `tick`. Effects out: publications,
and `Joined` and `Left`. ``now`` is monotonic, ``unix`` Unix time, both in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edge_agent.errors import PeerError
from edge_agent.protocol.peers.conduct import Conduct, ConductSettings, Offence
from edge_agent.protocol.peers.formation import Formation, digest
from edge_agent.protocol.peers.members import Members
from edge_agent.protocol.peers.objectives import Coalition, Objective, Role
from edge_agent.protocol.peers.reputation import Ledger
from edge_agent.protocol.peers.roster import version
from edge_agent.protocol.ports import Publication
from edge_agent.wire import messages
from edge_agent.wire.presence import Presence, from_body, to_body
from edge_agent.wire.topics import DeviceTopics

KEPT_S = 7 * 86_400
"""After which a broker with MQTT 5 forgets a device that is gone for good."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Times in seconds. ``skew`` is how far a peer's clock may be from ours, ``term`` counts heartbeats;
    ``rate`` is the number of messages per second accepted from one device.
    """

    heartbeat: float = 30.0
    pause: float = 1.0
    gather: float = 0.25
    skew: float = 30.0
    term: int = 10
    devices: int = 16384
    rate: float = 4.0


@dataclass(frozen=True, slots=True)
class Joined:
    """Effect: a coalition is confirmed, and this device has a role in it; see `preferences.adjusted`."""

    coalition: Coalition
    role: Role


@dataclass(frozen=True, slots=True)
class Left:
    """Effect: a coalition that was confirmed is one no more."""

    coalition: Coalition


Effect = Publication | Joined | Left


class Peer:
    """The state machine; see the module's head.

    Parameters
    ----------
    topics : DeviceTopics
        Fleet and device.
    settings : PeerSettings
        Times and limits; heartbeat and patience must be the fleet's.
    incarnation : int
        Greater than at any earlier start: Unix time in seconds does.
    """

    def __init__(self, topics: DeviceTopics, settings: PeerSettings, incarnation: int) -> None:
        self.topics = topics
        self.settings = settings
        self.members = Members(topics.device, settings.heartbeat, settings.devices)
        self.formation = Formation()
        self.ledger = Ledger()
        rules = ConductSettings(settings.rate, pause=settings.heartbeat, devices=settings.devices)
        self.conduct = Conduct(rules, self.ledger)
        self.confirmed: Coalition | None = None
        self._me = Presence(topics.device, incarnation)
        self._said: Presence | None = None
        self._said_at = 0.0
        self._term_ends = 0.0
        self._form_at = math.inf
        self._named: tuple[Coalition | None, tuple[bytes, ...]] = (None, ())
        self._online = False
        self.members.receive(self._me, 0.0)

    @property
    def device(self) -> str:
        """This device's name."""
        return self.topics.device

    @property
    def incarnation(self) -> int:
        """What the will of this connection, or the next, must name."""
        return self._me.incarnation

    @property
    def coalition(self) -> Coalition | None:
        """The coalition this device belongs to as it computes it, confirmed or not."""
        return self.formation.coalition_of(self.device)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do next (monotonic seconds)."""
        word = self._said_at + (self.settings.pause if self._pending else self.settings.heartbeat)
        return min(word if self._online else math.inf, self._form_at, self.members.deadline)

    def will(self) -> int:
        """Begin a new incarnation, for a connection attempt; return it for the will."""
        self._me = replace(self._me, incarnation=self._me.incarnation + 1, seq=0, leaving=False)
        return self._me.incarnation

    def connected(self, now: float, unix: float) -> list[Effect]:
        """Say that this device is here."""
        self._online = True
        return [*self._announce(now, unix), *self._work(now, unix)]

    def disconnected(self) -> None:
        """Note that nothing can be said for now."""
        self._online = False

    def leave(self, now: float, unix: float) -> list[Effect]:
        """Say goodbye: a promise ended in good order is no promise broken."""
        self._me = replace(self._me, leaving=True)
        return [*self._announce(now, unix), *self._work(now, unix)]

    def describe(self, changes: Mapping[str, object], now: float, unix: float) -> list[Effect]:
        """Change what this device says of itself: any field of `Presence` that is not a number of ours."""
        self._me = replace(self._me, **changes, seq=self._me.seq + 1)  # type: ignore[arg-type]
        self.members.receive(self._me, now)
        return self._work(now, unix)

    def set_objectives(self, objectives: Iterable[Objective], now: float, unix: float) -> list[Effect]:
        """Take the fleet's objectives in place of the earlier ones."""
        wanted = {objective.name: objective for objective in objectives}
        for name in [name for name in self.formation.objectives if name not in wanted]:
            self.formation.drop_objective(name)
        for objective in wanted.values():
            self.formation.put_objective(objective)
        self._form_at = min(self._form_at, now + self.settings.gather)
        return self._work(now, unix)

    def gone(self, device: str, incarnation: int, now: float, unix: float) -> list[Effect]:
        """Take a will: a device's connection ended without a goodbye."""
        if device == self.device:
            # A will of an earlier life, whose clock was ahead: we begin a life after it.
            return self._renew(incarnation, now, unix) if incarnation >= self._me.incarnation else []
        here = device in self.members
        self.members.end(device, incarnation, now)
        if here and device not in self.members:
            self._mourn(device)
        return self._work(now, unix)

    def presence(self, device: str, payload: bytes, retained: bool, now: float, unix: float) -> list[Effect]:
        """Take a message from ``peer/DEVICE/presence``; one that is wrong is counted and ignored."""
        if device != self.device and not self.conduct.admit(device, now):
            return self._offence(device, Offence.FLOOD, now)
        try:
            message = messages.decode_envelope(payload)
            word = from_body(message.body, message.seq)
        except PeerError:
            return self._offence(device, Offence.MALFORMED, now)
        if word.device != device:
            return self._offence(device, Offence.NAME, now)
        if device == self.device:
            return self._echo(word, now, unix)
        age = unix - message.t
        if age < -self.settings.skew or (not retained and age > self.settings.skew):
            known = self.members.roster.entry(device).presence
            old = known is not None and version(word) <= version(known)
            return self._offence(device, Offence.REPLAY if old else Offence.CLOCK, now)
        try:
            self.members.receive(word, now, max(0.0, age) if retained else 0.0)
        except PeerError:
            return []  # the roster is full: it stays as it is, and len(members) shows it
        return self._work(now, unix)

    def tick(self, now: float, unix: float) -> list[Effect]:
        """Act on time: heartbeats, silence, terms."""
        for device in self.members.expire(now):
            self._mourn(device)
        if now >= self._term_ends:
            self._term_ends = now + self.settings.term * self.settings.heartbeat
            for device in self._fellows():
                self.ledger.keep(device)
        return self._work(now, unix)

    @property
    def _pending(self) -> bool:
        # What others depend on; the digest of the whole plan and the accounts can wait for a heartbeat.
        said = self._said
        return said is None or version(said) != version(self._me) or said.holds != self._holds

    @property
    def _holds(self) -> tuple[bytes, ...]:
        mine = self.coalition
        if mine is not self._named[0]:  # asked in every round of the daemon's loop
            self._named = (mine, () if mine is None else (digest(mine),))
        return self._named[1]

    def _work(self, now: float, unix: float) -> list[Effect]:
        """Bring formation up to date with the roster, and what is said and confirmed with formation."""
        if self.members.changed:
            self._form_at = min(self._form_at, now + self.settings.gather)
        if now >= self._form_at:
            self._form()
        effects: list[Effect] = []
        if self._online:
            waited = now - self._said_at
            if waited >= self.settings.heartbeat or (waited >= self.settings.pause and self._pending):
                effects += self._announce(now, unix)
        return effects + self._confirm()

    def _form(self) -> None:
        self._form_at = math.inf
        for device in sorted(self.members.changes()):
            candidate = self.members.candidate(device)
            if candidate is None:
                self.formation.drop(device)
            else:
                self.formation.put(candidate)
        self.formation.settle()

    def _announce(self, now: float, unix: float) -> list[Effect]:
        self._me = replace(self._me, seq=self._me.seq + 1)
        word = replace(self._me, plan=self.formation.plan, holds=self._holds, accounts=self.ledger.accounts)
        self._said, self._said_at = word, now
        self.members.receive(word, now)
        payload = messages.encode(messages.Message(to_body(word), seq=word.seq, t=unix))
        return [Publication(self.topics.presence, payload, qos=1, retain=True, expiry=KEPT_S)]

    def _confirm(self) -> list[Effect]:
        mine = self.coalition
        if mine is not None:
            (named,) = self._holds
            for _, name in mine.members:
                word = self.members.presence(name)
                if word is None or named not in word.holds:
                    mine = None
                    break
        before, self.confirmed = self.confirmed, mine
        if before == mine:
            return []
        effects: list[Effect] = [] if before is None else [Left(before)]
        if mine is not None:
            held = mine.role_of(self.device)
            roles = self.formation.objectives[mine.objective].roles
            effects += [Joined(mine, role) for role in roles if role.name == held]
        return effects

    def _fellows(self) -> list[str]:
        return [] if self.confirmed is None else [n for _, n in self.confirmed.members if n != self.device]

    def _mourn(self, device: str) -> None:
        if device in self._fellows():
            self.ledger.spoil(device)

    def _offence(self, device: str, offence: Offence, now: float) -> list[Effect]:
        if device != self.device:
            self.conduct.record_offence(device, offence, now)
        return []

    def _echo(self, word: Presence, now: float, unix: float) -> list[Effect]:
        """Our own word comes back. If it is not what we said, a life of ours had a greater number."""
        if self._said is None or version(word) < version(self._said) or word == self._said:
            return []
        return self._renew(word.incarnation, now, unix)

    def _renew(self, over: int, now: float, unix: float) -> list[Effect]:
        self._me = replace(self._me, incarnation=over + 1, seq=0)
        return self._announce(now, unix) if self._online else []
