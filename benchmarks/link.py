"""Cost and throughput of the link: outbox, replay, bundles over MQTT, and a thousand devices that reconnect.

Theory of operation. The device's part is the real protocol code with SQLite and paho, with a Mosquitto on
loopback; the hub's part is a second client in the same process. CPU is this process's user and system time,
so in the first case it is the time of the device alone. ``write_bytes`` is the amount passed to the kernel
for writing (/proc/self/io), which counts rewritten pages. Not measured: the write amplification of an SD
card.
"""

from __future__ import annotations

import queue
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from benchmarks.cases import run
from benchmarks.figures import LESS, Figure, at_least, at_most
from edge_agent.adapters.bundle_folder import BundleFolder
from edge_agent.adapters.mqtt import MqttSettings, PahoClient
from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.memory.arena import Arena, total
from edge_agent.protocol.outbox import SAMPLES, Outbox, OutboxSettings
from edge_agent.protocol.ports import Publication, Subscription
from edge_agent.protocol.sample_buffer import SampleBuffer
from edge_agent.protocol.session import (
    Connect,
    Delivered,
    Online,
    Send,
    Session,
    SessionSettings,
    SessionState,
    carry_out,
)
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.protocol.transfer import Ask, Complete, Transfer, Write
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import blocks, messages
from edge_agent.wire.messages import Message
from tests.support.session_loop import SessionLoop

OUTBOX_SECONDS = 20
RATE = 1000
HERD = 1000
HERD_PART = 200
HERD_WINDOW = 10.0


def _birth(online: bool) -> Publication:
    return Publication("birth", b"%d" % online)


def _pump(broker: Mosquitto, name: str, *filters: str) -> tuple[SessionLoop, threading.Event]:
    wake = threading.Event()
    client = PahoClient(MqttSettings(broker.host, name, broker.port), wake.set)
    subscriptions = [Subscription(f) for f in filters]
    session = Session(SessionSettings(backoff_base=0.1), _birth, subscriptions, random.Random(name))
    pump = SessionLoop(session, client, SystemClock(), wake)
    pump.start()
    pump.until(lambda: session.state is SessionState.ONLINE and session.counters.acked == 1)
    return pump, wake


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _written() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


def outbox() -> Iterator[Figure]:
    """1,000 samples/s through telemetry and outbox while the broker is away: the case where all must be
    written.
    """
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        wake = threading.Event()
        store = SqliteOutboxStore(Path(folder) / "outbox.db", wake.set)
        box = Outbox(OutboxSettings(), "t", store)
        columns = SampleBuffer.columns(20_000)
        samples = SampleBuffer(
            [f"sensor-{n}" for n in range(50)], Arena(total(columns)).allocate("samples", columns)
        )
        telemetry = Telemetry(seconds=2.0, samples=samples)
        session = Session(SessionSettings(), _birth, [], random.Random(0))
        rng = random.Random(1)
        start, cpu, written = time.monotonic(), _cpu(), _written()
        count = 0
        while (elapsed := time.monotonic() - start) < OUTBOX_SECONDS:
            while count < elapsed * RATE:
                # 50 sensors with noise, read to a hundredth: as little to compress as sensors give
                value = np.array([round(rng.gauss(20.0, 2.0), 2)], np.float32)
                samples.add(np.array([count % 50]), value, time.time())
                count += 1
            body = telemetry.due({"rooms": {"tick": count}}, 0, time.monotonic())
            if body is not None:
                box.append(body, time.time(), time.monotonic())
            box.advance(session, time.monotonic(), time.time())
            wake.clear()
            wake.wait(0.05)
        seconds = time.monotonic() - start
        cpu, written = _cpu() - cpu, _written() - written
        yield at_most("outbox", "cpu_share_of_core", cpu / seconds * 100, "%", 10.0)
        yield at_most("outbox", "written_per_minute", written / seconds * 60 / 1e6, "MB", 2.0)
        yield Figure("outbox", "stored_per_sample", round(box.size / max(count, 1), 2), "bytes")
        yield Figure("outbox", "rate", round(count / seconds), "samples/s")
        store.close()


def replay() -> Iterator[Figure]:
    """10,000 offline samples, one a message, which is the worst an application can do; live ones go on."""
    seconds, share, missing = _replay(10_000)
    yield at_most("replay", "seconds", seconds, "s", 5.0)
    yield at_least("replay", "live_messages_received", share, "share", 0.5)
    yield at_most("replay", "missing", missing, "messages", 0)


def _replay(count: int) -> tuple[float, float, int]:
    """Replay ``count`` messages; return seconds, the share of live ones that arrived meanwhile, and the
    missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        hub, _ = _pump(broker, "hub", "t")
        device, wake = _pump(broker, "device")
        store = SqliteOutboxStore(Path(folder) / "outbox.db", wake.set)
        box = Outbox(OutboxSettings(flush_seconds=0.2, pending_bytes=8_000_000), "t", store)
        session, clock = device.session, SystemClock()
        offline = Session(SessionSettings(), _birth, [], random.Random(0))
        for number in range(count):
            box.append({"v": number}, clock.time(), clock.monotonic())
        while box.in_memory(SAMPLES):  # what is stored later than `online` would be live
            wake.clear()
            box.advance(offline, clock.monotonic(), clock.time())
            wake.wait(0.05)
        box.online()
        live, numbers_of = 0, dict[int, int]()  # of what is sent, by token
        made, replayed = count, 0
        start = clock.monotonic()
        while replayed < count:
            wake.clear()
            now = clock.monotonic()
            if now - start > (made - count) * 0.1:
                made += 1
                box.append({"v": made, "at": now}, clock.time(), now)
            for event in device.client.events():
                for effect in carry_out(session.handle(event, now), device.client):
                    if isinstance(effect, Delivered):
                        live += numbers_of.pop(effect.token, 0) > count
                        box.delivered(effect.token)
            effects = box.advance(session, now, clock.time())
            for sent in effects:
                if isinstance(sent, Send):
                    numbers_of[sent.token] = messages.decode(sent.publication.payload).seq
            device.perform(effects)
            hub.run_once()
            replayed = box.counters.delivered - live
            wake.wait(0.002)
        seconds = clock.monotonic() - start
        hub.until(lambda: len(hub.messages) >= box.counters.delivered)
        numbers = {messages.decode(m.payload).seq for m in hub.messages}
        store.close()
        broker.stop()
    return seconds, live / max(made - count, 1), len(set(range(1, count + 1)) - numbers)


def bundle() -> Iterator[Figure]:
    """Send a bundle of 1 MB in blocks, with 100 live messages per second going on."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        hub, _ = _pump(broker, "hub", "fetch")
        device, wake = _pump(broker, "device", "block")
        data = random.Random(0).randbytes(1_000_000)
        cut = blocks.cut("0" * 64, "m", data)
        store = BundleFolder(Path(folder))
        transfer = Transfer(cut, store.had(cut), random.Random(0))
        clock = SystemClock()
        start, live, done = clock.monotonic(), 0, False
        todo = list(transfer.start(start))
        while not done:
            wake.clear()
            for effect in todo:
                match effect:
                    case Ask(_, wanted):
                        device.publish(
                            Publication("fetch", messages.encode(Message({"blocks": list(wanted)})))
                        )
                    case Write(where, index, block):
                        store.write(where, index, block)
                    case Complete():
                        done = True
            todo = []
            now = clock.monotonic()
            if (now - start) * 100 > live:
                live += 1
                device.publish(Publication("t", b"live"))
            hub.run_once()
            for request in hub.messages:
                for index in messages.decode(request.payload).body["blocks"]:
                    block = data[index * cut.block : (index + 1) * cut.block]
                    hub.publish(
                        Publication("block", messages.encode(Message({"index": index, "data": block})))
                    )
            hub.messages.clear()
            device.run_once()
            for answer in device.messages:
                body = messages.decode(answer.payload).body
                todo += transfer.block(body["index"], body["data"], now)
            device.messages.clear()
            wake.wait(0.001)
        yield at_most("bundle", "seconds_per_megabyte", clock.monotonic() - start, "s", 5.0)
        if store.finish(cut.digest).read_bytes() != data:
            raise ValueError("the bundle is not the one that was sent")
        broker.stop()


def message() -> Iterator[Figure]:
    """CPU a QoS 1 message, session and paho, beside paho alone."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        device, _ = _pump(broker, "device")
        count = 5000
        cpu = _cpu()
        for _ in range(count):
            device.until(lambda: device.session.credit > 0)
            device.publish(Publication("t", bytes(100)))
        device.until(lambda: len(device.delivered) > count)
        ours = (_cpu() - cpu) / count
        bare = _bare_paho(broker, count)
        ratio = round(ours / bare, 2)
        alone = "paho alone, window of 20"
        yield Figure("message", "cpu", round(ours * 1e6, 1), "us", alone, ratio, better=LESS)
        broker.stop()


def _bare_paho(broker: Mosquitto, count: int) -> float:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(20)
    client.connect(broker.host, broker.port)
    client.loop_start()
    cpu = _cpu()
    for _ in range(count - 1):
        client.publish("t", bytes(100), 1)
    client.publish("t", bytes(100), 1).wait_for_publish(60)
    used = (_cpu() - cpu) / count
    client.disconnect()
    client.loop_stop()
    return used


def _herd_part(first: int, port: int, stop: Event, news: Queue[tuple[str, int, float]]) -> None:
    """Run some of the herd; paho waits in select(), which knows no descriptor past 1023."""
    threading.stack_size(256 * 1024)
    clock, wake = SystemClock(), threading.Event()
    settings = SessionSettings(backoff_base=HERD_WINDOW, backoff_cap=HERD_WINDOW, connect_timeout=30.0)
    fleet = []
    for number in range(first, first + HERD_PART):
        client = PahoClient(MqttSettings("127.0.0.1", f"d{number}", port), wake.set)
        session = Session(settings, _birth, [], random.Random(number))
        fleet.append((number, session, client))
        list(carry_out(session.start(clock.monotonic()), client))
    while not stop.is_set():
        wake.clear()
        now = clock.monotonic()
        for number, session, client in fleet:
            effects = [e for event in client.events() for e in session.handle(event, now)]
            effects += session.tick(now)
            for effect in effects:
                if isinstance(effect, Connect):
                    news.put(("attempt", number, now))
            for effect in carry_out(effects, client):
                if isinstance(effect, Online):
                    news.put(("online", number, now))
        wake.wait(0.05)
    for _, session, client in fleet:
        list(carry_out(session.stop(clock.monotonic()), client))


def herd() -> Iterator[Figure]:
    """1,000 devices (session and paho) at one Mosquitto that is killed and comes back after 3 s."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder), ["allow_anonymous true", "max_connections -1"])
        broker.start()
        context = get_context("spawn")
        stop, news = context.Event(), context.Queue()
        parts = [
            context.Process(target=_herd_part, args=(first, broker.port, stop, news), daemon=True)
            for first in range(0, HERD, HERD_PART)
        ]
        for part in parts:
            part.start()
        attempts: list[float] = []
        back: dict[int, float] = {}

        def listen(until: Callable[[], bool], seconds: float) -> None:
            end = time.monotonic() + seconds
            while not until() and time.monotonic() < end:
                try:
                    kind, number, when = news.get(timeout=0.2)
                except queue.Empty:
                    continue
                if kind == "attempt":
                    attempts.append(when)
                else:
                    back[number] = when

        listen(lambda: len(back) == HERD, 120.0)
        yield at_least("herd", "connected", len(back), "devices", HERD)
        gone = time.monotonic()
        broker.kill()
        back.clear()
        attempts.clear()
        listen(lambda: False, 3.0)
        broker.start()
        started = time.monotonic()
        listen(lambda: len(back) == HERD, 6 * HERD_WINDOW)
        stop.set()
        # Uniform over the window, 1,000 attempts are 100 a second; who came too early draws once more.
        busiest = max(sum(1 for t in attempts if i <= t - gone < i + 1) for i in range(60))
        yield at_least("herd", "came_back", len(back), "devices", HERD)
        yield at_most("herd", "busiest_second", busiest, "attempts", 2.0 * HERD / HERD_WINDOW)
        yield at_most("herd", "last_back_after", max(back.values()) - started, "s", 2 * HERD_WINDOW)
        for part in parts:
            part.join(10)
        broker.stop()


CASES: dict[str, Callable[[], Iterator[Figure]]] = {
    "outbox": outbox,
    "replay": replay,
    "bundle": bundle,
    "message": message,
    "herd": herd,
}

if __name__ == "__main__":
    sys.exit(run("benchmarks.link", __doc__, CASES))
