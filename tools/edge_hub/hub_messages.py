"""Messages that a hub sends to single devices: signed commands, and confirmations of stored telemetry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.wire import documents, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics


def command(device: str, values: Mapping[str, Any], keys: Sequence[SecretKey]) -> tuple[str, bytes]:
    """Return topic and payload of a signed command.

    Parameters
    ----------
    device : str
        The device's name.
    values : mapping
        ``fleet``, ``id``, ``name``, ``arguments`` and ``expires`` (Unix time); other keys are not sent.
    keys : sequence of SecretKey
        Who signs.
    """
    document = {key: values[key] for key in ("fleet", "id", "name", "arguments", "expires")}
    body = documents.signed({**document, "device": device}, documents.COMMAND, keys)
    message = Message(body, id=values["id"], t=time.time(), exp=values["expires"])
    return DeviceTopics(values["fleet"], device).command, messages.encode(message)


def confirmation(key: tuple[str, str, str], numbers: Iterable[int]) -> tuple[str, bytes]:
    """Return topic and payload that tell a device which messages of an outbox are stored.

    ``key`` is (fleet, device, outbox); ``numbers`` are sent as closed ranges.
    """
    fleet, device, outbox = key
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number <= ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    message = Message({"outbox": outbox, "ranges": ranges}, t=time.time())
    return DeviceTopics(fleet, device).confirm, messages.encode(message)
