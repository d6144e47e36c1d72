"""Reads retained messages from a broker, for commands that run without a daemon."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edge_agent.adapters.connection_errors import refusal_text, trouble_text
from edge_agent.adapters.mqtt import MqttSettings
from edge_agent.adapters.paho_loader import CallbackAPIVersion, Client, ReasonCode
from edge_agent.errors import ConfigError, PlatformError

KEEPALIVE_S = 30
QUIET_S = 2.0
"""Seconds without a message after which there are no more."""
MAX_MESSAGES = 100_000

_Answers = queue.SimpleQueue["tuple[str, bytes] | str"]
"""Topic and payload of each message, or why the broker refused."""


def retained_message(settings: MqttSettings, topic: str, expected: str, wait_s: float = 10.0) -> bytes:
    """Return the payload of the retained message on ``topic``.

    Parameters
    ----------
    settings : MqttSettings
        Broker, without TLS, and credentials.
    topic : str
        Where it lies.
    expected : str
        What should lie there, for messages.
    wait_s : float
        Most seconds to wait for it.

    Raises
    ------
    PlatformError
        The broker cannot be reached or refuses the login.
    ConfigError
        Nothing lies there.
    """
    with _messages(settings, topic) as answers:
        return _next(answers, settings, topic, expected, wait_s)[1]


def retained_messages(
    settings: MqttSettings, pattern: str, expected: str, wait_s: float = 10.0
) -> dict[str, bytes]:
    """Return the payloads of all retained messages that match ``pattern``, by topic.

    Parameters and errors as `retained_message`. The broker does not say which message is the last one:
    reading ends after `QUIET_S` without one, or after ``wait_s``.
    """
    found: dict[str, bytes] = {}
    with _messages(settings, pattern) as answers:
        topic, payload = _next(answers, settings, pattern, expected, wait_s)
        end = time.monotonic() + wait_s
        while len(found) < MAX_MESSAGES:
            found[topic] = payload
            try:
                left = end - time.monotonic()
                topic, payload = _next(answers, settings, pattern, expected, max(min(QUIET_S, left), 0.0))
            except ConfigError:
                break
    return found


def _next(
    answers: _Answers, settings: MqttSettings, topic: str, expected: str, wait_s: float
) -> tuple[str, bytes]:
    where = f"{settings.host}:{settings.port}"
    try:
        answer = answers.get(timeout=wait_s)
    except queue.Empty:
        raise ConfigError(
            f"{where}: {topic}: found no retained message within {wait_s:g} s, expected {expected}"
        ) from None
    if isinstance(answer, str):
        raise PlatformError(f"{where}: {answer}")
    return answer


@contextmanager
def _messages(settings: MqttSettings, topic: str) -> Iterator[_Answers]:
    """Subscribe to ``topic``; yield the queue of what arrives."""
    answers: _Answers = queue.SimpleQueue()
    client = Client(CallbackAPIVersion.VERSION2, client_id="")
    if settings.username:
        client.username_pw_set(settings.username, settings.password)

    def on_connect(client: Client, _data: object, _flags: object, code: ReasonCode, _found: object) -> None:
        if code.is_failure:
            answers.put(refusal_text(code))
        else:
            client.subscribe(topic)

    client.on_connect = on_connect
    client.on_message = lambda _client, _data, message: answers.put((message.topic, bytes(message.payload)))
    try:
        client.connect(settings.host, settings.port, KEEPALIVE_S)
    except (OSError, ValueError) as error:
        raise PlatformError(f"{settings.host}:{settings.port}: {trouble_text(error)}") from error
    client.loop_start()
    try:
        yield answers
    finally:
        client.disconnect()
        client.loop_stop()
