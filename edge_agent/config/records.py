"""The configuration as the daemon holds it: frozen records of the standard library.

Theory of operation. These records are the one definition of every key: its name, type, bounds, default and
meaning. ``config.checks`` lets pydantic check a TOML file against them in a short-lived child process, which
prints what it accepted as JSON; the daemon builds the records from that JSON and never imports pydantic
(10 MB). The text under a key is its documentation; the reference is generated from it.

Paths in the file are relative to the file; here they are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from edge_agent.config.strict import CHECKED

if TYPE_CHECKING:
    from edge_agent.config.bounds import (
        Agents,
        Count,
        Keepalive,
        Name,
        NotEmpty,
        NotNegative,
        OneOrMore,
        Port,
        Positive,
        Priority,
        Rate,
        Seed,
        Spare,
        Text,
        Threads,
        Value,
    )
    from edge_agent.config.peer_records import ObjectiveConfig, PeersConfig, ShareConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Who this device is and where it keeps what it must not forget."""

    __pydantic_config__ = CHECKED

    name: Name
    """Name of the device: one topic level, unique in its fleet."""
    fleet: Name = "home"
    """Name of the fleet: the level above the device in every topic."""
    profile: Text = "generic"
    """Board profile: a name out of firmware_profiles, or a path to a TOML file."""
    state_dir: Text = "/var/lib/edge-agent"
    """Directory of checkpoints, recordings and the outbox; made if missing."""
    socket: Text = "/run/edge-agent/control.sock"
    """UNIX socket of ``status``, ``agents`` and ``history``; who may open it may ask."""
    socket_mode: Literal["0600", "0660", "0666"] = "0660"
    """Permissions of the socket in octal."""
    memory_mb: Count = 0
    """Bytes for the whole process in MiB; 0 takes the profile's."""
    spare_kb: Spare = -1
    """Arena kept free for populations added at run time, KiB; -1 keeps room to swap the largest one, which a
    population that the hub adds seldom fits in."""
    telemetry_s: Positive = 10.0
    """Seconds between telemetry messages."""
    checkpoint_s: Positive = 300.0
    """Seconds between checkpoints of beliefs and counters."""
    checkpoint_mb_a_day: Positive = 200.0
    """Most MB of checkpoints in a day; the interval grows when that is not enough (SD cards wear)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where the MQTT broker is. Without this section the device works without a network."""

    __pydantic_config__ = CHECKED

    host: Text = "localhost"
    """Host name or address."""
    port: Port = 1883
    """TCP port; 8883 is usual with TLS."""
    username: str = ""
    """MQTT user name; empty for none. Give the device's name, so that the broker's ACL patterns work."""
    password_file: str = ""
    """File whose first line is the password; only its owner may read it."""
    tls: bool = False
    """Use TLS."""
    ca_file: str = ""
    """Certificates to believe; empty takes the system's."""
    cert_file: str = ""
    """This device's certificate, for brokers that ask for one."""
    key_file: str = ""
    """Its key; only its owner may read it."""
    keepalive_s: Keepalive = 60
    """Seconds of silence after which either side takes the connection for dead."""
    home_assistant: str = ""
    """Discovery prefix of a Home Assistant that shall show the device, usually homeassistant; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """Whom the device obeys, and what it keeps for its hub. Without keys it obeys nobody."""

    __pydantic_config__ = CHECKED

    keys: tuple[Text, ...] = ()
    """Public key files (``edge-convert keygen``) of the hub: what they signed is obeyed."""
    threshold: OneOrMore = 1
    """How many of the keys must have signed a document or command."""
    confirm: bool = False
    """Keep telemetry until ``edge-hub ingest`` has confirmed it; false: until the broker has it. A broker
    that is killed loses some of what it acknowledged (Mosquitto does); only true leaves no gaps then."""
    outbox_mb: Positive = 64.0
    """Most MB of telemetry on disk; past that the oldest is thinned out."""
    download_s: Positive = 600.0
    """Seconds that the download of a bundle from a URL may take; then the hub is asked for the rest."""
    redirects_elsewhere: bool = False
    """Whether such a download follows redirects to another host, port or scheme (http and https)."""
    outbox_days: NotNegative = 0.0
    """Most days that telemetry is kept; 0 keeps it as long as there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityConfig:
    """Where it is said whether the thing that is observed can be reached."""

    __pydantic_config__ = CHECKED

    topic: Text
    """MQTT topic; {agent}, {index} and {population} are filled in."""
    pointer: str = ""
    """Where in the JSON message (RFC 6901), e.g. /state; empty takes the whole payload."""
    value: Value = "online"
    """What stands there while the thing can be reached; with anything else its observations count as not
    observed at once, until the next reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveConfig:
    """Where one modality's observations come from."""

    __pydantic_config__ = CHECKED

    modality: Text
    """Name of the modality in the bundle, or its number."""
    source: Literal["mqtt", "file", "trace", "plugin"] = "mqtt"
    """mqtt: ``topic``; file: ``path``, read at each step; trace: ``path``, an npz; plugin: ``plugin``."""
    topic: str = ""
    """MQTT topic; {agent} is the agent's name, {index} its number, {population} the population's name."""
    pointer: str = ""
    """Where in the JSON message (RFC 6901), e.g. /co2; empty takes the whole payload as one number. A null is
    not observed: the last value stays until it is stale."""
    path: str = ""
    """A file that holds one number (hwmon, iio, thermal, power_supply); {agent} and {index} are filled in."""
    plugin: str = ""
    """Name of an entry point in the group ``edge_agent.sensors``."""
    scale: float = 1.0
    """Multiplied with the number to get the modality's unit, e.g. 0.001 for millidegrees."""
    offset: float = 0.0
    """Added after ``scale``."""
    values: dict[str, Value] = field(default_factory=dict)
    """What the thing reports (``true`` and ``false`` for booleans) = what the model calls it: a label, a
    number in the modality's unit, a bin's number. What is not listed stays as it is."""
    availability: tuple[AvailabilityConfig, ...] = ()
    """Topics that say whether the thing can be reached; offline on one of them is offline."""
    wakes: bool | None = None
    """Whether a reading is an arrival for ``step``. Unset: yes. But on a topic to which a control of the same
    agent is sent (with or without /set), a thing repeats its state after a command: there the property that
    the control sets is no arrival, and another one is when its bin changes."""
    stale_s: Positive = 300.0
    """Seconds after which the last value counts as not observed."""
    hold: bool = True
    """Use the last value in every step until it is stale; false uses it in one step only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActConfig:
    """Where one control's actions go."""

    __pydantic_config__ = CHECKED

    control: Text
    """Name of the control in the bundle, or its number."""
    sink: Literal["mqtt", "file", "command", "plugin"] = "mqtt"
    """mqtt: ``topic``; file: ``path`` is written; command: ``command`` is run; plugin: ``plugin``."""
    topic: str = ""
    """MQTT topic; {agent}, {index} and {population} are filled in."""
    template: str = "{value}"
    """The payload: {value} is the control's value, {action} its number, {agent} and {index} whose it is."""
    values: dict[str, Value] = field(default_factory=dict)
    """The control's value = what the thing takes, for {value}; booleans become ``true`` and ``false``. What
    is not listed stays as it is."""
    path: str = ""
    """File that is written, e.g. a PWM duty; {agent} and {index} are filled in."""
    command: tuple[str, ...] = ()
    """Program (absolute path, listed in ``commands``) and arguments; {value} is the filled-in template."""
    plugin: str = ""
    """Name of an entry point in the group ``edge_agent.actuators``."""
    qos: Literal[0, 1] = 0
    """MQTT quality of service of the action."""
    retain: bool = False
    """Whether the broker keeps the last action for who comes later."""
    on_change: bool = True
    """Send only actions that differ from the agent's last one."""
    dwell_s: NotNegative | None = None
    """Least seconds between two actions of one agent. An action that comes earlier waits, and is sent then if
    it still stands; the safe value does not wait. Unset: half the bundle's tick, at most 60; 0 without a
    tick."""
    safe: str = ""
    """Value sent when observations went stale or the population is suspended, a value of the control (then
    ``values`` applies) or any text; empty sends none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationConfig:
    """Agents that share one model."""

    __pydantic_config__ = CHECKED

    name: Name
    """Name of the population: one topic level, unique on the device."""
    bundle: Text
    """Path of the bundle (.eab)."""
    size: Agents = 0
    """Number of agents; 0 takes the number of ``agents``."""
    agents: tuple[Text, ...] | Text = "{population}-{index}"
    """Names of the agents: a list, or a pattern with {index} (from 0) and {population}."""
    seed: Seed = 0
    """Seed of what is drawn at random."""
    step: Literal["rate", "arrival", "change"] = "rate"
    """rate: all agents, ``rate_hz`` times a second; arrival: those that got an observation; change: those
    whose observation is another one. The latter two at most ``rate_hz`` times a second."""
    rate_hz: Rate | None = None
    """Steps a second. Unset: one step each tick of the bundle; without a tick 1."""
    tick: Literal["bundle", "ignore"] = "bundle"
    """bundle: a ``rate_hz`` that differs from the bundle's tick by more than 10 % is refused; ignore: it is
    not."""
    threads: Threads = 0
    """Threads of a step; 0 takes the profile's."""
    priority: Priority = 5
    """0 is suspended first when the board is in trouble, 9 last."""
    history_kb: Count = 256
    """KiB of history: the newest steps as they are, older ones compressed."""
    bulk: bool = False
    """Take observations from edge/v1/FLEET/DEVICE/in/NAME and send all actions to .../out/NAME as arrays."""
    observe: tuple[ObserveConfig, ...] = ()
    """Where observations come from; a modality that is not listed is never observed."""
    act: tuple[ActConfig, ...] = ()
    """Where actions go; a control that is not listed stays inside."""
    share: tuple[ShareConfig, ...] = ()
    """Hidden factors whose evidence is shared with peers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderConfig:
    """The flight recorder: enough to re-run every decision."""

    __pydantic_config__ = CHECKED

    path: str = ""
    """File of the recording; empty records nothing."""
    max_mb: Positive = 16.0
    """Most MB on disk, two segments together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole device.toml."""

    __pydantic_config__ = CHECKED

    device: DeviceConfig
    """Who this device is."""
    broker: BrokerConfig | None = None
    """Where the broker is."""
    hub: HubConfig = field(default_factory=HubConfig)
    """The hub."""
    peers: PeersConfig | None = None
    """The other devices of the fleet."""
    objective: tuple[ObjectiveConfig, ...] = ()
    """What the fleet's devices do together."""
    population: Annotated[tuple[PopulationConfig, ...], NotEmpty]
    """The populations."""
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    """The flight recorder."""
    commands: tuple[Text, ...] = ()
    """Absolute paths of programs that actions may run."""


def build(document: dict[str, Any]) -> Config:
    """Return the records of a checked document (what ``config.checks`` printed, as a dict)."""
    broker = document["broker"]
    return Config(
        device=DeviceConfig(**document["device"]),
        broker=None if broker is None else BrokerConfig(**broker),
        hub=HubConfig(**document["hub"] | {"keys": tuple(document["hub"]["keys"])}),
        **_together(document),
        population=tuple(build_population(entry) for entry in document["population"]),
        recorder=RecorderConfig(**document["recorder"]),
        commands=tuple(document["commands"]),
    )


def _together(document: dict[str, Any]) -> dict[str, Any]:
    """Build what only a device with peers has; without any, the code for it is not loaded."""
    if document["peers"] is None:
        return {}
    from edge_agent.config.peer_records import build_objective, build_peers

    return {
        "peers": build_peers(document["peers"]),
        "objective": tuple(build_objective(entry) for entry in document["objective"]),
    }


def _shares(entries: list[dict[str, Any]]) -> tuple[ShareConfig, ...]:
    if not entries:
        return ()
    from edge_agent.config.peer_records import ShareConfig

    return tuple(ShareConfig(**entry) for entry in entries)


def build_observe(entry: dict[str, Any]) -> ObserveConfig:
    """Return the record of a checked ``observe`` entry."""
    availability = tuple(AvailabilityConfig(**item) for item in entry["availability"])
    return ObserveConfig(**entry | {"availability": availability})


def build_population(entry: dict[str, Any]) -> PopulationConfig:
    """Return the record of a checked population."""
    agents = entry["agents"]
    return PopulationConfig(
        **entry
        | {
            "agents": agents if isinstance(agents, str) else tuple(agents),
            "observe": tuple(build_observe(item) for item in entry["observe"]),
            "act": tuple(ActConfig(**item | {"command": tuple(item["command"])}) for item in entry["act"]),
            "share": _shares(entry["share"]),
        }
    )
