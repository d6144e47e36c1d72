"""A client that publishes at a pace and takes the time of each answer: the load of `benchmarks.latency`.

Theory of operation. One thread without locks, so that the load takes little of the machine that it measures:
packets are written and read by `edge_agent.wire.mqtt_packets`, over one socket, with QoS 0. An answer to a
message on topic T arrives on T + "/set". A time ends when the answer has been read from the socket; it
includes both ways through the broker, and counts from the newest message on T. An agent that keeps its action
gives no answer; an answer's time from the first message on T since the last answer is therefore kept apart,
as the most that a delay can have been.
"""

from __future__ import annotations

import random
import select
import socket
import time

from edge_agent.wire.mqtt_packets import (
    PUBLISH,
    TYPE,
    long_length,
    packet,
    publish_0,
    read_publish,
    text_field,
)

OUTCOMES = 100
PATIENCE_S = 0.1
"""How long the answer to a lone message is waited for: an agent that keeps its action gives none."""
PAUSE_S = 0.012
ANSWER = "/set"


class Load:
    """A connection to the broker at ``port`` that receives the answers."""

    def __init__(self, port: int, agents: int) -> None:
        self.answers = 0
        self._agents = agents
        self._random = random.Random(1)
        self._asked: dict[str, list[float]] = {}
        self._times: list[float] = []
        self._longest: list[float] = []
        self._held = b""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flags = bytes((4, 0x02, 0, 0))  # MQTT 3.1.1, clean session, no keep-alive
        self._socket.sendall(packet(0x10, text_field("MQTT") + flags + text_field("load")))
        self._socket.sendall(packet(0x82, b"\0\1" + text_field(f"z/+{ANSWER}") + b"\0"))
        self._receive(1.0)

    def lone(self, count: int) -> list[float]:
        """Publish ``count`` messages, each after the answer to the one before; return seconds, sorted."""
        self._times, self._longest, self._asked = [], [], {}
        for number in range(count):
            answered = len(self._times)
            self._publish(number)
            end = time.perf_counter() + PATIENCE_S
            while len(self._times) == answered and (left := end - time.perf_counter()) > 0:
                self._receive(left)
            self._asked.clear()
            time.sleep(PAUSE_S)
        return sorted(self._times)

    def stream(self, rate: float, seconds: float) -> tuple[int, list[float], list[float]]:
        """Publish ``rate`` messages per second; return how many, and the seconds of the answers from the
        newest message and from the first since the last answer, both sorted.
        """
        self._times, self._longest, self._asked, sent = [], [], {}, 0
        start = time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            while sent < passed * rate:
                self._publish(sent)
                sent += 1
            self._receive(max(sent / rate - (time.perf_counter() - start), 0.0))
        end = time.perf_counter() + 0.5
        while (left := end - time.perf_counter()) > 0:
            self._receive(left)
        return sent, sorted(self._times), sorted(self._longest)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _publish(self, number: int) -> None:
        topic = f"z/a{number % self._agents}"
        now = time.perf_counter()
        self._asked.setdefault(topic, [now, now])[1] = now
        self._socket.sendall(publish_0(topic, b"%d" % self._random.randrange(OUTCOMES), False))

    def _receive(self, seconds: float) -> None:
        """Wait for answers, and take in what is there."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return
        buffer, at = self._held + self._socket.recv(65536), 0
        now = time.perf_counter()
        while at + 2 <= len(buffer):
            length, body = long_length(buffer, at + 1, len(buffer))
            if not body or body + length > len(buffer):
                break
            if buffer[at] & TYPE == PUBLISH:
                topic, _, _ = read_publish(buffer[at], buffer, body, length)
                asked = self._asked.pop(topic.decode().removesuffix(ANSWER), None)
                self.answers += 1
                if asked is not None:
                    self._times.append(now - asked[1])
                    self._longest.append(now - asked[0])
            at = body + length
        self._held = buffer[at:]


def quantile(times: list[float], q: float) -> float:
    """Return a quantile of sorted seconds, in milliseconds; inf without any."""
    return 1e3 * times[min(len(times) - 1, int(q * len(times)))] if times else float("inf")
