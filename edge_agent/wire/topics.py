"""The topic tree, ``edge/v1/FLEET/...``: builds and parses topic names.

==================================================  ========  ===  ==========================================
topic                                               retained  QoS  what
==================================================  ========  ===  ==========================================
``edge/v1/FLEET/DEVICE/up/birth``                   yes       1    birth, and the will
``edge/v1/FLEET/DEVICE/up/telemetry``               no        1    counters and decisions, through the outbox
``edge/v1/FLEET/DEVICE/up/learned``                 no        1    what a population counted in an epoch
``edge/v1/FLEET/DEVICE/up/reported``                yes       1    what runs now
``edge/v1/FLEET/DEVICE/up/reply/ID``                no        1    the answer to command ID
``edge/v1/FLEET/DEVICE/up/state``                   no        0    current state in JSON, for Home Assistant
``edge/v1/FLEET/DEVICE/up/state/POPULATION/INDEX``  no        0    an agent's state, for Home Assistant
``edge/v1/FLEET/DEVICE/up/fetch``                   no        1    requests bundle blocks
``edge/v1/FLEET/DEVICE/out/POPULATION``             no        0    bulk actions, arrays
``edge/v1/FLEET/DEVICE/down/desired``               yes       1    what should run, signed
``edge/v1/FLEET/DEVICE/down/command``               no        1    signed, expires
``edge/v1/FLEET/DEVICE/down/block``                 no        1    bundle blocks
``edge/v1/FLEET/DEVICE/down/confirm``               no        1    telemetry that the hub has stored
``edge/v1/FLEET/DEVICE/in/POPULATION``              no        0    bulk observations, arrays
``edge/v1/FLEET/DEVICE/in/POPULATION/override``     no        1    a value instead of an agent's decision
``edge/v1/FLEET/peer/DEVICE/presence``              yes       1    roster entry
``edge/v1/FLEET/peer/DEVICE/evidence``              no        0    shared beliefs
``edge/v1/FLEET/peer/DEVICE/handover``              no        1    populations lent to another device, signed
==================================================  ========  ===  ==========================================

``peer`` is a reserved name: no device may be called so. A name is one topic level of letters, digits,
``-``, ``_`` and ``.``, at most 64 characters, so that it is also a safe file name and an MQTT user name.

`topic_fault` and `level_fault` check topics from outside: MQTT's own rules (UTF-8, at most 65,535 bytes, no
wildcards, no NUL: MQTT 5 section 4.7), and none of the characters of section 1.5.4 for which a broker may end
the connection. A QoS 1 message on such a topic would end each new connection again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from edge_agent.errors import ConfigError, PeerError

ROOT = "edge/v1"
RESERVED = frozenset({"peer"})
MAX_TOPIC_BYTES = 65_535
MAX_ID = 64
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_RESERVED = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_UNSAFE = re.compile(f"[+#\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_RESERVED}]")
"""Wildcards, control characters, surrogates, and characters that Unicode reserves."""


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it can be one topic level.

    Parameters
    ----------
    name : str
        A fleet, device or population name.
    what : str
        The configuration key it came from, for the message.

    Raises
    ------
    ConfigError
        The name is empty, too long, has other characters, or is reserved.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{what}: found {name!r}, expected 1 to 64 letters, digits, '-', '_' or '.'")
    if name in RESERVED:
        raise ConfigError(f"{what}: {name!r} is a reserved name")
    return name


def topic_fault(topic: str) -> str:
    """Return why nothing can be published on ``topic`` or asked for there, "" if it can."""
    unsafe = _UNSAFE.search(topic)
    if unsafe is not None:
        return f"a topic cannot hold {unsafe[0]!a}"
    size = len(topic.encode("utf-8"))
    if not 0 < size <= MAX_TOPIC_BYTES:
        return f"a topic has 1 to {MAX_TOPIC_BYTES} bytes, this one {size}"
    return ""


def level_fault(text: str) -> str:
    """Return why ``text`` cannot be one level of a topic, "" if it can."""
    return "one level of a topic cannot hold '/'" if "/" in text else topic_fault(text)


def id_fault(text: str) -> str:
    """Return why ``text`` cannot be the id of a command, "" if it can: the answer's topic ends in it."""
    if not 0 < len(text) <= MAX_ID:
        return f"{len(text)} characters, expected 1 to {MAX_ID}"
    return level_fault(text)


@dataclass(frozen=True, slots=True)
class DeviceTopics:
    """The topics of one device in one fleet."""

    fleet: str
    device: str

    @property
    def prefix(self) -> str:
        """``edge/v1/FLEET/DEVICE``."""
        return f"{ROOT}/{self.fleet}/{self.device}"

    @property
    def birth(self) -> str:
        """Retained birth certificate, and the will's topic."""
        return f"{self.prefix}/up/birth"

    @property
    def telemetry(self) -> str:
        """Counters and decisions."""
        return f"{self.prefix}/up/telemetry"

    @property
    def learned(self) -> str:
        """What populations counted while they learned."""
        return f"{self.prefix}/up/learned"

    @property
    def reported(self) -> str:
        """Retained reported state."""
        return f"{self.prefix}/up/reported"

    @property
    def state(self) -> str:
        """How the device is now, in JSON."""
        return f"{self.prefix}/up/state"

    @property
    def fetch(self) -> str:
        """Requests for bundle blocks."""
        return f"{self.prefix}/up/fetch"

    @property
    def desired(self) -> str:
        """Retained, signed desired state."""
        return f"{self.prefix}/down/desired"

    @property
    def command(self) -> str:
        """Signed commands, never retained."""
        return f"{self.prefix}/down/command"

    @property
    def confirm(self) -> str:
        """Which telemetry the hub has stored."""
        return f"{self.prefix}/down/confirm"

    @property
    def block(self) -> str:
        """Bundle blocks."""
        return f"{self.prefix}/down/block"

    @property
    def presence(self) -> str:
        """This device's retained roster entry."""
        return f"{ROOT}/{self.fleet}/peer/{self.device}/presence"

    @property
    def evidence(self) -> str:
        """Beliefs this device shares."""
        return f"{ROOT}/{self.fleet}/peer/{self.device}/evidence"

    @property
    def handover(self) -> str:
        """What this device says about populations lent and borrowed."""
        return f"{ROOT}/{self.fleet}/peer/{self.device}/handover"

    def reply(self, command_id: str) -> str:
        """Return the topic of the answer to one command."""
        return f"{self.prefix}/up/reply/{command_id}"

    def agent_state(self, population: str, index: int) -> str:
        """Return the topic of one agent's state, in JSON."""
        return f"{self.state}/{population}/{index}"

    def override(self, population: str) -> str:
        """Return the topic of overrides for one population; ``+`` stands for any."""
        return f"{self.prefix}/in/{population}/override"

    def bulk_in(self, population: str) -> str:
        """Return the topic of bulk observations for one population."""
        return f"{self.prefix}/in/{population}"

    def bulk_out(self, population: str) -> str:
        """Return the topic of bulk actions of one population."""
        return f"{self.prefix}/out/{population}"


class Address(NamedTuple):
    """A topic taken apart: ``channel`` is the part after the device, e.g. ``up/birth`` or ``presence``."""

    fleet: str
    device: str
    channel: str
    peer: bool


def parse(topic: str) -> Address:
    """Take a topic of ours apart.

    Raises
    ------
    PeerError
        The topic is not of the form ``edge/v1/FLEET/DEVICE/...`` or ``edge/v1/FLEET/peer/DEVICE/...``, or
        fleet or device are no names (`check_name`).
    """
    levels = topic.split("/")
    if len(levels) < 5 or levels[:2] != ["edge", "v1"] or not all(levels):
        raise PeerError(f"topic {topic!r}: expected edge/v1/FLEET/DEVICE/CHANNEL")
    fleet, device, *channel = levels[2:]
    peer = device == "peer"
    if peer:
        device, *channel = channel
    if not channel:
        raise PeerError(f"topic {topic!r}: expected edge/v1/FLEET/peer/DEVICE/CHANNEL")
    for name in (fleet, device):
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise PeerError(f"topic {topic!r}: {name!r} is no name of a fleet or device")
    return Address(fleet, device, "/".join(channel), peer)
