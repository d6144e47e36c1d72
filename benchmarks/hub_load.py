"""Load for `benchmarks.hub`, each kind as a process of its own: devices, REST callers, viewers.

``publish PORT COUNT DEVICES RATE``, ``births PORT COUNT``, ``rest PORT TOKEN CALLERS SECONDS PATH`` and
``viewers``, ``sockets`` and ``stalled``, each with ``PORT TOKEN COUNT SECONDS``; ``rest``, ``viewers`` and
``sockets`` print one JSON object.
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
GZIP = "Accept-Encoding: gzip\r\n"
STREAM, SOCKET = "/api/v1/events", "/api/v1/events/socket"
UPGRADE = (  # RFC 6455 section 1.3, with its key; no extension is offered, so frames are not compressed
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


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


def _request(token: str, path: str, more: str = GZIP) -> bytes:
    return (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{more}\r\n").encode()


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


async def viewers(port: int, token: str, count: int, seconds: float, path: str) -> dict[str, float]:
    """Open streams and read them; return events per second over all, and p99 of their age (s)."""
    events = 0
    ages: list[float] = []
    gate = asyncio.Semaphore(OPENED_AT_ONCE)
    tasks: list[asyncio.Task[None]] = []
    held: list[asyncio.StreamWriter] = []  # a stream ends with its writer

    async def read(number: int, reader: asyncio.StreamReader) -> None:
        nonlocal events
        while data := await reader.read(1 << 18):
            events += data.count(b'"at":')
            if number % 100 == 0:
                now = time.time()
                parts = data.split(b'"at":')[1:]
                ages.extend(now - float(part.partition(b"}")[0]) for part in parts)

    async def view(number: int) -> None:
        async with gate:
            reader, writer = await _opened(port, token, path)
        held.append(writer)
        tasks.append(asyncio.create_task(read(number, reader)))

    await asyncio.gather(*map(view, range(count)))
    print("open", flush=True)
    ages.clear()
    begin, first = time.perf_counter(), events
    await asyncio.sleep(seconds)
    rate = (events - first) / (time.perf_counter() - begin)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    ages.sort()
    return {"rate": rate, "p99": ages[int(len(ages) * 0.99)] if ages else 0.0}


async def stalled(port: int, token: str, count: int, seconds: float) -> None:
    """Open streams and read nothing from them."""
    gate = asyncio.Semaphore(OPENED_AT_ONCE)

    async def stall() -> asyncio.StreamWriter:
        async with gate:
            _, writer = await _opened(port, token, SOCKET)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        return writer

    held = await asyncio.gather(*(stall() for _ in range(count)))
    print("open", flush=True)
    await asyncio.sleep(seconds)
    for writer in held:
        writer.transport.abort()


async def _opened(port: int, token: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    writer.write(_request(token, path, UPGRADE if path == SOCKET else GZIP))
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
        raise SystemExit(answer.decode("latin-1").splitlines()[0])
    return reader, writer


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
        case "viewers" | "sockets", [token, count, seconds]:
            path = SOCKET if kind == "sockets" else STREAM
            print(json.dumps(uvloop.run(viewers(int(port), token, int(count), float(seconds), path))))
        case "stalled", [token, count, seconds]:
            uvloop.run(stalled(int(port), token, int(count), float(seconds)))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
