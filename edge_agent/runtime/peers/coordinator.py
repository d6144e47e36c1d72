"""Connects ``protocol.peers`` with the daemon's MQTT session, clock and populations.

Theory of operation. Presence, evidence and loan messages are passed to the state machines as they arrive, and
so are the birth messages of other devices: a will is a birth message that names the ended incarnation. The
effects of the state machines are carried out here. A confirmed coalition has three effects: its objective's
role adds to the preferences of this device's populations until the coalition ends; evidence is shared with
its members (`shared_factors`); and the status shows its members. Heartbeats, timeouts and fleet ticks are
deadlines of the daemon's loop. No hub is needed, and without a network the device works alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from edge_agent.config.peer_records import PeersConfig, objective, position
from edge_agent.config.profile import Profile
from edge_agent.config.records import Config
from edge_agent.errors import ConfigError, PeerError
from edge_agent.protocol.peers.conduct import Offence
from edge_agent.protocol.peers.evidence_exchange import EvidenceExchange, ExchangeSettings
from edge_agent.protocol.peers.objectives import Role
from edge_agent.protocol.peers.peer import Effect, Joined, Left, Peer, PeerSettings
from edge_agent.protocol.ports import Clock, Publication, Received
from edge_agent.runtime.mqtt_dispatch import MqttDispatch
from edge_agent.runtime.peers.loans import LoanKeys, PopulationLoans, bundle_id
from edge_agent.runtime.peers.peer_status import CoalitionCounters, PeerStatus
from edge_agent.runtime.peers.role_preferences import prefer
from edge_agent.runtime.peers.shared_factors import SEND_AT, STEP_AT, SharedFactors
from edge_agent.runtime.population.checkpoint import StateStore
from edge_agent.runtime.populations import Populations
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.runtime.step_schedule import StepSchedule
from edge_agent.wire import messages
from edge_agent.wire.presence import MAX_BUNDLES
from edge_agent.wire.topics import ROOT, DeviceTopics, parse

log = logging.getLogger("edge_agent")

BATTERY_STEP = 5


class PeerCoordinator:
    """Peers, coalitions and shared beliefs of one device.

    Parameters
    ----------
    config : Config
        With a ``peers`` section.
    populations, schedule : Populations, StepSchedule
        What runs, and its pace.
    recorder : Recorder
        Where changes of preferences are recorded.
    dispatch : MqttDispatch
        Listens and publishes.
    clock : Clock
        Monotonic and Unix time.
    battery : callable
        Returns the charge that is left, 0 to 1; None: no battery.
    keys, profile : LoanKeys, Profile, optional
        With both, populations are lent and taken in.
    store : StateStore, optional
        Where it is noted what is lent.
    """

    def __init__(
        self,
        config: Config,
        populations: Populations,
        schedule: StepSchedule,
        recorder: Recorder,
        dispatch: MqttDispatch,
        clock: Clock,
        battery: Callable[[], float | None],
        keys: LoanKeys | None = None,
        profile: Profile | None = None,
        store: StateStore | None = None,
    ) -> None:
        if config.peers is None:
            raise ConfigError("peers: missing")
        self.counters = CoalitionCounters()
        self._populations = populations
        self._schedule = schedule
        self._recorder = recorder
        self._dispatch = dispatch
        self._battery = battery
        self._config: PeersConfig = config.peers
        self._objectives = [objective(entry) for entry in config.objective]
        self._clock = clock
        self.topics = DeviceTopics(config.device.fleet, config.device.name)
        self.peer = Peer(self.topics, _settings(self._config), int(clock.time()))
        sharing = ExchangeSettings(
            self._config.period_s,
            self._config.skew_s,
            self._config.worthwhile_nats,
            self._config.records_per_tick,
        )
        self.shared = SharedFactors(
            EvidenceExchange(self.topics, sharing, self.peer.conduct), self._config.window, clock
        )
        self.loans: PopulationLoans | None = None
        if keys is not None and profile is not None:
            members, heartbeat = self.peer.members, self._config.heartbeat_s
            self.loans = PopulationLoans(
                self.topics, members, keys, heartbeat, profile, populations, clock, store
            )
        self.status = PeerStatus(self.peer, self.shared, self.loans, self.counters)
        self._role: Role | None = None
        self._unsettled: float | None = None
        self._send_at = math.inf
        self._charge = 100
        self._offer: tuple[int, tuple[bytes, ...]] = (0, ())
        self._leaving = False
        self._online = False
        fleet = f"{ROOT}/{self.topics.fleet}"
        # QoS 0: what was said while this device was away is old, and what still holds is retained.
        dispatch.listen_pattern(f"{fleet}/peer/+/presence", self._on_message, 0)
        dispatch.listen_pattern(f"{fleet}/peer/+/evidence", self._on_message, 0)
        dispatch.listen_pattern(f"{fleet}/+/up/birth", self._born, 0)
        if self.loans is not None:
            dispatch.listen_pattern(f"{fleet}/peer/+/handover", self._on_message, 1)
        dispatch.add_callbacks(lambda _token: None, self._came_online)

    def start(self) -> None:
        """Describe the device and take its objectives; call before the link connects."""
        about = {
            "capabilities": tuple(sorted(set(self._config.capabilities))),
            "position": position(self._config),
            "capacity": self._config.capacity,
        }
        self._perform(self.peer.describe(about, *self._now()))
        self._perform(self.peer.set_objectives(self._objectives, *self._now()))
        self.changed()
        if self.loans is not None:
            self.loans.start()

    def incarnation(self, online: bool) -> int:
        """Return the incarnation that a birth announces, or that the will, or the goodbye, ends."""
        return self.peer.incarnation if online or self._leaving else self.peer.will()

    def changed(self) -> None:
        """Take note that populations came, went, or run other models."""
        groups, arena = self._populations.groups, self._populations.arena
        self.shared.bind(groups)
        self.shared.sharing.share_with(self.status.members)
        now = self._clock.monotonic()
        self._send_at = now + self.shared.seconds_to(SEND_AT) if self.shared else math.inf
        for name, group in groups.items():
            if group.config.share:
                self._schedule.align(name, now + self.shared.seconds_to(STEP_AT))
        prefer(groups, self._role, self._recorder)
        if self.loans is not None:
            self._publish(self.loans.changed())
            held = {bundle_id(group.digest) for group in groups.values()}
            room = min(arena.nbytes - arena.used, self._config.room_kb * 1024)
            offer = (room, tuple(sorted(held)[:MAX_BUNDLES]))
            if offer != self._offer:
                self._offer = offer
                self._perform(self.peer.describe({"room": offer[0], "bundles": offer[1]}, *self._now()))

    @property
    def deadline(self) -> float:
        """When `run_once` has something to do, monotonic seconds."""
        loans = math.inf if self.loans is None else self.loans.deadline
        return min(self.peer.deadline, self._send_at, loans)

    def run_once(self) -> None:
        """Act on what is due."""
        if self._online and not self._dispatch.online:
            self._online = False
            self.peer.disconnected()
        now, unix = self._now()
        if now >= self.peer.deadline:
            self._look()
            self._perform(self.peer.tick(now, unix))
        if now >= self._send_at:
            self._publish(self.shared.flush())
            self._send_at = now + self.shared.seconds_to(SEND_AT)
        if self.loans is not None:
            self._publish(self.loans.run_once())

    def stop(self) -> None:
        """Say goodbye."""
        self._perform(self.peer.leave(*self._now()))
        self._leaving = True

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    def _came_online(self) -> None:
        self._online = True
        self._perform(self.peer.connected(*self._now()))

    def _on_message(self, message: Received) -> None:
        address = parse(message.topic)
        if address.channel == "handover" and self.loans is not None:
            try:
                self._publish(self.loans.receive(address.device, message.payload))
            except PeerError as error:
                log.warning("peers: %s", error)
                self.peer.conduct.record_offence(address.device, Offence.MALFORMED, self._clock.monotonic())
        elif address.channel == "evidence":
            self.shared.sharing.receive(address.device, message.payload, *self._now())
        else:
            self._perform(self.peer.presence(address.device, message.payload, message.retain, *self._now()))

    def _born(self, message: Received) -> None:
        try:
            body = messages.decode(message.payload).body
        except PeerError:
            return  # the hub's to complain about
        over = body.get("incarnation")
        if body.get("online") is False and isinstance(over, int):
            self._perform(self.peer.gone(parse(message.topic).device, over, *self._now()))

    def _perform(self, effects: Iterable[Effect]) -> None:
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
        self.shared.sharing.share_with(self.status.members)
        prefer(self._populations.groups, self._role, self._recorder)

    def _time_agreement(self) -> None:
        if self.peer.confirmed == self.peer.coalition:
            if self._unsettled is not None and self.peer.confirmed is not None:
                self.counters.agreed_s = self._clock.monotonic() - self._unsettled
            self._unsettled = None
        elif self._unsettled is None:
            self._unsettled = self._clock.monotonic()

    def _look(self) -> None:
        """Tell the fleet how much charge is left, in steps."""
        charge = self._battery()
        percent = 100 if charge is None else int(charge * 100) // BATTERY_STEP * BATTERY_STEP
        if percent != self._charge:
            self._charge = percent
            self._perform(self.peer.describe({"battery": percent}, *self._now()))

    def _publish(self, publications: Iterable[Publication]) -> None:
        for publication in publications:
            self._dispatch.publish(publication)


def _settings(config: PeersConfig) -> PeerSettings:
    return PeerSettings(
        config.heartbeat_s,
        config.pause_s,
        skew=config.skew_s,
        devices=config.devices,
        rate=2.0 / config.pause_s + 2.0 / config.period_s,
    )
