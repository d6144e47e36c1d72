"""Reads one retained message from a broker, for commands that run without a daemon."""

from __future__ import annotations

import queue

from edge_agent.adapters.connection_errors import refusal_text, trouble_text
from edge_agent.adapters.mqtt import MqttSettings
from edge_agent.adapters.paho_loader import CallbackAPIVersion, Client, ReasonCode
from edge_agent.errors import ConfigError, PlatformError

KEEPALIVE_S = 30


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
    where = f"{settings.host}:{settings.port}"
    answers: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
    client = Client(CallbackAPIVersion.VERSION2, client_id="")
    if settings.username:
        client.username_pw_set(settings.username, settings.password)

    def on_connect(client: Client, _data: object, _flags: object, code: ReasonCode, _found: object) -> None:
        if code.is_failure:
            answers.put(refusal_text(code))
        else:
            client.subscribe(topic)

    client.on_connect = on_connect
    client.on_message = lambda _client, _data, message: answers.put(bytes(message.payload))
    try:
        client.connect(settings.host, settings.port, KEEPALIVE_S)
    except (OSError, ValueError) as error:
        raise PlatformError(f"{where}: {trouble_text(error)}") from error
    client.loop_start()
    try:
        answer = answers.get(timeout=wait_s)
    except queue.Empty:
        raise ConfigError(
            f"{where}: {topic}: found no retained message within {wait_s:g} s, expected {expected}"
        ) from None
    finally:
        client.disconnect()
        client.loop_stop()
    if isinstance(answer, str):
        raise PlatformError(f"{where}: {answer}")
    return answer
