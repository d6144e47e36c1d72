"""The device's side of the hub protocol: desired documents, commands, transfers and rollouts.

Theory of operation. Inputs are messages from ``down/#`` and reports of the daemon; outputs are effects. The
state that must survive a power cut is one JSON object, `HubClient.state`. `Save` carries it and precedes the
effects that depend on it: the daemon writes it atomically (``adapters.state_file.StateFile``) and then
continues the list. The bundle that each population runs after a restart is part of that object, so writing it
commits a rollout.

What the hub sets in the configuration is a rollout too, under a name that no population has
(`protocol.remote_configuration`). What the daemon does for each effect, and what it calls afterwards::

    Save(state)                   write the state file; if that fails, keep the list and try again later
    Publish(publication)          session.publish
    Write(cut, index, data)       adapters.blocks.BundleFolder.write
    Download(cut)                 BundleFolder.download, in a thread    -> fetched / unavailable
    Verify(population, bundle)    BundleFolder.finish, read, check the
                                  signer and the memory plan, run the
                                  golden vectors, load                -> verified / failed
    Shadow(population, bundle)    step it beside the old one          -> health(population, Health(...))
    Trial(population, bundle)     let it act, keep the old one loaded -> health(population, Health(...))
    Commit(population, bundle)    drop the old bundle
    RollBack(population, bundle)  let the old one act, drop the new one
    Leave(population)             remove a population that the hub had added
    Parameters(values)            apply what is known
    Begin(command)                carry it out                        -> finished(id, ok, ...)
    Warn(text)                    log it

A population that is not configured is made from the ``config`` beside its bundle; the checked one is stored
(``added``) and used after a restart. It goes when a later document does not name it; configured ones stay.

Health is reported every few seconds, counted from the beginning of the stage. At start:
``HubClient(..., state=state_file.read())``, load ``client.running(population)`` for each population, carry
out ``client.start(...)``. On `Online`: ``client.online(...)``. ``deadline`` joins the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from edge_agent.errors import ConfigError, PeerError, PlatformError
from edge_agent.protocol.command_guard import Begin, CommandGuard, Reply, Unanswered
from edge_agent.protocol.hub_effects import Download, HubEffect, Leave, Parameters, Publish, Save, Warn
from edge_agent.protocol.ports import Publication, Received, Subscription
from edge_agent.protocol.remote_configuration import CONFIGURATION, RemoteConfiguration, is_busy, waits
from edge_agent.protocol.rollout import (
    ENDED,
    Commit,
    Gates,
    Health,
    RollBack,
    Rollout,
    RolloutEffect,
    Stage,
    active_of,
)
from edge_agent.protocol.transfer import Ask, Complete, Transfer, TransferEffect, Write
from edge_agent.protocol.twin import NO_FLOOR, Adopted, Floor, Twin
from edge_agent.wire import blocks, bodies, messages
from edge_agent.wire.blocks import Cut
from edge_agent.wire.body_checks import check_plain
from edge_agent.wire.documents import Document, Trust, shortened
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics

REPORT_SECONDS = 1.0
"""The reported document is published at most this often, connects excepted."""
STATE_VERSION = 1
"""Version of the format of `HubClient.state`."""


class HubClient:
    """The device's side of the hub; see the module's head.

    Parameters
    ----------
    topics : DeviceTopics
        Who we are.
    trust : Trust
        The configured hub keys.
    configured : mapping of str to (str, int)
        Population name to (bundle digest, agents) as configured.
    had : callable (Cut) -> collection of int
        Which blocks of a bundle are on this disk already (all of them: nothing is fetched).
    rng : random.Random
        Spreads repeated requests.
    state : mapping, optional
        What the last `Save` carried.
    floor : Floor
        The highest versions ever in force here, as kept beside the state.

    Raises
    ------
    PlatformError
        ``state`` is something else, of another version of its format, or of another device.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        trust: Trust,
        configured: Mapping[str, tuple[str, int]],
        had: Callable[[Cut], Collection[int]],
        rng: random.Random,
        state: Mapping[str, Any] | None = None,
        floor: Floor = NO_FLOOR,
    ) -> None:
        state = state or {}
        owner = f"{topics.fleet}/{topics.device}"
        try:
            check_plain(state, "state")
            if state.get("v", STATE_VERSION) != STATE_VERSION:
                raise PeerError(f"v: found {state['v']!r}, expected {STATE_VERSION}")
            if state and "twin" not in state:
                raise PeerError("twin: missing, expected the document in force and the keys")
            if state.get("owner", owner) != owner:
                raise PeerError(f"owner: found {state['owner']!r}, expected {owner!r}")
            self.twin = Twin(topics.device, trust, state.get("twin"), floor)
            self.commands = CommandGuard(topics.device, state.get("commands"))
            self.rollouts = {n: Rollout.of_state(s) for n, s in state.get("rollouts", {}).items()}
            self.active = active_of(state)
            self.added = {n: dict(e) for n, e in state.get("added", {}).items()}
            self.configuration = RemoteConfiguration(state.get("configuration"))
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError, PeerError) as error:
            reason = str(error) if isinstance(error, (ConfigError, PeerError)) else repr(error)
            raise PlatformError(f"the hub's state is not what was kept ({reason})") from error
        self._owner = owner
        self.malformed = 0
        self._topics = topics
        self._configured = dict(configured)
        self._had = had
        self._rng = rng
        self._arriving: dict[str, dict[str, Any]] = {}
        self._transfers: dict[str, Transfer] = {}
        self._downloads: set[str] = set()
        self._saved = dict(state)
        self._last_reported: dict[str, Any] = {}
        self._quiet_until = 0.0
        self._report_at: float | None = None

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What the session should subscribe to."""
        return (
            Subscription(self._topics.desired),
            Subscription(self._topics.command),
            Subscription(self._topics.block),
        )

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do, monotonic seconds."""
        machines: list[Transfer | Rollout] = [*self._transfers.values(), *self.rollouts.values()]
        times = [*(m.deadline for m in machines), self._report_at]
        return min((t for t in times if t is not None), default=None)

    def running(self, population: str) -> str:
        """Return the digest of the bundle that a population runs after a restart."""
        return self.active.get(population) or self._configured.get(population, ("", 0))[0]

    def state(self) -> dict[str, Any]:
        """Return all that must survive a restart, as JSON."""
        return self.configuration.state() | {
            "v": STATE_VERSION,
            "owner": self._owner,
            "twin": self.twin.state(),
            "commands": self.commands.state(),
            "rollouts": {n: r.state() for n, r in self.rollouts.items()},
            "active": dict(self.active),
            "added": dict(self.added),
        }

    def reported(self) -> dict[str, Any]:
        """Return the body of the reported document."""
        running = {n: {"bundle": self.running(n), "size": s} for n, (_, s) in self._configured.items()}
        progress = {n: self._progress(r) for n, r in self.rollouts.items()}
        own = progress.pop(CONFIGURATION, {})
        body = self.twin.reported() | {"populations": running, "rollouts": progress}
        if configuration := self.configuration.reported(self.rollouts.get(CONFIGURATION), own):
            body["configuration"] = configuration
        return body

    def start(self, now: float, t: float) -> list[HubEffect]:
        """Go on where the last process was interrupted."""
        effects: list[HubEffect] = []
        if self.twin.document is not None:
            effects.append(Parameters(self.twin.document.get("parameters", {})))
        for rollout in self.rollouts.values():
            if rollout.stage not in ENDED:
                effects += self._moved(rollout.resume(now))
                effects += self._fetch(rollout, now, t)
        return self._kept(effects, now, t)

    def asked_for(self, population: str) -> dict[str, Any] | None:
        """Return what the hub wants a new population to be made of, None if it does not say."""
        document = self.twin.document or {}
        config: dict[str, Any] | None = document.get("populations", {}).get(population, {}).get("config")
        return config

    def lost(self, population: str, reason: str) -> None:
        """Take note that a population the hub had added is not here after a restart."""
        bundle = self.active.pop(population, "")
        del self.added[population]
        rollout = self.rollouts[population] = Rollout(population, bundle, "", Gates())
        rollout.stage, rollout.reason = Stage.ROLLED_BACK, reason

    def configure(self, configured: Mapping[str, tuple[str, int]], now: float, t: float) -> list[HubEffect]:
        """Take note that other populations are there now: name to (bundle digest, agents)."""
        self._configured = dict(configured)
        return self._kept([], now, t)

    def online(self, now: float, t: float) -> list[HubEffect]:
        """Report what runs, and ask again for blocks, which the old connection may have lost.

        To be carried out on every connect.
        """
        effects = [self._report(now, t)]
        for transfer in list(self._transfers.values()):
            effects += self._transferred(transfer.start(now), now, t)
        return effects

    def handle(self, message: Received, now: float, t: float) -> list[HubEffect]:
        """Take a message in; those of other topics are ignored."""
        effects: list[HubEffect] = []
        if not message.payload:
            return []  # a retained document was cleared: what is in force stays
        if message.topic == self._topics.desired:
            effects = self._desired(message.payload, now, t)
        elif message.topic == self._topics.command and not message.retain:
            effects = self._command(message.payload, t)
        elif message.topic == self._topics.block:
            effects = self._block(message.payload, now, t)
        return self._kept(effects, now, t)

    def fetched(self, bundle: str, now: float, t: float) -> list[HubEffect]:
        """Take note that a bundle's file is complete."""
        self._transfers.pop(bundle, None)
        self._downloads.discard(bundle)
        effects: list[HubEffect] = []
        for rollout in self.rollouts.values():
            if rollout.bundle == bundle:
                effects += self._moved(rollout.fetched(now))
        return self._kept(effects, now, t)

    def unavailable(self, bundle: str, now: float, t: float) -> list[HubEffect]:
        """Take note that a download failed: what is missing is asked of the hub, block by block."""
        self._downloads.discard(bundle)
        effects: list[HubEffect] = []
        for rollout in self.rollouts.values():
            if rollout.bundle == bundle:
                effects += self._fetch(rollout, now, t, by_url=False)
        return self._kept(effects, now, t)

    def verified(
        self, population: str, bundle: str, now: float, t: float, config: Mapping[str, Any] | None = None
    ) -> list[HubEffect]:
        """Take note that a bundle is sound, fits and is loaded; ``config`` is that of a new population."""
        rollout = self.rollouts.get(population)
        if rollout is None or rollout.bundle != bundle:
            return []
        if config is not None:
            self._arriving[population] = dict(config)
        return self._kept(self._moved(rollout.verified(now)), now, t)

    def failed(self, population: str, bundle: str, reason: str, now: float, t: float) -> list[HubEffect]:
        """Take note that a bundle could not be fetched, verified or run."""
        rollout = self.rollouts.get(population)
        if rollout is None or rollout.bundle != bundle:
            return []
        return self._kept(self._moved(rollout.failed(reason, now)), now, t)

    def committed(self, population: str, bundle: str, now: float, t: float) -> list[HubEffect]:
        """Take note that the installer has tried a package and left it installed."""
        rollout = self.rollouts.get(population)
        if rollout is None or rollout.bundle != bundle:
            return []
        return self._kept(self._moved(rollout.committed(now)), now, t)

    def health(self, population: str, health: Health, now: float, t: float) -> list[HubEffect]:
        """Take in how a bundle in its shadow run or trial does."""
        rollout = self.rollouts.get(population)
        return self._kept(self._moved(rollout.health(health, now)), now, t) if rollout else []

    def finished(
        self,
        id_: str,
        ok: bool,
        now: float,
        t: float,
        result: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> list[HubEffect]:
        """Take note that a command was carried out, or could not be."""
        return self._kept([self._reply(self.commands.finished(id_, ok, result, reason), t)], now, t)

    def tick(self, now: float, t: float) -> list[HubEffect]:
        """Act on timers that are due."""
        effects: list[HubEffect] = []
        for transfer in list(self._transfers.values()):
            effects += self._transferred(transfer.tick(now), now, t)
        for rollout in self.rollouts.values():
            effects += self._moved(rollout.tick(now))
        return self._kept(effects, now, t)

    def _kept(self, effects: list[HubEffect], now: float, t: float) -> list[HubEffect]:
        """Put a Save first if what must survive has changed, and a report last if what is reported has."""
        if waits(self.rollouts):
            effects = [*effects, *self._moved(self.rollouts[CONFIGURATION].fetched(now))]
        for rollout in self.rollouts.values():
            effects = [*effects, *self._fetch(rollout, now, t)]  # those that waited for a configuration
        state = self.state()
        if state != self._saved:
            self._saved = state
            effects = [Save(state), *effects]
        if self.reported() != self._last_reported:
            if now < self._quiet_until:
                self._report_at = self._quiet_until  # a flood of refusals becomes one report a second
            else:
                effects = [*effects, self._report(now, t)]
        return effects

    def _desired(self, payload: bytes, now: float, t: float) -> list[HubEffect]:
        outcome = self.twin.offer(payload, t, self.running)
        return self._adopt(outcome.document, now, t) if isinstance(outcome, Adopted) else []

    def _adopt(self, document: Document, now: float, t: float) -> list[HubEffect]:
        effects: list[HubEffect] = [Parameters(document.get("parameters", {}))]
        for population, wanted in document.get("populations", {}).items():
            bundle, old = wanted["bundle"], self.rollouts.get(population)
            if old is not None and old.bundle == bundle and old.stage not in ENDED:
                continue  # under way already
            if old is not None and old.stage not in ENDED:
                effects += self._moved(old.failed("another bundle is desired", now))
            if bundle == self.running(population):
                self.rollouts.pop(population, None)
                continue
            rollout = Rollout(population, bundle, self.running(population), Gates())
            self.rollouts[population] = rollout
            try:
                rollout.gates = Gates.of(document.get("gates", {}))
            except PeerError as error:
                effects += self._moved(rollout.failed(str(error), now))
                continue
            if population not in self._configured and "config" not in wanted:
                reason = f"no population {population!r} here, and no config to make one of"
                effects += self._moved(rollout.failed(reason, now))
                continue
            effects += self._fetch(rollout, now, t)
        for population, rollout in self.rollouts.items():
            if population not in (*document.get("populations", {}), CONFIGURATION):
                effects += self._moved(rollout.failed("no longer desired", now))
        for population in self.added.keys() - document.get("populations", {}).keys():
            del self.added[population]
            self.active.pop(population, None)
            self.rollouts.pop(population, None)
            effects.append(Leave(population))
        effects += self._moved(self.configuration.adopt(document, self.rollouts, now))
        wanted_bundles = {r.bundle for r in self.rollouts.values() if r.stage not in ENDED}
        self._transfers = {d: transfer for d, transfer in self._transfers.items() if d in wanted_bundles}
        return effects

    def _fetch(self, rollout: Rollout, now: float, t: float, by_url: bool = True) -> list[HubEffect]:
        bundle = rollout.bundle
        under_way = bundle in self._transfers or bundle in self._downloads
        held = rollout.population == CONFIGURATION or is_busy(self.rollouts)
        if held or rollout.stage is not Stage.FETCHING or under_way or self.twin.document is None:
            return []
        if bundle not in self.twin.document.get("bundles", {}):
            return self._moved(rollout.failed("no longer desired", now))
        cut = blocks.of_entry(bundle, self.twin.document["bundles"][bundle])
        had = self._had(cut)
        if by_url and cut.url and len(had) < len(cut.blocks):
            self._downloads.add(bundle)
            return [Download(cut)]
        transfer = self._transfers[bundle] = Transfer(cut, had, self._rng)
        return self._transferred(transfer.start(now), now, t)

    def _command(self, payload: bytes, t: float) -> list[HubEffect]:
        outcome = self.commands.offer(payload, self.twin.believed, t)
        match outcome:
            case Unanswered(reason):
                return [Warn(f"a command was refused and cannot be answered: {shortened(reason)}")]
            case Begin():
                return [outcome]
            case Reply():
                return [self._reply(outcome, t)]
        return []

    def _block(self, payload: bytes, now: float, t: float) -> list[HubEffect]:
        try:
            body = messages.decode(payload).body
            bodies.check(bodies.BLOCK, body, "block")
        except PeerError:
            self.malformed += 1
            return []
        transfer = self._transfers.get(body["bundle"])
        return self._transferred(transfer.block(body["index"], body["data"], now), now, t) if transfer else []

    def _transferred(self, effects: Iterable[TransferEffect], now: float, t: float) -> list[HubEffect]:
        out: list[HubEffect] = []
        for effect in effects:
            match effect:
                case Ask(digest, wanted):
                    body = {"bundle": digest, "blocks": list(wanted)}
                    out.append(self._publish(self._topics.fetch, Message(body, t=t)))
                case Complete(digest):
                    del self._transfers[digest]
                    for rollout in self.rollouts.values():
                        if rollout.bundle == digest:
                            out += self._moved(rollout.fetched(now))
                case Write():
                    out.append(effect)
        return out

    def _moved(self, effects: Iterable[RolloutEffect]) -> list[HubEffect]:
        out: list[HubEffect] = []
        for effect in effects:
            if effect.population == CONFIGURATION:
                if isinstance(effect, Commit):
                    self.configuration.commit()
            elif isinstance(effect, Commit):
                self.active[effect.population] = effect.bundle
                if effect.population in self._arriving:
                    self.added[effect.population] = self._arriving.pop(effect.population)
            elif isinstance(effect, RollBack):
                self._arriving.pop(effect.population, None)
            out.append(effect)
        return out

    def _progress(self, rollout: Rollout) -> dict[str, Any]:
        progress: dict[str, Any] = {"bundle": rollout.bundle, "stage": rollout.stage.value}
        if rollout.reason:
            progress["reason"] = shortened(rollout.reason)
        transfer = self._transfers.get(rollout.bundle)
        if transfer is not None:
            progress |= {"blocks": transfer.had, "of": len(transfer.cut.blocks)}
        return progress

    def _reply(self, reply: Reply, t: float) -> HubEffect:
        return self._publish(self._topics.reply(reply.id), Message(reply.body, id=reply.id, t=t))

    def _report(self, now: float, t: float) -> HubEffect:
        self._last_reported = self.reported()
        self._quiet_until, self._report_at = now + REPORT_SECONDS, None
        return self._publish(self._topics.reported, Message(self._last_reported, t=t), retain=True)

    def _publish(self, topic: str, message: Message, retain: bool = False) -> Publish:
        payload = messages.encode(message)
        return Publish(Publication(topic, payload, retain=retain, content_type="application/msgpack"))
