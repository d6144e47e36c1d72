"""Runs suspended populations on a peer that has room, and runs populations of peers here.

Theory of operation. ``protocol.peers.loan_protocol`` decides which device runs a population; this file
carries its effects out. A suspended population that can move (`loan_payload.movable`) is offered to a peer
that holds its bundle. It stays suspended here until it is returned with the beliefs it had there, or until
the peer is gone; then it continues from its own beliefs. The owner recalls it as soon as the governor allows
it to run. A borrower whose governor suspends it returns it without being asked. A borrowed population uses
the arena's spare part, runs the borrower's own copy of the bundle under the name ``OWNER.POPULATION``, and is
the first to be suspended.

A loan is written to the state directory before the borrower may run the population. After a restart the owner
keeps the population suspended, recalls it, and continues from the returned beliefs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from edge_agent.config.profile import Profile
from edge_agent.config.records import PopulationConfig
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError, EdgeAgentError, PeerError, PlatformError
from edge_agent.protocol.peers.loan_effects import (
    Adopt,
    Drop,
    Effect,
    GiveBack,
    Key,
    LoanSettings,
    Resume,
    Run,
)
from edge_agent.protocol.peers.loan_protocol import Loans
from edge_agent.protocol.peers.members import Members
from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.assembly import Prepared, prepare
from edge_agent.runtime.peers.loan_payload import MAX_BYTES, LoanPayload, movable, pack, renamed, unpack
from edge_agent.runtime.population.checkpoint import StateStore
from edge_agent.runtime.population.group import Group
from edge_agent.runtime.population.suspension import SuspendReason
from edge_agent.runtime.populations import Populations
from edge_agent.wire.loan import LoanMessage
from edge_agent.wire.presence import DIGEST_BYTES
from edge_agent.wire.signatures import PublicKey, SecretKey
from edge_agent.wire.topics import DeviceTopics

log = logging.getLogger("edge_agent")

LOOK_S = 1.0
NOTES = "loans"


@dataclass(frozen=True, slots=True)
class LoanKeys:
    """This device's key, and those of the peers whose populations it takes in or whom it lends its own."""

    secret: SecretKey
    peers: Mapping[str, PublicKey]


@dataclass(slots=True)
class LoanCounters:
    """What happened since the start."""

    lent: int = 0
    returned: int = 0
    adopted: int = 0
    given_back: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class _Lent:
    """What was lent: another configuration or bundle here means that the borrower runs an old one."""

    config: PopulationConfig
    digest: str


class PopulationLoans:
    """All loans of one device.

    Parameters
    ----------
    topics : DeviceTopics
        Fleet and device.
    members : Members
        Who is here, with what room and which bundles.
    keys : LoanKeys
        Ours and theirs.
    heartbeat : float
        The fleet's, seconds.
    profile : Profile
        Of the board: bounds the pace of what is taken in.
    populations : Populations
        What runs, and why not.
    clock : Clock
        Time.
    store : StateStore, optional
        Where it is noted what is lent.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        members: Members,
        keys: LoanKeys,
        heartbeat: float,
        profile: Profile,
        populations: Populations,
        clock: Clock,
        store: StateStore | None = None,
    ) -> None:
        self.counters = LoanCounters()
        self.deadline = clock.monotonic() + LOOK_S
        self._settings = LoanSettings(heartbeat / 6.0, 2.0 * heartbeat, 3.0 * heartbeat)
        self._keys = keys
        self._profile = profile
        self._populations = populations
        self._clock = clock
        self._store = store
        self._noted: list[list[Any]] = []
        self._lent: dict[str, _Lent] = {}
        self._borrowed: dict[Key, str] = {}
        self._not_before: dict[str, float] = {}
        self._loans = Loans(topics, members, keys.secret, keys.peers, self._settings, int(clock.time()))

    def receive(self, device: str, payload: bytes) -> list[Publication]:
        """Take a message from ``peer/DEVICE/handover``; nobody's whose key is not known is looked at.

        Raises
        ------
        PeerError
            It is malformed, or not signed by its sender.
        """
        if device not in self._keys.peers:
            return []
        out = self._perform(self._loans.receive(device, payload, self._clock.monotonic()))
        self._note()
        return out

    def start(self) -> None:
        """Take up what an earlier life had lent; call it once the populations have their beliefs."""
        for number, to, name, bundle in self._notes():
            group = self._populations.groups.get(name)
            if group is not None:
                same = bundle_id(group.digest) == bundle
                self._lent[name] = _Lent(group.config, group.digest if same else "")
                self._populations.suspend(name, SuspendReason.LOAN)
                head = LoanMessage("offer", number, self._loans.topics.device, to, name, bundle)
                self._loans.resume(head, pack(group), self._clock.monotonic())

    def changed(self) -> list[Publication]:
        """Recall what was changed or removed here while it is lent: the borrower runs what was lent."""
        now, out = self._clock.monotonic(), list[Publication]()
        for name in [name for name in self._lent if self._outdated(name)]:
            out += self._perform(self._loans.recall(name, now))
        self._note()
        return out

    def run_once(self) -> list[Publication]:
        """Offer what is suspended, ask back what may run again, repeat what was not answered."""
        now = self._clock.monotonic()
        if now < self.deadline:
            return []
        self.deadline = now + LOOK_S
        out: list[Publication] = self.changed()
        borrowed = {name: key for key, name in self._borrowed.items()}
        for name, group in list(self._populations.groups.items()):
            shed = SuspendReason.GOVERNOR in group.reasons
            if name in borrowed:
                if shed and not group.elsewhere:
                    out += self._give_back(borrowed[name], group, now)
            elif group.elsewhere and not shed:
                out += self._perform(self._loans.recall(name, now))
            elif shed and not group.elsewhere and now >= self._not_before.get(name, now):
                out += self._offer(name, group, now)
        out += self._perform(self._loans.tick(now))
        self._note()
        return out

    def status(self) -> dict[str, Any]:
        """Return what is lent and borrowed, in plain types."""
        return {
            **asdict(self.counters),
            "loans": [
                {"owner": key[0], "state": state.value, "population": self._borrowed.get(key, "")}
                for key, state in self._loans.states().items()
            ],
        }

    def _notes(self) -> list[list[Any]]:
        try:
            data = None if self._store is None else self._store.load(NOTES)
            rows = [] if data is None else msgpack.unpackb(data)
            return [[int(number), str(to), str(name), bytes(bundle)] for number, to, name, bundle in rows]
        except (PlatformError, ValueError, TypeError, msgpack.UnpackException) as error:
            log.warning("peers: loans of the previous start are unknown: %s", error)
            return []

    def _note(self) -> None:
        """Keep what is lent on the disk, if that changed."""
        noted = [[head.loan, head.to, head.population, head.bundle] for head in self._loans.lent()]
        if self._store is None or noted == self._noted:
            return
        try:
            self._store.save(NOTES, msgpack.packb(noted))
        except PlatformError as error:
            log.error("peers: %s; loans will be unknown after a restart", error)
        self._noted = noted

    def _outdated(self, name: str) -> bool:
        """Whether a population that is lent is another one here by now, or gone."""
        group, lent = self._populations.groups.get(name), self._lent[name]
        return group is None or _Lent(group.config, group.digest) != lent

    def _offer(self, name: str, group: Group, now: float) -> list[Publication]:
        if not isinstance(group.model_port, Population) or not movable(group.config):
            return []
        beliefs = pack(group)
        if len(beliefs) > MAX_BYTES:
            return []
        room = sum(self._populations.arena.regions[owner].nbytes for owner in group.owners)
        effects = self._loans.offer(name, bundle_id(group.digest), room, beliefs, now)
        if effects:
            self._lent[name] = _Lent(group.config, group.digest)
            self._populations.suspend(name, SuspendReason.LOAN)
            self.counters.lent += 1
            log.info("peers: population %s is offered to a peer", name)
        return self._perform(effects)

    def _perform(self, effects: Iterable[Effect]) -> list[Publication]:
        out: list[Publication] = []
        for effect in effects:
            match effect:
                case Publication():
                    out.append(effect)
                case Adopt():
                    out += self._adopt(effect)
                case Run(key):
                    self._run(key)
                case GiveBack(key):
                    out += self._give_back(key, self._group(key), self._clock.monotonic())
                case Drop(key):
                    self._drop(key)
                case Resume(population, checkpoint):
                    self._resume(population, checkpoint)
        return out

    def _adopt(self, effect: Adopt) -> list[Publication]:
        name = ""
        try:
            payload = unpack(effect.checkpoint)
            item = self._prepared(payload, effect)
            name = item.config.name
            if name in self._populations.groups:
                raise ConfigError(f"there is a population {name} already")
            self._populations.suspend(name, SuspendReason.LOAN)
            self._populations.change([item], [])
            self._borrowed[effect.loan] = name
            self._populations.restore(name, payload.beliefs, payload.counters)
        except EdgeAgentError as error:
            log.warning("peers: population %s of %s: %s", effect.population, effect.loan[0], error)
            self.counters.refused += 1
            if effect.loan not in self._borrowed and name not in self._populations.groups:
                self._populations.resume(name, SuspendReason.LOAN)
            self._drop(effect.loan)
            return self._perform(self._loans.refuse(effect.loan, str(error)[:200]))
        self.counters.adopted += 1
        return []

    def _prepared(self, payload: LoanPayload, effect: Adopt) -> Prepared:
        groups, config = self._populations.groups, self._populations.config
        host = next((g for g in groups.values() if bundle_id(g.digest) == effect.bundle), None)
        if host is None or not isinstance(host.model_port, Population):
            raise PeerError("its bundle is not here any more")
        model, digest = host.model_port.model, host.digest
        least = min(entry.priority for entry in config.population)
        guest = renamed(payload.config, effect.loan[0], host.bundle, least)
        return prepare(guest, self._profile, guest.name, lambda _path: (model, digest))

    def _run(self, key: Key) -> None:
        group = self._group(key)
        if group is not None:
            self._populations.resume(group.config.name, SuspendReason.LOAN)
            group.forget_sent()
            log.info("peers: population %s runs here", group.config.name)

    def _give_back(self, key: Key, group: Group | None, now: float) -> list[Publication]:
        if group is None:
            return self._perform(self._loans.refuse(key, "it is gone"))
        self._populations.suspend(group.config.name, SuspendReason.LOAN)
        self.counters.given_back += 1
        return self._perform(self._loans.give_back(key, pack(group), now))

    def _drop(self, key: Key) -> None:
        name = self._borrowed.pop(key, None)
        if name is None:
            return
        if name in self._populations.groups:
            self._populations.change([], [name])
        self._populations.resume(name, SuspendReason.LOAN)

    def _resume(self, population: str, checkpoint: bytes) -> None:
        group = self._populations.groups.get(population)
        lent = self._lent.pop(population, None)
        if group is not None:
            if lent is not None and lent.digest == group.digest:
                self._restore(population, checkpoint)
            else:
                log.warning("peers: population %s was changed while it was lent", population)
            group.forget_sent()
            log.info("peers: population %s is back", population)
        self.counters.returned += 1
        self._not_before[population] = self._clock.monotonic() + self._settings.patience
        self._populations.resume(population, SuspendReason.LOAN)

    def _restore(self, population: str, checkpoint: bytes) -> None:
        try:
            payload = unpack(checkpoint)
            self._populations.restore(population, payload.beliefs, payload.counters)
        except EdgeAgentError as error:
            log.warning("peers: population %s: %s; it continues from its own beliefs", population, error)

    def _group(self, key: Key) -> Group | None:
        name = self._borrowed.get(key)
        return None if name is None else self._populations.groups.get(name)


def bundle_id(digest: str) -> bytes:
    """Return the part of a bundle's digest that presence carries."""
    return bytes.fromhex(digest)[:DIGEST_BYTES]
