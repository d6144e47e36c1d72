"""Load for `benchmarks.hub`, each kind as a process of its own: devices, REST callers, viewers.

``publish PORT COUNT DEVICES RATE``, ``births PORT COUNT``, ``rest PORT TOKEN CALLERS SECONDS PATH`` and
``viewers PORT TOKEN COUNT SECONDS``; the last two print one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import uvloop

from edge_agent.wire import bodies, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.ingest import mqtt_stream

PER_TURN = 50
OPENED_AT_ONCE = 100


def telemetry(device: int, seq: int, t: float) -> tuple[str, bytes]:
    """Return a message as a daemon with one population sends it every few seconds (170 bytes)."""
    counters = {"tick": seq, "steps": seq * 20, "decisions": seq * 20, "contradictions": 0, "missed": 1}
    body = {
        "outbox": f"outbox-{device}",
        "rss": 33_000_000,
        "delta": True,
        "populations": {"rooms": {**counters, "latency_p99_ms": 1.25}},
    }
    name = f"d{device:05}"
    return DeviceTopics("lab", name).telemetry, messages.encode(
        Message(body, id=f"{name}-{seq}", seq=seq, t=t)
    )


def birth(device: int) -> tuple[str, bytes]:
    """Return a device's birth message."""
    name = f"d{device:05}"
    body = bodies.birth(True, name, "0.1.0", f"boot-{device}", "pi4b-1gb", {"rooms": ("ab" * 32, 20)})
    return DeviceTopics("lab", name).birth, messages.encode(Message(body, t=time.time()))


async def _client(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(mqtt_stream.connect(f"load-{random.random()}", True, 0))
    await reader.readexactly(4)
    return reader, writer


async def publish(port: int, count: int, devices: int, rate: float) -> None:
    """Publish ``count`` messages at QoS 1, ``rate`` a second, and wait for every acknowledgement."""
    reader, writer = await _client(port)
    acknowledged = asyncio.create_task(reader.readexactly(4 * count))
    begin, now = time.perf_counter(), time.time()
    for first in range(0, count, PER_TURN):
        packets = []
        for n in range(first, min(count, first + PER_TURN)):
            topic, payload = telemetry(n % devices, n // devices + 1, now + n / rate)
            packets.append(mqtt_stream.publish(topic, payload, n % 65_535 + 1))
        writer.write(b"".join(packets))
        await writer.drain()
        await asyncio.sleep(max(0.0, begin + first / rate - time.perf_counter()))
    await acknowledged
    writer.close()


async def births(port: int, count: int) -> None:
    """Publish retained births."""
    reader, writer = await _client(port)
    acknowledged = asyncio.create_task(reader.readexactly(4 * count))
    for n in range(count):
        topic, payload = birth(n)
        packet = bytearray(mqtt_stream.publish(topic, payload, n % 65_535 + 1))
        packet[0] |= 1  # retained
        writer.write(packet)
        if n % PER_TURN == 0:
            await writer.drain()
    await acknowledged
    writer.close()


def _request(token: str, path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        "Accept-Encoding: gzip\r\n\r\n"
    ).encode()


async def rest(port: int, token: str, callers: int, seconds: float, path: str) -> dict[str, float]:
    """Let callers ask one after the other; return requests per second and p95 (s)."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = _request(token, path)
        while (begin := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode("latin-1").splitlines()[0])
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
            await reader.readexactly(int(length))
            took.append(time.perf_counter() - begin)
        writer.close()

    await asyncio.gather(*(caller() for _ in range(callers)))
    took.sort()
    return {"rate": len(took) / seconds, "p95": took[int(len(took) * 0.95)]}


async def viewers(port: int, token: str, count: int, seconds: float) -> dict[str, float]:
    """Open streams and read them; return events per second over all, and p99 of their age (s)."""
    events = 0
    ages: list[float] = []
    opened = asyncio.Event()
    waiting = count
    gate = asyncio.Semaphore(OPENED_AT_ONCE)

    async def viewer(number: int) -> None:
        nonlocal events, waiting
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
            writer.write(_request(token, "/api/v1/events"))
            await reader.readuntil(b"\r\n\r\n")
        waiting -= 1
        if not waiting:
            print("open", flush=True)
            opened.set()
        while data := await reader.read(1 << 18):
            events += data.count(b"\nevent: ")
            if number % 100 == 0:
                now = time.time()
                parts = data.split(b'"at":')[1:]
                ages.extend(now - float(part.partition(b"}")[0]) for part in parts)

    tasks = [asyncio.create_task(viewer(n)) for n in range(count)]
    await opened.wait()
    begin, first = time.perf_counter(), events
    await asyncio.sleep(seconds)
    rate = (events - first) / (time.perf_counter() - begin)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    ages.sort()
    return {"rate": rate, "p99": ages[int(len(ages) * 0.99)] if ages else 0.0}


def main() -> None:
    """Run what the first argument names."""
    kind, port, *rest_ = sys.argv[1:]
    match kind, rest_:
        case "publish", [count, devices, rate]:
            uvloop.run(publish(int(port), int(count), int(devices), float(rate)))
        case "births", [count]:
            uvloop.run(births(int(port), int(count)))
        case "rest", [token, callers, seconds, path]:
            print(json.dumps(uvloop.run(rest(int(port), token, int(callers), float(seconds), path))))
        case "viewers", [token, count, seconds]:
            print(json.dumps(uvloop.run(viewers(int(port), token, int(count), float(seconds)))))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
