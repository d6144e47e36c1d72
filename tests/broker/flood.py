"""A flood of messages of every size from 0 to 100 MB, and the daemon's peak memory."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho

LARGEST = 100_000_000
SMALL = 1000
"""So many small messages go out before each large one."""
PATIENCE_S = 60.0


def peak_bytes(pid: int) -> int:
    """Return the most memory (resident) that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def flood(port: int, topics: list[str], seconds: float, seed: int) -> dict[str, int]:
    """Publish for ``seconds``; return messages and bytes that the broker at ``port`` took.

    Small messages at full speed, and after each thousand of them one of a size that is drawn evenly on a
    logarithmic scale; every tenth of those has 100 MB, every tenth none.
    """
    rng = random.Random(seed)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    large = bytes(LARGEST)
    messages = size = turn = 0
    gate = threading.Event()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(SMALL):
            info = client.publish(rng.choice(topics), b'{"co2": %d}' % rng.randint(300, 1500), 0)
        info.wait_for_publish(PATIENCE_S)
        chosen = {0: LARGEST, 5: 0}.get(turn % 10, int(LARGEST ** rng.random()))
        turn += 1
        info = client.publish(rng.choice(topics), memoryview(large)[:chosen].tobytes(), turn % 2)
        info.wait_for_publish(PATIENCE_S)
        messages += SMALL + 1
        size += chosen
        gate.wait(0.01)  # the broker drops what comes faster than its clients take it
    client.disconnect()
    client.loop_stop()
    return {"messages": messages, "bytes": size, "large": turn}
