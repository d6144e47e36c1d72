"""The hub under load while its parts are killed: nothing lost, nothing twice, and how long nothing came.

Simulated devices publish to a real Mosquitto and repeat what the hub has not confirmed, as devices with
``confirm = true`` do. Two ingest workers and one service store in a real PostgreSQL. Meanwhile a worker or
the service is killed with SIGKILL and started again, the broker killed, PostgreSQL stopped, in random order.
At the end every message must be stored once. A stall is the longest time without a confirmation after a
fault.

``python -m benchmarks.hub_faults [--kills 30] [--restarts 10] [--rate 2000] [--seed 1] [--json]``
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.hub_load import telemetry
from benchmarks.hub_processes import HubProcesses
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import messages
from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.testing.postgresql import PostgreSQL

DEVICES = 40
MOST_STALL_S = 5.0
REPEAT_S = 2.0
TURN_S = 0.05
MOST_OPEN = 20_000
"""Messages that are not confirmed; above, devices keep theirs to themselves."""
PATIENCE_S = 120.0
CONFIRMED_AFTER = 2_000
"""Confirmations after a fault before the next one."""
BROKER = (
    "allow_anonymous true",
    "max_inflight_messages 2000",
    "max_queued_messages 0",
    "max_queued_bytes 0",
)


class Fleet:
    """Devices that keep each message until the hub has confirmed it."""

    def __init__(self, port: int, rate: float) -> None:
        self.sent = 0
        self.confirmed = 0
        self.longest = 0.0
        """Longest time without a confirmation since `reset`, seconds."""
        self._rate = rate
        self._open: dict[tuple[int, int], float] = {}
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._producing = threading.Event()
        self._ended = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(2000)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("edge/v1/lab/+/down/confirm", 1)
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run)
        self._producing.set()
        self._thread.start()

    def has_confirmed(self, count: int) -> bool:
        """Whether so many messages were confirmed."""
        return self.confirmed >= count

    def reset(self) -> None:
        """Begin to measure a stall."""
        with self._lock:
            self.longest, self._last = 0.0, time.monotonic()

    def drain(self) -> None:
        """Make no more messages, and wait until all are confirmed."""
        self._producing.clear()
        wait(lambda: not self._open, "all messages confirmed")

    def close(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self) -> None:
        while not self._ended.wait(TURN_S):
            if not self._client.is_connected():
                continue
            now = time.monotonic()
            with self._lock:
                due = [key for key, at in self._open.items() if now - at > REPEAT_S][:500]
                if self._producing.is_set() and len(self._open) < MOST_OPEN:
                    for _ in range(int(self._rate * TURN_S)):
                        due.append((self.sent % DEVICES, self.sent // DEVICES + 1))
                        self.sent += 1
                for key in due:
                    self._open[key] = now
            for device, seq in due:
                self._client.publish(*telemetry(device, seq, time.time()), qos=1)

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        device = int(message.topic.split("/")[3][1:])
        now = time.monotonic()
        with self._lock:
            self.longest, self._last = max(self.longest, now - self._last), now
            for first, last in messages.decode(message.payload).body["ranges"]:
                for seq in range(first, last + 1):
                    if self._open.pop((device, seq), None) is not None:
                        self.confirmed += 1


def hub_processes(folder: Path, data: str, broker: int) -> HubProcesses:
    """Start two ingest workers and a service."""
    common = ["--data", data, "--broker", f"127.0.0.1:{broker}", "--group", "g"]
    listen = f"127.0.0.1:{free_port()}"
    commands = {
        "service": ["serve", *common, "--listen", listen, "--state", str(folder / "hub")],
        "worker 1": ["ingest", *common],
        "worker 2": ["ingest", *common],
    }
    processes = HubProcesses(commands, folder / "log")
    for name in commands:
        processes.start(name)
    return processes


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition.

    Raises
    ------
    TimeoutError
        It did not come true.
    """
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"hub_faults: {what}: not within {PATIENCE_S:g} s")
        time.sleep(0.02)


def run(kills: int, restarts: int, rate: float, seed: int) -> dict[str, Any]:
    """Return what was sent, stored, lost and stored twice, and the longest stall after each kind of fault."""
    rng = random.Random(seed)
    faults = ["kill"] * kills + ["broker"] * restarts + ["database"] * restarts
    rng.shuffle(faults)
    stalls = {"kill": 0.0, "broker": 0.0, "database": 0.0}
    server = PostgreSQL()
    server.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder, BROKER)
        broker.start()
        database = Database(server.new_database())
        migrate(database)
        processes = hub_processes(folder, database.name, broker.port)
        fleet = Fleet(broker.port, rate)
        began = time.monotonic()
        try:
            wait(lambda: fleet.confirmed > CONFIRMED_AFTER, "the first messages confirmed")
            for fault in faults:
                fleet.reset()
                if fault == "kill":
                    victim = rng.choice(list(processes.running))
                    processes.kill(victim)
                    processes.start(victim)
                elif fault == "broker":
                    broker.kill()
                    broker.start()
                else:
                    server.stop()
                    server.start()
                goal = fleet.confirmed + CONFIRMED_AFTER
                wait(partial(fleet.has_confirmed, goal), f"{CONFIRMED_AFTER} confirmed after {fault}")
                stalls[fault] = max(stalls[fault], fleet.longest)
            seconds = time.monotonic() - began
            fleet.drain()
            with database.read() as connection:
                stored = int(sql.one(connection, "SELECT count(*) FROM telemetry"))
                once = "SELECT count(*) FROM (SELECT DISTINCT outbox_id, seq FROM telemetry) AS found"
                different = int(sql.one(connection, once))
        finally:
            fleet.close()
            processes.kill_all()
            broker.kill()
            database.close()
            server.remove()
    return {
        "kills": kills,
        "broker_restarts": restarts,
        "database_restarts": restarts,
        "rate": rate,
        "seed": seed,
        "sent": fleet.sent,
        "sent_per_s": round(fleet.sent / seconds),
        "stored": stored,
        "lost": fleet.sent - different,
        "twice": stored - different,
        "stalls_s": {kind: round(longest, 2) for kind, longest in stalls.items()},
    }


def main() -> int:
    """Run and print; exit status 1 if something was lost, stored twice, or stalled for too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--rate", type=float, default=2000.0, help="messages per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = run(arguments.kills, arguments.restarts, arguments.rate, arguments.seed)
    if arguments.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key}: {value}")
    return int(found["lost"] != 0 or found["twice"] != 0 or max(found["stalls_s"].values()) > MOST_STALL_S)


if __name__ == "__main__":
    sys.exit(main())
