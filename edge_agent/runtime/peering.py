"""The daemon among its peers: runs ``protocol.peers`` on the daemon's link, clock and populations.

Theory of operation. Presence, evidence and handovers go to the state machines as they arrive, and so do the
birth messages of other devices: a will is one, and names the incarnation that is over. What the state
machines ask for is carried out here. A confirmed coalition does three things: its objective's role adds to
the preferences of this device's populations until the coalition ends; its members are those that evidence is
shared with (`fusing`); and its members are shown. Heartbeats, silence and fleet ticks are deadlines of the
daemon's loop. Nothing here needs a hub, and without a network the device goes on alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.engine.model import Model
from edge_agent.errors import ConfigError, ModelError, PeerError
from edge_agent.protocol.peers.conduct import Offence
from edge_agent.protocol.peers.objectives import Coalition, Role
from edge_agent.protocol.peers.peer import Effect, Joined, Left, Peer, PeerSettings
from edge_agent.protocol.peers.preferences import adjusted
from edge_agent.protocol.peers.sharing import Sharing, SharingSettings
from edge_agent.protocol.ports import Clock, Publication, Received
from edge_agent.runtime.checkpoint import Store
from edge_agent.runtime.fusing import SEND_AT, STEP_AT, Fusing, populations_of, shared_factor
from edge_agent.runtime.lending import Keys, Lending, bundle_id
from edge_agent.runtime.link import Link
from edge_agent.runtime.peer_config import PeersConfig, objective, position
from edge_agent.wire import messages
from edge_agent.wire.presence import MAX_BUNDLES
from edge_agent.wire.topics import ROOT, DeviceTopics, parse

if TYPE_CHECKING:
    from edge_agent.runtime.assembly import Prepared
    from edge_agent.runtime.config import Config
    from edge_agent.runtime.daemon import Daemon
    from edge_agent.runtime.group import Group
    from edge_agent.runtime.profile import Profile

log = logging.getLogger("edge_agent")

BATTERY_STEP = 5
MAX_ROWS = 256


@dataclass(slots=True)
class PeeringCounters:
    """What happened since the start; ``agreed_s`` is how long the last agreement took."""

    joined: int = 0
    left: int = 0
    misplaced: int = 0
    agreed_s: float = 0.0


def check_shares(config: Config, prepared: Iterable[Prepared], where: str) -> None:
    """Check what ``peers`` says of populations against their models; ``where`` is the configuration.

    Raises
    ------
    ConfigError
        A shared factor is none of the model's, or a role's preferences don't fit a modality.
    """
    items = list(prepared)
    for number, item in enumerate(items):
        for place, share in enumerate(item.config.share):
            key = f"{where}: population[{number}].share[{place}]"
            if isinstance(item.model, Model):
                shared_factor(share, item.model, key)
            else:
                raise ConfigError(f"{key}: {item.config.bundle} is a network, which has no factors to share")
    for number, entry in enumerate(config.objective):
        for role in objective(entry).roles:
            for item in items:
                own = {m.name: [0.0] * m.size for m in item.binding.modalities}
                try:
                    adjusted(own, role)
                except ConfigError as error:
                    raise ConfigError(f"{where}: objective[{number}]: {error}") from error


class Peering:
    """Peers, coalitions and shared beliefs of one device.

    Parameters
    ----------
    config : Config
        With a ``peers`` section.
    clock : Clock
        Monotonic and Unix time.
    keys, profile : Keys, Profile, optional
        With both, populations are lent and taken in.
    store : Store, optional
        Where it is noted what is lent.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        keys: Keys | None = None,
        profile: Profile | None = None,
        store: Store | None = None,
    ) -> None:
        if config.peers is None:
            raise ConfigError("peers: missing")
        self.counters = PeeringCounters()
        self._config: PeersConfig = config.peers
        self._objectives = [objective(entry) for entry in config.objective]
        self._clock = clock
        self._topics = DeviceTopics(config.device.fleet, config.device.name)
        self.peer = Peer(self._topics, _settings(self._config), int(clock.time()))
        sharing = SharingSettings(
            self._config.period_s,
            self._config.skew_s,
            self._config.worthwhile_nats,
            self._config.records_a_tick,
        )
        self.fusing = Fusing(Sharing(self._topics, sharing, self.peer.conduct), self._config.window, clock)
        self.lending: Lending | None = None
        if keys is not None and profile is not None:
            members, heartbeat = self.peer.members, self._config.heartbeat_s
            self.lending = Lending(self._topics, members, keys, heartbeat, profile, clock, store)
        self._role: Role | None = None
        self._unsettled: float | None = None
        self._send_at = math.inf
        self._battery = 100
        self._offer: tuple[int, tuple[bytes, ...]] = (0, ())
        self._leaving = False
        self._online = False
        self._daemon: Daemon | None = None
        self._link: Link | None = None

    def attach(self, daemon: Daemon, link: Link) -> None:
        """Work on ``daemon``; listen and speak on ``link``."""
        self._daemon, self._link = daemon, link
        fleet = f"{ROOT}/{self._topics.fleet}"
        # QoS 0: what was said while this device was away is old, and what still holds is retained.
        link.overhear(f"{fleet}/peer/+/presence", self._heard, 0)
        link.overhear(f"{fleet}/peer/+/evidence", self._heard, 0)
        link.overhear(f"{fleet}/+/up/birth", self._born, 0)
        if self.lending is not None:
            self.lending.attach(daemon)
            link.overhear(f"{fleet}/peer/+/handover", self._heard, 1)
        link.heed(lambda _token: None, self._came_online)

    def start(self) -> None:
        """Describe the device and take its objectives; call before the link connects."""
        about = {
            "capabilities": tuple(sorted(set(self._config.capabilities))),
            "position": position(self._config),
            "capacity": self._config.capacity,
        }
        self._take(self.peer.describe(about, *self._now()))
        self._take(self.peer.set_objectives(self._objectives, *self._now()))
        self.changed()
        if self.lending is not None:
            self.lending.start()

    def will(self) -> int:
        """Return the incarnation that a will, or the goodbye, ends."""
        return self.peer.incarnation if self._leaving else self.peer.will()

    def changed(self) -> None:
        """Take note that populations came, went, or run other models."""
        daemon = self._daemon
        if daemon is None:
            return
        self.fusing.bind(daemon.groups)
        self.fusing.sharing.share_with(self._members())
        now = self._clock.monotonic()
        self._send_at = now + self.fusing.seconds_to(SEND_AT) if self.fusing else math.inf
        for name, group in daemon.groups.items():
            if group.config.share:
                daemon.pacing.align(name, now + self.fusing.seconds_to(STEP_AT))
        self._prefer()
        if self.lending is not None:
            held = {bundle_id(group.digest) for group in daemon.groups.values()}
            free = daemon.roster.arena.nbytes - daemon.roster.arena.used
            room = min(free, self._config.room_kb * 1024)
            offer = (room, tuple(sorted(held)[:MAX_BUNDLES]))
            if offer != self._offer:
                self._offer = offer
                self._take(self.peer.describe({"room": offer[0], "bundles": offer[1]}, *self._now()))

    @property
    def deadline(self) -> float:
        """When `turn` has something to do, monotonic seconds."""
        loans = math.inf if self.lending is None else self.lending.deadline
        return min(self.peer.deadline, self._send_at, loans)

    def turn(self) -> None:
        """Act on what is due."""
        if self._online and self._link is not None and not self._link.online:
            self._online = False
            self.peer.disconnected()
        now, unix = self._now()
        if now >= self.peer.deadline:
            self._look()
            self._take(self.peer.tick(now, unix))
        if now >= self._send_at:
            self._publish(self.fusing.flush())
            self._send_at = now + self.fusing.seconds_to(SEND_AT)
        if self.lending is not None:
            self._publish(self.lending.turn())

    def stop(self) -> None:
        """Say goodbye."""
        self._take(self.peer.leave(*self._now()))
        self._leaving = True

    def before(self, name: str, group: Group) -> None:
        """Prepare a population for a step."""
        recorder = None if self._daemon is None else self._daemon.parts.recorder
        self.fusing.before(name, group, recorder)

    def figures(self) -> dict[str, int | float]:
        """Return the counters for telemetry."""
        counts = self.peer.conduct.counts
        counters = self.fusing.sharing.counters
        return {
            "here": len(self.peer.members),
            "coalitions": len(self.peer.formation.coalitions),
            "members": len(self._members()),
            "joined": self.counters.joined,
            "left": self.counters.left,
            "agreed_s": round(self.counters.agreed_s, 3),
            "refused": sum(sum(kinds.values()) for kinds in counts.values()),
            "sent": counters.sent,
            "resent": counters.resent + counters.returned,
            "received": counters.received,
            "duplicates": counters.known,
            "lost": self.fusing.sharing.lost(),
            "reputation": self.peer.members.reputations[self._topics.device],
        }

    def status(self) -> dict[str, Any]:
        """Return coalition, roster and counters, in plain types."""
        peer = self.peer
        counts = peer.conduct.counts
        seen = {name for name in peer.members.roster if name in peer.members} | counts.keys()
        return {
            **self.figures(),
            "plan": peer.formation.plan.hex(),
            "coalition": None if peer.coalition is None else self._shown(peer.coalition),
            "roster": {
                name: {"here": name in peer.members, "reputation": peer.members.reputations[name]}
                for name in sorted(seen)[:MAX_ROWS]
            },
            "refusals": {
                name: {offence.name.lower(): count for offence, count in kinds.items()}
                for name, kinds in list(counts.items())[:MAX_ROWS]
            },
            "sharing": self.fusing.status(),
            "lending": None if self.lending is None else self.lending.status(),
        }

    def _shown(self, coalition: Coalition) -> dict[str, Any]:
        return {
            "objective": coalition.objective,
            "members": {name: role for role, name in coalition.members},
            "role": coalition.role_of(self._topics.device),
            "confirmed": self.peer.confirmed == coalition,
        }

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _members(self) -> list[str]:
        confirmed = self.peer.confirmed
        return [] if confirmed is None else [name for _, name in confirmed.members]

    def _came_online(self) -> None:
        self._online = True
        self._take(self.peer.connected(*self._now()))

    def _heard(self, message: Received) -> None:
        address = parse(message.topic)
        if address.channel == "handover" and self.lending is not None:
            try:
                self._publish(self.lending.receive(address.device, message.payload))
            except PeerError as error:
                log.warning("peers: %s", error)
                self.peer.conduct.offend(address.device, Offence.MALFORMED, self._clock.monotonic())
        elif address.channel == "evidence":
            self.fusing.sharing.receive(address.device, message.payload, *self._now())
        else:
            self._take(self.peer.presence(address.device, message.payload, message.retain, *self._now()))

    def _born(self, message: Received) -> None:
        try:
            body = messages.decode(message.payload).body
        except PeerError:
            return  # the hub's to complain about
        over = body.get("incarnation")
        if body.get("online") is False and isinstance(over, int):
            self._take(self.peer.gone(parse(message.topic).device, over, *self._now()))

    def _take(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publication():
                    self._publish([effect])
                case Joined(coalition, role):
                    self.counters.joined += 1
                    self._role = role
                    names = ", ".join(f"{name} ({held})" for held, name in coalition.members)
                    log.info("peers: coalition %s: %s", coalition.objective, names)
                    self._together()
                case Left(coalition):
                    self.counters.left += 1
                    self._role = None
                    log.info("peers: coalition %s ended", coalition.objective)
                    self._together()
        self._time_agreement()

    def _together(self) -> None:
        self.fusing.sharing.share_with(self._members())
        self._prefer()

    def _time_agreement(self) -> None:
        if self.peer.confirmed == self.peer.coalition:
            if self._unsettled is not None and self.peer.confirmed is not None:
                self.counters.agreed_s = self._clock.monotonic() - self._unsettled
            self._unsettled = None
        elif self._unsettled is None:
            self._unsettled = self._clock.monotonic()

    def _prefer(self) -> None:
        """Let every population prefer what the role asks for beside its own, or its own alone."""
        daemon = self._daemon
        for name, group in {} if daemon is None else daemon.groups.items():
            modalities = {m.name: [0.0] * m.size for m in group.binding.modalities}
            try:
                totals = adjusted(modalities, self._role).values()
                added = {m: values for m, values in enumerate(totals) if any(values)}
                for population in populations_of(group):
                    population.prefer(added)
            except (ConfigError, ModelError) as error:
                self.counters.misplaced += 1
                log.warning("peers: population %s: %s; it keeps its own preferences", name, error)
                continue
            if added != group.preferred and daemon is not None and daemon.parts.recorder is not None:
                group.preferred = added
                daemon.parts.recorder.prefer(name, group)
            group.preferred = added

    def _look(self) -> None:
        """Tell the fleet how much charge is left, in steps."""
        charge = None if self._daemon is None else self._daemon.parts.signs().battery
        percent = 100 if charge is None else int(charge * 100) // BATTERY_STEP * BATTERY_STEP
        if percent != self._battery:
            self._battery = percent
            self._take(self.peer.describe({"battery": percent}, *self._now()))

    def _publish(self, publications: Iterable[Publication]) -> None:
        if self._link is not None:
            for publication in publications:
                self._link.publish(publication)


def _settings(config: PeersConfig) -> PeerSettings:
    return PeerSettings(
        config.heartbeat_s,
        config.pause_s,
        skew=config.skew_s,
        devices=config.devices,
        rate=2.0 / config.pause_s + 2.0 / config.period_s,
    )
