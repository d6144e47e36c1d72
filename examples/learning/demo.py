"""A fleet that learns, seen from outside: ``make learn-demo``.

Three real daemons begin with a template of an office: what a person knows who never saw the data. Each sees
630 readings of a simulated office of its own, drawn from one truth, over MQTT and a real Mosquitto, and
learns. A signed command lets them send what they counted; ``edge-hub ingest`` stores it, ``edge-hub learn``
adds it up, ``edge-convert`` gates and signs the new model, and ``edge-hub deploy`` rolls it out in stages.
It ends by itself with a table of held-out readings. Exit status 0 only if everything happened.

The rows *frozen EM* and *EM on everything* are computed here: the daemon has no forward-backward passes.
The measured week of the office is too short to tell models apart: it is shown and not judged.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.learning import counted, fleet, offices
from benchmarks.learning.offices import Chain, Int
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bundle, learned, messages, npz, signatures
from edge_agent.wire.increments import Increments
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.database import contributions
from edge_hub.database.engine import Database
from edge_hub.domain.increment_sums import robust, total
from examples.hub.demo import LateError, child, until

DEVICES = ("hall", "lab", "study")
ANSWER_S = 30.0
SEED = 0
DEVICE = """
[device]
name = "{name}"
fleet = "home"
state_dir = "state"
socket = "s"
telemetry_s = 1.0
spare_kb = 2048
[broker]
host = "127.0.0.1"
port = {port}
[hub]
keys = ["{key}"]
confirm = true
[[population]]
name = "office"
bundle = "{bundle}"
size = 1
rate_hz = 200
tick = "arrival"
step = "arrival"
bulk = true
learn = "population"
learn_every = 60
learn_send_s = 3600
"""


class Feeder:
    """Publishes readings to one daemon and waits for its action after each: none is replaced by the next."""

    def __init__(self, port: int, name: str) -> None:
        topics = DeviceTopics("home", name)
        self._topic = topics.bulk_in("office")
        self._answered = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._message
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(topics.bulk_out("office"))
        if not ready.wait(ANSWER_S):
            raise LateError("the broker does not answer")

    def _message(self, _client: Client, _data: object, _message: MQTTMessage) -> None:
        self._answered.set()

    def feed(self, readings: Int) -> int:
        """Send readings [T, M]; return how many the daemon answered."""
        answered = 0
        for row in readings:
            self._answered.clear()
            body = {"obs": row.astype("<i2").tobytes(), "shape": [1, len(row)], "dtype": "int16"}
            self._client.publish(self._topic, messages.encode(Message(body, t=time.time())))
            answered += self._answered.wait(ANSWER_S)
        return answered

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()


def template(prior: Chain) -> dict[str, Any]:
    """Return the template's model file."""
    names = [{"name": name, "edges": (np.arange(len(a) - 1) + 0.5).tolist()} for name, a in named(prior)]
    meta = {
        "modalities": [one | {"unit": "bin"} for one in names],
        "controls": [{"name": "none", "values": ["-"]}],
    }
    arrays: dict[str, Any] = {"learn": np.array('["A", "B"]'), "meta": np.array(json.dumps(meta))}
    for m, a in enumerate(prior.A):
        arrays |= {f"A_{m}": a / a.sum(axis=0), f"pA_{m}": a}
    B = prior.B[..., np.newaxis]
    return arrays | {"B_0": B / B.sum(axis=0), "pB_0": B, "D_0": prior.D}


def named(prior: Chain) -> list[tuple[str, Any]]:
    """Return the sensors with their A."""
    return list(zip(offices.SENSORS, prior.A, strict=True))


def run(folder: Path, *words: str) -> str:
    """Run one of our commands to its end; return what it prints."""
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        said = (done.stdout + done.stderr)[-1500:]
        raise LateError(f"{' '.join(words[:3])} ended with {done.returncode}: {said}")
    return done.stdout


def demo(
    folder: Path, stack: ExitStack, length: int = offices.READINGS
) -> tuple[dict[str, float], dict[str, bool]]:
    """Do it all with ``length`` readings for each device; return the table and what happened."""
    truth, prior = offices.office()
    rng = np.random.default_rng(SEED)
    readings = offices.draw(truth, len(DEVICES), length, rng)
    held = np.concatenate([fleet.held_out(seed) for seed in fleet.SEEDS])
    seen: dict[str, bool] = {}

    def score(model: Chain) -> float:
        return offices.score(model._replace(D=prior.D), held)

    (folder / "broker").mkdir()
    broker = Mosquitto(folder / "broker")
    broker.start()
    stack.callback(broker.stop)
    address = f"127.0.0.1:{broker.port}"
    key = folder / "hub.key"
    public = signatures.save(signatures.generate("demo"), key)
    (folder / "office.npz").write_bytes(npz.write(template(prior)))
    rows = held.reshape(-1, held.shape[-1])
    starts = np.arange(0, len(rows), held.shape[1])
    (folder / "held.npz").write_bytes(npz.write({"trace_obs": rows, "trace_restarts": starts}))
    convert = ("edge_convert.cli", "convert", "--name", "office", "--sign", str(key))
    run(folder, *convert, "office.npz", "-o", "office.eab", "--version", "1")
    run(folder, "edge_hub.cli", "migrate", "--data", "hub.db")
    ingest = ["-m", "edge_hub.cli", "ingest", "--data", "hub.db", "--broker", address]
    stack.enter_context(child(ingest, folder, "hub.log"))
    feeders = []
    for name in DEVICES:
        home = folder / name
        home.mkdir()
        text = DEVICE.format(name=name, port=broker.port, key=public, bundle=folder / "office.eab")
        (home / "device.toml").write_text(text)
        stack.enter_context(child(["-m", "edge_agent", "run", "--config", "device.toml"], home, "log"))
        feeders.append(Feeder(broker.port, name))
        stack.callback(feeders[-1].close)
    database = Database(str(folder / "hub.db"))
    stack.callback(database.close)
    digest = bundle.read(folder / "office.eab").digest
    until("the daemons are in the registry", lambda: _registered(database) == len(DEVICES))

    answered = together(lambda n: feeders[n].feed(readings[n]))
    print(f"readings that were answered: {answered}")
    seen["each daemon answered every reading"] = answered == [length] * len(DEVICES)
    hub = ("--broker", address, "--fleet", "home", "--sign", str(key))
    said = run(folder, "edge_hub.cli", "command", "send-learned", "--to", "all", "--json", *hub)
    print(said.strip())

    def sent() -> list[Increments]:
        return [
            learned.assembled(pieces, pieces[0].whole.tensors)
            for one in contributions.stored_epochs(database, "home", "office", digest)
            if len(pieces := contributions.pieces(one.payloads)) == one.pieces
        ]

    until("every contribution is stored", lambda: len(sent()) == len(DEVICES))
    every = sent()
    counts = {one.updates for one in every}
    seen["every reading was counted once"] = counts == {length}

    merge = ("edge_hub.cli", "learn", "--data", "hub.db", "--fleet", "home", "--population", "office")
    merge += ("--source", "office.npz", "--bundle", "office.eab", "--held-out", "held.npz")
    report = json.loads(run(folder, *merge, "--no-robust", "--json", "-o", "office-2.npz"))
    print(run(folder, *merge, "-o", "office-robust.npz"))
    run(folder, *convert, "office-2.npz", "-o", "office-2.eab", "--version", "2")
    stopped = threading.Event()
    extra = offices.draw(truth, len(DEVICES), 20_000, rng)

    def go_on(n: int) -> None:
        for row in extra[n]:
            if stopped.is_set():
                return
            feeders[n].feed(row[np.newaxis])

    feeding = [threading.Thread(target=go_on, args=(n,)) for n in range(len(DEVICES))]
    for thread in feeding:
        thread.start()
    try:
        # In two seconds there are too few readings to judge free energy by.
        wanted = ("shadow_seconds=2", "trial_seconds=2", "steps=50", "missed_rate=1", "free_energy_rise=100")
        gates = [f"--gate={gate}" for gate in wanted]
        words = ("deploy", "office-2.eab", "--canary", "34%,100%", *gates)
        print(run(folder, "edge_hub.cli", *words, "--state", str(folder / "hub"), *hub)[-600:])
        new = bundle.read(folder / "office-2.eab").digest
        until("three daemons run the merged model", lambda: _running(database, new) == len(DEVICES))
    finally:
        stopped.set()
        for thread in feeding:
            thread.join()
    seen["three daemons took the merged model, in two waves"] = True

    model = prior.expected
    for _ in range(fleet.FROZEN_ROUNDS):
        model = counted.after(prior, total(counted.frozen(prior, model, readings)))
    alone = [score(counted.after(prior, one)) for one in every]
    table = {"as delivered": score(prior.expected)}
    table |= {f"alone, {name}": value for name, value in zip(DEVICES, alone, strict=True)}
    table |= {
        "merged": score(counted.after(prior, total(every))),
        "merged, robust": score(counted.after(prior, robust(every))),
        "frozen EM, two rounds": score(model),
        "EM on everything": score(offices.maximised(prior, readings, fleet.ROUNDS)),
        "truth": score(truth),
    }
    seen["the hub's report says the same"] = bool(np.isclose(report["held_out"]["after"], table["merged"]))
    seen["merged is better than each alone"] = table["merged"] > max(alone)
    seen["merged is within 0.1 of EM"] = table["merged"] > table["EM on everything"] - fleet.WITHIN
    week = offices.week()
    merged = counted.after(prior, total(every))._replace(D=prior.D)
    table["the measured week, as delivered"] = offices.score(prior.expected, week)
    table["the measured week, merged"] = offices.score(merged, week)
    return table, seen


def together(work: Any) -> list[Any]:
    """Do something for each device at once; return the results."""
    out: list[Any] = [None] * len(DEVICES)

    def one(n: int) -> None:
        out[n] = work(n)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(DEVICES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def _registered(database: Database) -> int:
    return _running(database, "")


def _running(database: Database, digest: str) -> int:
    from edge_hub.database import sql

    query = "SELECT count(*) FROM populations WHERE name = 'office' AND (? = '' OR bundle = ?)"
    with database.read() as connection:
        return int(sql.one(connection, query, (digest, digest)))


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            table, seen = demo(Path(folder), stack)
        except LateError as error:
            print(f"learn-demo: {error}", file=sys.stderr)
            for log in sorted(Path(folder).glob("**/*log")):
                print(f"{log}:\n{log.read_text('utf-8')[-1500:]}", file=sys.stderr)
            return 1
    took = time.monotonic() - begin
    if arguments.json:
        print(json.dumps({"seen": seen, "nats_per_reading": table, "seconds": round(took, 1)}))
    else:
        for name, value in table.items():
            print(f"{name:<32} {value:7.3f} nats per reading")
        for what, happened in seen.items():
            print(f"{'yes' if happened else 'NO '}  {what}")
        print(f"{took:.0f} s")
    return 0 if all(seen.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
