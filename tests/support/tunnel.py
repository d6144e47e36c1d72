"""A wire between two network namespaces that loses and delays packets, for kernels without netem.

Theory of operation. Each namespace has a TUN device; what its TCP stack sends is read here packet by
packet, lost with a seeded probability, and otherwise written into the other one's device after the delay.
So retransmission, backoff and congestion control are the kernel's own, and only the radio is ours. Needs
root and /dev/net/tun. Source: Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import fcntl
import os
import queue
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Sequence

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MTU = 1500


def possible() -> bool:
    """Return whether this process may make namespaces and TUN devices."""
    return os.geteuid() == 0 and os.access("/dev/net/tun", os.R_OK | os.W_OK)


class Tunnel:
    """Two namespaces and the wire.

    Parameters
    ----------
    delay : float
        One-way latency, seconds.
    loss : float
        Share of packets lost, each way.
    seed : int
        Of the losses.

    Attributes
    ----------
    near, far : tuple of str
        Words in front of a command that make it run at either end.
    address : str
        Of the far end, as seen from the near one.
    """

    address = "10.254.0.1"

    def __init__(self, delay: float, loss: float, seed: int = 0) -> None:
        self.passed = self.lost = 0
        self._delay, self._loss = delay, loss
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._closing, self._close = os.pipe()
        self._ended = threading.Event()
        self._names = [f"edge-{os.getpid()}-{side}" for side in ("near", "far")]
        self._devices: list[int] = []
        try:
            for name, host in zip(self._names, ("10.254.0.2/30", f"{self.address}/30"), strict=True):
                self._devices.append(_end(name, host))
        except BaseException:
            self.close()
            raise
        self.near, self.far = (("ip", "netns", "exec", name) for name in self._names)
        here, there = self._devices
        for source, sink in ((here, there), (there, here)):
            late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            threading.Thread(target=self._hear, args=(source, late), daemon=True).start()
            threading.Thread(target=self._say, args=(sink, late), daemon=True).start()

    def close(self) -> None:
        """Take the wire and the namespaces away; what runs in them keeps them until it ends."""
        self._ended.set()
        os.write(self._close, b"x")
        for device in self._devices:
            os.close(device)
        self._devices.clear()
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _hear(self, device: int, late: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        while True:
            ready, _, _ = select.select([device, self._closing], [], [])
            if self._closing in ready:
                late.put((0.0, b""))
                return
            packet = os.read(device, _MTU + 64)
            with self._lock:
                lost = self._rng.random() < self._loss
                self.lost += lost
                self.passed += not lost
            if not lost:
                late.put((time.monotonic() + self._delay, packet))

    def _say(self, device: int, late: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        while True:
            due, packet = late.get()
            if not packet or self._ended.wait(max(0.0, due - time.monotonic())):
                return
            os.write(device, packet)


def _end(name: str, address: str) -> int:
    """Make one end: a namespace and the TUN device in it; return the device's descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    try:
        request = struct.pack("16sH22x", b"", _IFF_TUN | _IFF_NO_PI)
        interface = fcntl.ioctl(device, _TUNSETIFF, request)[:16].rstrip(b"\0").decode("ascii")
        _ip("netns", "add", name)
        _ip("link", "set", interface, "netns", name)
        for words in (
            ("addr", "add", address, "dev", interface),
            ("link", "set", interface, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", name, *words)
    except BaseException:
        os.close(device)
        raise
    return device


def _ip(*words: str) -> None:
    command: Sequence[str] = ["ip", *words]
    subprocess.run(command, check=True, capture_output=True)
