"""Runs a rollout: sends signed documents, receives reports, serves blocks.

Theory of operation. `Deployment` connects the I/O-free rollout with a connection. It updates the state of the
fleet, sends each device of the current wave a desired document based on the one that the broker retains for
it (other populations stay unchanged), serves blocks of its bundles, and saves the rollout when its status or
wave changes, and other changes every `SAVE_S`, or more rarely where a write takes long. After a crash the
retained reports are heard again, and a document that is sent twice says the same. Time counts against
devices only while the broker is connected and its retained messages have been received.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edge_agent.errors import ConfigError, PeerError
from edge_agent.wire import blocks, bodies, bundle, topics
from edge_agent.wire.blocks import Cut
from edge_agent.wire.bundle import canonical_json
from edge_agent.wire.topics import DeviceTopics
from edge_hub import renewal
from edge_hub.block_server import BlockServer
from edge_hub.connection import Connection, Incoming
from edge_hub.desired import Desired
from edge_hub.fleet import Device, Fleet
from edge_hub.rollout import CONFIGURATION, PAUSED, RUNNING, STATES, FleetRollout

SAVE_S = 1.0
SAVE_PAUSE = 10.0
"""Between two writes of a rollout: so many seconds, or lengths of a write if that is longer."""
SENT_AT_ONCE = 500
"""Documents between two looks at what was asked for."""
LOOK_S = 0.05
STEP_PAUSE = 4.0
"""From the beginning of a look to the next: so many seconds, or lengths of a step if that is longer."""


class RolloutStore(Protocol):
    """Where a rollout and the bundles are kept: a folder, or the service's database."""

    def save(self, rollout: FleetRollout) -> None:
        """Write a rollout."""

    def take_request(self, id_: str) -> str:
        """Return what was asked for since the last call: pause, resume, abort, or "" for nothing."""
        ...

    def bundle(self, digest: str) -> Path:
        """Return where a bundle is, if it is kept."""
        ...


class Deployment:
    """A rollout at work.

    Parameters
    ----------
    rollout : FleetRollout
        What to do.
    store : RolloutStore
        Where it is kept, and the bundles.
    link : Connection
        Subscribed to `filters`.
    desired : Desired
        Makes the documents.
    """

    def __init__(
        self,
        rollout: FleetRollout,
        store: RolloutStore,
        link: Connection,
        desired: Desired,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.rollout = rollout
        self.fleet = Fleet()
        self._store = store
        self._link = link
        self._desired = desired
        self._now = now
        self._blocks = BlockServer(link, store.bundle)
        self._saved: tuple[float, str, int, dict[str, Any]] = (-math.inf, "", 0, {})  # when, what
        self._cuts: dict[str, Cut] = {}
        self._offline: set[str] = set()
        self._connects = 0
        self._renewal = 0.0

    def run(self, changed: Callable[[FleetRollout], None]) -> None:
        """Work until the rollout has ended and everything to be sent back is."""
        due = 0.0
        while True:
            for message in self._link.messages(0.2):
                self.handle(message)
            now = time.monotonic()
            if now < due:
                continue
            self._apply_request(self._store.take_request(self.rollout.id))
            waiting = self._step()
            # A step looks at every device, a message at one: with 10,000 devices it must not follow each.
            due = now + max(LOOK_S, STEP_PAUSE * (time.monotonic() - now))
            for device in waiting[:SENT_AT_ONCE]:
                self._send(device, device in self._offline)
            self._renew()
            for device in self.rollout.to_revert()[: SENT_AT_ONCE * self._link.settled]:
                self._send_back(device)
            self._desired.finish()  # before anybody reads that it was sent
            self._keep(changed)
            if self.rollout.status not in (RUNNING, PAUSED) and not self.rollout.to_revert():
                return

    def _apply_request(self, request: str) -> None:
        match request:
            case "pause":
                self.rollout.pause()
            case "resume":
                self.rollout.resume()
            case "abort":
                self.rollout.abort()

    def _step(self) -> list[str]:
        """Return the devices that are to be sent the new bundle now."""
        if not self._link.settled:
            return []
        if self._connects != self._link.connects:
            self._connects = self._link.connects
            self.rollout.restart(self._now())
        return self.rollout.step(self._now(), self._offline)

    def _renew(self) -> None:
        """Sign documents anew that end before their devices have returned."""
        now = self._now()
        if not self._link.settled or now < self._renewal:
            return
        self._renewal = now + renewal.pause(self._desired.expires)
        for device, version in self._desired.renew(renewal.reports(self.fleet), now, SENT_AT_ONCE).items():
            if device in self.rollout.members:
                self.rollout.members[device].version = version

    def handle(self, message: Incoming) -> None:
        """Take one message in."""
        with self.fleet.rejected.around(message.topic, message.payload):
            address = topics.parse(message.topic)
            if address.channel == "down/desired":
                self._desired.note(address.device, message.payload)
            elif address.channel == "up/fetch":
                self._blocks.answer(DeviceTopics(address.fleet, address.device), message.payload)
            else:
                device = self.fleet.handle(message.topic, message.payload, self._now())
                if device is not None:
                    self._heard(device, address.channel)

    def _keep(self, changed: Callable[[FleetRollout], None]) -> None:
        due, status, wave, old = self._saved
        now, rollout = time.monotonic(), self.rollout
        if now < due and (rollout.status, rollout.wave) == (status, wave):
            return
        new = rollout.state()
        if new != old:
            self._store.save(rollout)
            changed(rollout)
        pause = max(SAVE_S, SAVE_PAUSE * (time.monotonic() - now))
        self._saved = (now + pause, rollout.status, rollout.wave, new)

    def _heard(self, device: Device, channel: str) -> None:
        """Take in what a device said; ``_offline`` are those whose will or goodbye is retained.

        Of a device without a birth nothing is known.
        """
        if channel == "up/reported":
            self.rollout.reported(device.name, device.reported)
        elif device.birth.get("online") is False:
            self._offline.add(device.name)
        else:
            self._offline.discard(device.name)

    def _send(self, device: str, offline: bool) -> None:
        previous = self._running(device)
        if self.rollout.population == CONFIGURATION and previous != self.rollout.bundle:
            previous = canonical_json(self._values(device)).decode()
        try:
            version = self._publish(device, self.rollout.bundle)
        except PeerError as error:
            self.rollout.unsent(device, str(error))
        else:
            self.rollout.sent(device, version, previous, self._now(), offline)

    def _send_back(self, device: str) -> None:
        previous = self.rollout.members[device].previous
        if self.rollout.population == CONFIGURATION and not previous:
            self.rollout.not_reverted(device, "it had this configuration before")
            return
        if reason := self._forbids(device, previous):
            self.rollout.not_reverted(device, reason)
            return
        if self.rollout.population == CONFIGURATION or not previous or self._store.bundle(previous).exists():
            try:
                self._publish(device, previous)
            except PeerError as error:
                self.rollout.not_reverted(device, str(error))
            else:
                self.rollout.reverted(device)
        else:
            # Without the old bundle's blocks it can't be described; the device keeps the old one if it
            # has it.
            self.rollout.not_reverted(device, f"the hub does not hold {previous[:12]}")

    def _forbids(self, device: str, previous: str) -> str:
        """Return why a device that committed would refuse the old bundle, "" if it would not."""
        known = self.fleet.devices.get(device)
        number = known.reported.get("releases", {}).get(self.rollout.population) if known else None
        committed = self._running(device) == self.rollout.bundle
        if number is None or not previous or not committed:
            return ""
        if self._desired.allows(self.rollout.population, previous, number):
            return ""
        return f"release {number} does not allow bundle {previous[:12]}"

    def _running(self, device: str) -> str:
        known = self.fleet.devices.get(device)
        if self.rollout.population == CONFIGURATION:
            return self.rollout.told(known.reported if known else {})[0]
        for source in (known.reported, known.birth) if known else ():
            digest: str = source.get("populations", {}).get(self.rollout.population, {}).get("bundle", "")
            if digest:
                return digest
        return ""

    def _values(self, device: str) -> Mapping[str, Any]:
        """Return what a hub has set in a device's configuration, as the device reports it."""
        known = self.fleet.devices.get(device)
        values: Mapping[str, Any] = known.reported.get("configuration", {}).get("values", {}) if known else {}
        return values

    def _publish(self, device: str, target: str) -> int:
        """Send a device the document that follows; ``target`` is the digest to run, or values as JSON."""
        known = self.fleet.devices.get(device)
        reported = known.reported.get("version", 0) if known else 0
        if self.rollout.population == CONFIGURATION:
            new = self.rollout.config if target == self.rollout.bundle else json.loads(target)
            changes = {"configuration": new, "gates": self.rollout.gates}
        else:
            changes = self._bundle_changes(device, target)
        return self._desired.begin(device, changes, reported, self._now())

    def _bundle_changes(self, device: str, digest: str) -> dict[str, Any]:
        old = self._desired.of(device)
        known = self.fleet.devices.get(device)
        progress = known.reported.get("rollouts", {}) if known else {}
        populations = {
            name: wanted
            for name, wanted in old.get("populations", {}).items()
            if name != self.rollout.population
            and wanted.get("bundle") in old.get("bundles", {})
            and progress.get(name, {}).get("stage") != "rolled-back"  # or the device would try it again
        }
        entries = {w["bundle"]: old["bundles"][w["bundle"]] for w in populations.values()}
        if digest:  # without one, the population was new and goes again
            config = {"config": self.rollout.config} if self.rollout.config else {}
            populations[self.rollout.population] = {"bundle": digest, **config}
            entries[digest] = self._cut(digest).entry()
        changes: dict[str, Any] = {"bundles": entries, "populations": populations}
        if old.get("configuration"):  # what the device did not keep it would try again
            changes["configuration"] = self._values(device)
        return changes | {"gates": self.rollout.gates}

    def _cut(self, digest: str) -> Cut:
        if digest not in self._cuts:
            path = self._store.bundle(digest)
            url = self.rollout.url if digest == self.rollout.bundle else ""
            self._cuts[digest] = blocks.cut(digest, bundle.read(path).name, path.read_bytes(), url)
        return self._cuts[digest]


def filters(fleet: str) -> tuple[str, ...]:
    """Return what a deployment listens to."""
    return tuple(
        f"edge/v1/{fleet}/+/{channel}" for channel in ("up/birth", "up/reported", "up/fetch", "down/desired")
    )


def gates(pairs: Sequence[str]) -> dict[str, float]:
    """Take ``name=value`` pairs apart.

    Raises
    ------
    ConfigError
        A name is no gate's, which devices would ignore, or a value is not a number of 0 or more.
    """
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in bodies.GATES:
            raise ConfigError(f"--gate: found {pair!r}, expected one of {', '.join(bodies.GATES)}")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise ConfigError(f"--gate: found {pair!r}, expected NAME=NUMBER") from error
        if not 0.0 <= found[name] < math.inf:
            raise ConfigError(f"--gate: found {pair!r}, expected a number of 0 or more")
    return found


def summary(rollout: FleetRollout) -> dict[str, Any]:
    """Return a rollout in one flat record."""
    states = [member.state for member in rollout.members.values()]
    return {
        "rollout": rollout.id,
        "bundle": rollout.bundle,
        "population": rollout.population,
        "status": rollout.status,
        "reason": rollout.reason,
        "wave": rollout.wave + 1,
        "waves": len(rollout.waves),
        "devices": len(states),
        **{state: states.count(state) for state in STATES},
        "failures": {n: m.reason for n, m in rollout.members.items() if m.state == "failed"},
    }
