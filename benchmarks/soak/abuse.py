"""What is done to them, from a seed: outages, kills, floods, nonsense, full disks, and rollouts.

`script` deals the kinds in shuffled rounds, so that each happens once before any happens twice, and the same
seed gives the same script. A second round adds what mixes two of them: a rollout during which the broker, a
daemon or the hub goes away, whose own end is open; that no device runs the bad bundle afterwards is not. One
daemon and one of the hub's workers are never killed: they live through all the rest, so their memory has the
whole time to grow in.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.soak import hub
from benchmarks.soak.lab import DEVICES, FILLED, FLEET, ROOMS, Lab
from edge_agent.wire.topics import DeviceTopics

SPARED = DEVICES[-1]
FLOOD_RATE = 3000.0
READINGS_PER_SECOND = 100.0


class Abuse:
    """The kinds, on a laboratory; ``done`` counts them, ``failures`` says what did not end as it should."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.rng = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self._lab = lab
        self._over = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", lab.broker.port)
        self._client.loop_start()
        self._traffic = threading.Thread(target=self._readings, args=(random.Random(seed + 1),), daemon=True)
        self._traffic.start()
        self.kinds: dict[str, Callable[[], None]] = {
            "outage": self.outage,
            "kill": self.kill,
            "flood": self.flood,
            "nonsense": self.nonsense,
            "good rollout": self.good_rollout,
            "bad rollout": self.bad_rollout,
            "learned counts sent": self.send_learned,
            "kill of the hub": self.kill_hub,
            "restart of the database": self.restart_database,
        }
        if lab.can_fill:
            self.kinds["full disk"] = self.full_disk
        self.mixed: dict[str, Callable[[], None]] = {
            "rollout with an outage": self.rollout_with(self.outage),
            "rollout with a kill": self.rollout_with(self.kill),
            "rollout with a kill of the hub": self.rollout_with(self.kill_hub),
        }

    def script(self) -> Iterator[str]:
        """Yield kinds without end, in shuffled rounds."""
        kinds = list(self.kinds)
        while True:
            self.rng.shuffle(kinds)
            yield from kinds
            kinds = [*self.kinds, *self.mixed]

    def do(self, kind: str) -> None:
        """Do one, and wait until all daemons are online again."""
        (self.kinds | self.mixed)[kind]()
        self._lab.hub.start_again()
        for name in DEVICES:
            self._lab.wait_online(name)
        self.done[kind] += 1

    def filled(self, name: str) -> bool:
        """Whether a daemon had a full disk."""
        return name == FILLED and self.done["full disk"] > 0

    def close(self) -> None:
        """End the traffic."""
        self._over.set()
        self._traffic.join()
        self._client.disconnect()
        self._client.loop_stop()

    def outage(self) -> None:
        """Take the broker away for some seconds, with or without a goodbye."""
        self.rng.choice((self._lab.broker.kill, self._lab.broker.stop))()
        time.sleep(self.rng.uniform(1.0, 5.0))
        self._lab.broker.start()

    def kill(self) -> None:
        """Kill a daemon other than `SPARED`, and start it again soon."""
        name = self.rng.choice([name for name in DEVICES if name != SPARED])
        self._lab.kill(name)
        time.sleep(self.rng.uniform(0.2, 2.0))
        self._lab.boot(name)

    def send_learned(self) -> None:
        """Ask all devices for what they learned."""
        wanted = {"fleet": FLEET, "name": "send-learned", "arguments": {"population": "rooms"}}
        self._lab.hub.ask("POST", "/commands", json=wanted)

    def kill_hub(self) -> None:
        """Kill the hub's service or a worker, and start it again soon."""
        name = self.rng.choice([name for name in self._lab.hub.processes.running if name != hub.SPARED])
        self._lab.hub.processes.kill(name)
        time.sleep(self.rng.uniform(0.2, 2.0))
        self._lab.hub.processes.start(name)

    def restart_database(self) -> None:
        """Take PostgreSQL away for some seconds."""
        self._lab.hub.restart_database(self.rng.uniform(0.5, 3.0))

    def full_disk(self) -> None:
        """Leave a daemon no room for its state for some seconds."""
        self._lab.fill(self.rng.uniform(3.0, 8.0))

    def flood(self) -> None:
        """Publish thousands of readings per second on one topic."""
        topic = f"z/{self.rng.choice(DEVICES)}/room-{self.rng.randrange(ROOMS)}"
        length, start, sent = self.rng.uniform(2.0, 4.0), time.monotonic(), 0
        while (passed := time.monotonic() - start) < length:
            while sent < passed * FLOOD_RATE:
                self._client.publish(topic, b'{"co2": %d}' % self.rng.randint(300, 1500))
                sent += 1
            time.sleep(0.01)

    def nonsense(self) -> None:
        """Publish what no sensor, hub or peer would send, to everything a device listens to."""
        name = self.rng.choice(DEVICES)
        topics = DeviceTopics(FLEET, name)
        deep = b'{"co2": ' + b'{"a": ' * 3000 + b"1" + b"}" * 3001
        payloads = [b"", b"\xff" * 100, b'{"co2": NaN}', b'{"co2": 1e999}', deep, b"x" * 500_000]
        payloads += [self.rng.randbytes(self.rng.randrange(1, 200)) for _ in range(50)]
        where = [f"z/{name}/room-0", topics.command, topics.desired, topics.block, topics.bulk_in("rooms")]
        for payload in payloads:
            self._client.publish(self.rng.choice(where), payload)

    def good_rollout(self) -> None:
        """Roll a good bundle out; every device has to commit it."""
        self._deploy("good rollout", self._lab.good[self.done["good rollout"] % 2], "done")

    def bad_rollout(self) -> None:
        """Roll a bad bundle out; the canary has to refuse it."""
        self._deploy("bad rollout", self._lab.bad, "stopped")

    def rollout_with(self, fault: Callable[[], None]) -> Callable[[], None]:
        """Return what rolls a bundle out, good or bad, while ``fault`` happens."""

        def both() -> None:
            path = self.rng.choice((*self._lab.good, self._lab.bad))
            rollout = threading.Thread(target=self._lab.hub.deploy, args=(path,))
            rollout.start()
            time.sleep(self.rng.uniform(0.5, 4.0))
            fault()
            rollout.join()

        return both

    def _deploy(self, kind: str, path: Path, expected: str) -> None:
        ended = self._lab.hub.deploy(path)
        if ended != expected:
            self.failures.append(f"{kind} {self.done[kind] + 1}: {ended}, expected {expected}")

    def _readings(self, rng: random.Random) -> None:
        start, sent = time.monotonic(), 0
        while not self._over.wait(0.05):
            if time.monotonic() - start - sent / READINGS_PER_SECOND > 1.0:  # held up: no burst afterwards
                start = time.monotonic() - sent / READINGS_PER_SECOND
            while sent < (time.monotonic() - start) * READINGS_PER_SECOND:
                topic = f"z/{rng.choice(DEVICES)}/room-{rng.randrange(ROOMS)}"
                self._client.publish(topic, b'{"co2": %d}' % rng.randint(300, 1500))
                sent += 1
