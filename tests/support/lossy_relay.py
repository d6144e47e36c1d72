"""A TCP relay that is as slow as a bad radio link: for machines whose kernel has no netem.

Theory of operation. Over TCP a lost packet is not lost data but a late one, and everything behind it
waits. So each chunk of up to 1,400 bytes gets the link's latency, and for each time it is lost one
retransmission timeout, which doubles; and no chunk overtakes the one before. Losses are seeded. Not
modelled: congestion windows.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import threading
import time

_PACKET = 1400


class LossyRelay:
    """Listens on a port of loopback and passes connections on to another one.

    Parameters
    ----------
    port : int
        Where to pass them on to.
    delay : float
        One-way latency, seconds.
    loss : float
        Share of packets lost, each time they are sent.
    seed : int
        Of the losses.
    """

    def __init__(self, port: int, delay: float, loss: float, seed: int = 0) -> None:
        self._target = port
        self._delay, self._loss = delay, loss
        self._rng = random.Random(seed)
        self._closing = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._closing.set()
        # Both ends: a thread that waits in accept or recv comes back only when its socket is shut down.
        for end in [self._listener, *self._sockets]:
            _end(end)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                if self._closing.is_set():
                    return
                near.close()  # nobody listens there: the connection is refused, late
                continue
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                packets: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                threading.Thread(target=self._read, args=(source, packets), daemon=True).start()
                threading.Thread(target=self._write, args=(sink, packets), daemon=True).start()

    def _read(self, source: socket.socket, packets: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        due = 0.0
        while True:
            try:
                data = source.recv(_PACKET)
            except OSError:
                data = b""
            late, timeout = self._delay, 2 * self._delay
            while self._rng.random() < self._loss:
                late += timeout
                timeout *= 2
            due = max(due, time.monotonic() + late)
            packets.put((due, data))
            if not data:
                return

    def _write(self, sink: socket.socket, packets: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        while True:
            due, data = packets.get()
            self._closing.wait(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    raise OSError
                sink.sendall(data)
            except OSError:
                _end(sink)
                return


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was first
        end.shutdown(socket.SHUT_RDWR)
    end.close()
