"""What a message costs beside a bare paho client that publishes what it hears: latency and processor time.

Theory of operation. Daemon and echo run in processes of their own at one Mosquitto, one after the other in
each round, under the same load (`benchmarks.message_load`): lone messages first, then 4,000 per second to 200
agents, which decide on arrival within ticks of a second. Times are taken outside, and include the broker both
ways. The processor time is that of the process, divided by the messages sent to it. A figure is the median of
the rounds; its ratio is the median of the ratios within a round. Of a stream the median alone is told, and
counts from the newest message on the topic: an agent that keeps its action does not answer. The last case has
a thousand agents, each of whose arrivals is a tick, at 2,000 messages per second. A daemon is made to speak
MQTT 3.1.1 by a relay that refuses MQTT 5. The echo speaks what paho speaks by itself, MQTT 3.1.1, in which it
costs less than in MQTT 5.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.cases import run
from benchmarks.device import TICKS_PER_SECOND, Device
from benchmarks.figures import LESS, Figure, at_least, at_most
from benchmarks.message_load import Load, quantile
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import Mosquitto
from tests.broker.brokers import only_3_1_1

AGENTS, RATE, LONE, ROUNDS = 200, 4000.0, 200, 3
TOPICS, TOPICS_RATE, TOPICS_HZ = 1000, 2000.0, 334
NO_LIMITS = ("allow_anonymous true", "max_queued_messages 0", "set_tcp_nodelay true")
MAKE_CA = Path(__file__).parents[1] / "tools/mosquitto/make_ca.sh"
ECHO = """
import sys
import paho.mqtt.client as paho
client = paho.Client(paho.CallbackAPIVersion.VERSION2)
if sys.argv[2]:
    client.tls_set(sys.argv[2])
client.on_connect = lambda client, *_: client.subscribe("z/+")
client.on_message = lambda client, _, message: client.publish(message.topic + "/set", message.payload, 0)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
"""
POPULATION = """
[[population]]
name = "grid"
bundle = "grid.eab"
size = {size}
agents = "a{{index}}"
step = "arrival"
rate_hz = {rate_hz}
{tick}
[[population.observe]]
modality = "0"
topic = "z/{{agent}}"
wakes = true
[[population.act]]
control = "0"
topic = "z/{{agent}}/set"
"""


class Cost(NamedTuple):
    """What one program showed in one round: milliseconds, microseconds per message, share of a core."""

    lone_p50: float
    lone_p99: float
    lone_answers: int
    stream_p50: float
    processor: float


def processor_s(process: int) -> float:
    """Return the processor seconds that a process has used."""
    words = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS_PER_SECOND


def measure(port: int, process: int, seconds: float) -> Cost:
    """Put the load on a program."""
    load = Load(port, AGENTS)
    load.lone(10)
    lone = load.lone(LONE)
    before = processor_s(process)
    sent, times, _ = load.stream(RATE, seconds)
    used = processor_s(process) - before
    load.close()
    return Cost(
        quantile(lone, 0.5),
        quantile(lone, 0.99),
        len(lone),
        quantile(times, 0.5),
        1e6 * used / sent,
    )


@contextmanager
def echo(port: int, ca: str) -> Iterator[int]:
    """Run the echo; yield its process."""
    process = subprocess.Popen([sys.executable, "-c", ECHO, str(port), ca])
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def daemon(folder: Path, port: int, broker: str, population: str) -> Iterator[Device]:
    """Run the daemon."""
    folder.mkdir()
    device = Device(folder, population, port, broker=broker)
    try:
        device.wait_online()
        yield device
    finally:
        device.close()


def wait_for_answers(port: int) -> None:
    """Wait until a program answers."""
    load = Load(port, AGENTS)
    end = time.monotonic() + 30.0
    while not load.answers and time.monotonic() < end:
        load.lone(1)
    load.close()


def compare(case: str, seconds: float, version: int, encrypted: bool) -> Iterator[Figure]:
    """Measure the daemon beside the echo."""
    costs: dict[str, list[Cost]] = {"echo": [], "daemon": []}
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        folder, lines, plain = Path(name), list(NO_LIMITS), 0
        ca = ""
        if encrypted:
            plain = free_port()
            subprocess.run([MAKE_CA, folder / "ca", "127.0.0.1"], check=True, stdout=subprocess.DEVNULL)
            ca = str(folder / "ca/ca.crt")
            lines += [f"{key}file {folder}/ca/server.{end}" for key, end in (("cert", "crt"), ("key", "key"))]
            lines += [f"cafile {ca}", f"listener {plain} 127.0.0.1"]
        broker = Mosquitto(folder, lines)
        broker.start()
        closing.callback(broker.stop)
        port = broker.port if version == 5 else closing.enter_context(only_3_1_1(broker.port))
        population = POPULATION.format(size=AGENTS, rate_hz=1, tick="")
        for number in range(ROUNDS):
            for program, costs_of in costs.items():
                if program == "echo":
                    with echo(port, ca) as process:
                        wait_for_answers(plain or broker.port)
                        costs_of.append(measure(plain or broker.port, process, seconds))
                else:
                    settings = f'ca_file = "{ca}"\n' if ca else ""
                    with daemon(folder / f"d{number}", port, settings, population) as device:
                        wait_for_answers(plain or broker.port)
                        costs_of.append(measure(plain or broker.port, device.process.pid, seconds))
    yield from figures(case, costs["daemon"], costs["echo"])


def figures(case: str, daemons: Sequence[Cost], echoes: Sequence[Cost]) -> Iterator[Figure]:
    """Return what came out, the targets with the ratios."""

    def median(costs: Sequence[Cost], key: str) -> float:
        return float(statistics.median(getattr(cost, key) for cost in costs))

    def beside(name: str, key: str, unit: str, target: float | None) -> Figure:
        value, base = median(daemons, key), median(echoes, key)
        ratios = [getattr(d, key) / getattr(e, key) for d, e in zip(daemons, echoes, strict=True)]
        ratio = statistics.median(ratios)
        limit = None if target is None else round(target * base, 4)
        holds = None if target is None else ratio <= target
        return Figure(
            case,
            name,
            round(value, 4),
            unit,
            "paho echo",
            round(ratio, 3),
            limit,
            holds,
            LESS,
            len(ratios),
            round(min(ratios), 3),
            round(max(ratios), 3),
        )

    yield beside("processor per message", "processor", "µs", 0.8)
    yield beside("lone observation p50", "lone_p50", "ms", 1.5)
    yield beside("lone observation p99", "lone_p99", "ms", None)
    yield Figure(case, "lone observations answered", median(daemons, "lone_answers"), f"of {LONE}")
    yield Figure(case, "p50 under load", round(median(daemons, "stream_p50"), 4), "ms")
    yield Figure(case, "echo's processor", round(median(echoes, "processor"), 2), "µs per message")
    yield Figure(case, "echo's p50", round(median(echoes, "lone_p50"), 4), "ms")


def topics(seconds: float) -> Iterator[Figure]:
    """Publish to a thousand agents with a topic each, each arrival a tick, actions on change."""
    case = "1000-topics"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = Mosquitto(folder, NO_LIMITS)
        broker.start()
        population = POPULATION.format(size=TOPICS, rate_hz=TOPICS_HZ, tick='tick = "arrival"')
        with daemon(folder / "d", broker.port, "", population) as device:
            load = Load(broker.port, TOPICS)
            before, start = device.cpu_s(), time.monotonic()
            sent, times, longest = load.stream(TOPICS_RATE, 2 * seconds)
            passed, used = time.monotonic() - start, device.cpu_s() - before
            grid, rss = device.status()["populations"]["grid"], device.rss()
            load.close()
        broker.stop()
    yield at_most(case, "latency p50", quantile(times, 0.5), "ms", 3.0)
    yield Figure(case, "p50 from the first unanswered message", quantile(longest, 0.5), "ms")
    yield Figure(case, "the daemon's own p50", grid["latency_p50_ms"], "ms")
    yield at_most(case, "processor", 100 * used / passed, "% of a core", 8.0)
    yield at_least(case, "messages in", sent / (2 * seconds), "1/s", 0.99 * TOPICS_RATE)
    yield at_most(case, "messages lost", sent - grid["observations"], "of all", 0)
    yield Figure(case, "actions out", round(grid["actions"] / passed, 1), "1/s")
    yield at_most(case, "RSS", rss / 1e6, "MB", 44.0)


def _beside_echo(case: str, version: int, encrypted: bool) -> Callable[[float], Iterator[Figure]]:
    return lambda seconds: compare(case, seconds, version, encrypted)


CASES = {
    "mqtt5": _beside_echo("mqtt5", 5, False),
    "mqtt311": _beside_echo("mqtt311", 4, False),
    "mqtt5-tls": _beside_echo("mqtt5-tls", 5, True),
    "1000-topics": topics,
}


if __name__ == "__main__":
    sys.exit(run("benchmarks.latency", __doc__, CASES, seconds=4.0))
