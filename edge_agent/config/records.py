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
        LearnEvery,
        Name,
        NotEmpty,
        NotNegative,
        OneOrMore,
        Port,
        Positive,
        Priority,
        Probability,
        Rate,
        Seed,
        Spare,
        Text,
        Threads,
        Value,
    )
    from edge_agent.config.peer_records import ObjectiveConfig, PeersConfig, ShareConfig
    from edge_agent.config.telemetry_records import TelemetryConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Identity, state and limits of this device."""

    __pydantic_config__ = CHECKED

    name: Name
    """Name of the device: one topic level, unique in its fleet."""
    fleet: Name = "home"
    """Name of the fleet: the level above the device in every topic."""
    profile: Text = "generic"
    """Board profile: the name of a shipped profile, or the path of a TOML file."""
    state_dir: Text = "/var/lib/edge-agent"
    """Directory of checkpoints, recordings and the outbox. It is created if it is missing."""
    socket: Text = "/run/edge-agent/control.sock"
    """UNIX socket of ``status``, ``agents`` and ``history``. Its file permissions control access."""
    socket_mode: Literal["0600", "0660", "0666"] = "0660"
    """File permissions of the socket, in octal."""
    memory_mb: Count = 0
    """Memory budget of the whole process in MiB; 0 uses the profile's."""
    spare_kb: Spare = -1
    """Arena memory in KiB reserved for populations that are added at run time; -1 reserves enough to replace
    the largest population, which is seldom enough for a population that the hub adds.
    """
    log_level: Literal["warning", "info", "debug"] = "info"
    """Least importance of what the daemon logs; ``-vv`` logs everything."""
    telemetry_s: Positive = 10.0
    """Interval between telemetry messages in seconds."""
    checkpoint_s: Positive = 300.0
    """Interval between checkpoints of beliefs and counters in seconds."""
    checkpoint_mb_per_day: Positive = 200.0
    """Maximum MB of checkpoints written per day. The interval grows to stay below it (SD cards wear)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Connection to the MQTT broker. Without this section the device works without a network."""

    __pydantic_config__ = CHECKED

    host: Text = "localhost"
    """Host name or IP address."""
    port: Port = 1883
    """TCP port; usually 8883 with TLS."""
    username: str = ""
    """MQTT user name; empty for none. Use the device's name, so that the broker's ACL patterns work."""
    password_file: str = ""
    """File whose first line is the password. Only its owner may have read permission."""
    tls: bool = False
    """Use TLS."""
    ca_file: str = ""
    """CA certificate file; empty uses the system's trust store."""
    cert_file: str = ""
    """Certificate file of this device, for brokers that require one."""
    key_file: str = ""
    """Key file of the certificate. Only its owner may have read permission."""
    keepalive_s: Keepalive = 60
    """MQTT keep-alive in seconds: the longest time without a packet."""
    home_assistant: str = ""
    """Discovery prefix of Home Assistant, usually homeassistant; empty turns discovery off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """The hub whose documents and commands the device accepts. Without keys it accepts none."""

    __pydantic_config__ = CHECKED

    keys: tuple[Text, ...] = ()
    """Public key files of the hub (``edge-convert keygen``). The device accepts what these keys signed. With
    ``release_keys`` they are the director's: they sign documents and commands, and may lie on the hub.
    """
    threshold: OneOrMore = 1
    """Number of keys that must have signed a document or command."""
    release_keys: tuple[Text, ...] = ()
    """Public key files of the release role, whose secret keys do not lie on the hub. The device then runs
    only bundles and configurations that a release names (``edge-hub sign``). Empty: ``keys`` have both roles.
    """
    release_threshold: OneOrMore = 1
    """Number of release keys that must have signed a release or a rotation."""
    confirm: bool = False
    """Keep telemetry until ``edge-hub ingest`` has confirmed it; false keeps it until the broker has
    acknowledged it. A broker that is killed can lose acknowledged messages (Mosquitto does); only true
    prevents gaps then.
    """
    outbox_mb: Positive = 64.0
    """Maximum MB of telemetry on disk. Above it the oldest telemetry is thinned out."""
    download_s: Positive = 600.0
    """Time limit in seconds for downloading a bundle from a URL. The device then requests the missing blocks
    from the hub.
    """
    redirects_elsewhere: bool = False
    """Whether a download follows redirects to another host, port or scheme (http and https)."""
    outbox_days: NotNegative = 0.0
    """Maximum age of stored telemetry in days; 0 keeps it while there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityConfig:
    """A topic that reports whether the observed device is online."""

    __pydantic_config__ = CHECKED

    topic: Text
    """MQTT topic; {agent}, {index} and {population} are filled in."""
    pointer: str = ""
    """Where in the JSON message (RFC 6901), e.g. /state; empty takes the whole payload."""
    value: Value = "online"
    """The value while the device is online. With any other value its modalities count as not observed until
    the next reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveConfig:
    """Source of one modality's observations."""

    __pydantic_config__ = CHECKED

    modality: Text
    """Name of the modality in the bundle, or its number."""
    source: Literal["mqtt", "file", "trace", "plugin"] = "mqtt"
    """mqtt: ``topic``; file: ``path``, read at each step; trace: ``path``, an npz; plugin: ``plugin``."""
    topic: str = ""
    """MQTT topic; {agent} is the agent's name, {index} its number, {population} the population's name."""
    pointer: str = ""
    """JSON pointer into the message (RFC 6901), e.g. /co2; empty uses the whole payload as one number. A null
    counts as not observed: the last value stays until it is stale.
    """
    path: str = ""
    """File that contains one number (hwmon, iio, thermal, power_supply); {agent} and {index} are filled in.
    """
    plugin: str = ""
    """Name of an entry point of the group ``edge_agent.sensors``."""
    scale: float = 1.0
    """Factor from the number to the modality's unit, e.g. 0.001 for millidegrees."""
    offset: float = 0.0
    """Added after ``scale``."""
    values: dict[str, Value] = field(default_factory=dict)
    """Maps what the device reports (``true`` and ``false`` for booleans) to a label, a number in the
    modality's unit, or a bin's number. A value that is not listed is not changed."""
    availability: tuple[AvailabilityConfig, ...] = ()
    """Topics that report whether the device is online; it is offline if one of them says so."""
    wakes: bool | None = None
    """Whether a reading is an arrival for ``step``. Unset: yes, except on a topic to which a control of the
    same agent is sent (with or without /set), because a device repeats its state after a command: there the
    property that the control sets is never an arrival, and any other property only when its bin changes."""
    stale_s: Positive = 300.0
    """Age in seconds at which the last value counts as not observed."""
    silence: Literal["unknown", "unchanged"] | None = None
    """What it means when a tick has no reading. unknown: the modality is not observed in that tick.
    unchanged: the sensor reports on change, so its last value counts in each tick until it is ``stale_s``
    old. Unset: unknown; unchanged for a network, which needs every number."""
    reduce: Literal["mean", "max", "last"] = "last"
    """What stands for a tick in which a sensor reports more than once: its newest reading, or the mean or the
    largest number of the 64 newest, in the modality's unit. mean and max need source mqtt and a modality with
    bin edges or a network's number, take 1 KiB of memory per agent, and go with certain readings alone."""
    stamp: str = ""
    """Where in the JSON message (RFC 6901) the time is at which the reading was made, e.g. /last_seen: Unix
    time in seconds or milliseconds, or ISO 8601. A reading counts in the tick in which it was made. Empty
    takes the time of arrival."""
    probabilities: bool = False
    """The value is an array with a probability for each outcome of the modality; it is normalised."""
    uncertainty: Positive | None = None
    """Standard deviation of the reading, in its own unit (before ``scale``): the reading counts as a normal
    distribution over the modality's bins. The modality needs edges in the bundle's io."""
    uncertainty_pointer: str = ""
    """JSON pointer to that standard deviation in the same message; 0 is a certain reading. A message without
    it takes ``uncertainty``; without that too, the reading is ignored."""

    @property
    def spreads(self) -> bool:
        """Whether its observations are distributions over outcomes."""
        return self.probabilities or self.uncertainty is not None or bool(self.uncertainty_pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActConfig:
    """Destination of one control's actions."""

    __pydantic_config__ = CHECKED

    control: Text
    """Name of the control in the bundle, or its number."""
    sink: Literal["mqtt", "file", "command", "plugin"] = "mqtt"
    """mqtt: ``topic``; file: ``path`` is written; command: ``command`` is run; plugin: ``plugin``."""
    topic: str = ""
    """MQTT topic; {agent}, {index} and {population} are filled in."""
    template: str = "{value}"
    """Payload: {value} is the control's value, {action} its number, {agent} and {index} name the agent."""
    values: dict[str, Value] = field(default_factory=dict)
    """Maps the control's values to the words that the device accepts, for {value}. Booleans are written as
    ``true`` and ``false``. A value that is not listed is not changed."""
    path: str = ""
    """File to write, e.g. a PWM duty cycle; {agent} and {index} are filled in."""
    command: tuple[str, ...] = ()
    """Program (absolute path, listed in ``commands``) and its arguments; {value} is the filled-in template.
    """
    plugin: str = ""
    """Name of an entry point of the group ``edge_agent.actuators``."""
    qos: Literal[0, 1] = 0
    """MQTT quality of service of the action."""
    retain: bool = False
    """Whether the broker retains the last action for later subscribers."""
    on_change: bool = True
    """Send only actions that differ from the agent's last one."""
    dwell_s: NotNegative | None = None
    """Minimum seconds between two actions of one agent. An earlier action waits until then, and a newer one
    replaces it; the safe value does not wait. Unset: half the bundle's tick, at most 60; 0 without a tick or
    with ``tick = "arrival"``."""
    margin: Probability | None = None
    """How much more probable a new action must be than the one that stands, 0 to 1; otherwise that one stays.
    Unset: 0.05; 0 if the bundle has no tick, draws its actions, or has several controls in one action."""
    safe: str = ""
    """Value sent while observations are stale or the population is suspended: a value of the control (then
    ``values`` applies) or any text; empty sends none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAssistantConfig:
    """Entities of a population's agents in Home Assistant; ``broker.home_assistant`` must be set. Without
    this section only the population's diagnostic sensors are shown.
    """

    __pydantic_config__ = CHECKED

    agents: OneOrMore = 20
    """Maximum number of agents that are shown, the first ones of the population. Each has a sensor per
    control (its decision) and a sensor per named hidden factor (its likeliest state).
    """
    interval_s: Positive = 5.0
    """Minimum seconds between two state messages of one agent."""
    override_s: NotNegative = 0.0
    """Seconds for which a value that a user selects replaces the agent's decision; longest time that a
    message may ask for. 0 accepts no overrides.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationConfig:
    """Agents that share one model."""

    __pydantic_config__ = CHECKED

    name: Name
    """Name of the population: one topic level, unique on the device."""
    bundle: Text
    """Path of the bundle (.eab)."""
    size: Agents = 0
    """Number of agents; 0 uses the length of ``agents``."""
    agents: tuple[Text, ...] | Text = "{population}-{index}"
    """Names of the agents: a list, or a pattern with {index} (from 0) and {population}."""
    seed: Seed = 0
    """Seed of the random numbers."""
    step: Literal["rate", "arrival", "change"] = "rate"
    """rate: all agents decide at the end of each tick. arrival: an agent also decides again when one of its
    observations arrives, from all that the tick has shown; change: when one changes. A tick ends on time in
    each case, and a reading counts once. Within a tick at most 333 decisions per second are made, or
    ``rate_hz`` if that is more, and fewer where they would take more than a quarter of a core."""
    rate_hz: Rate | None = None
    """Ticks per second. Unset: those of the bundle; a bundle without a tick needs it."""
    tick: Literal["bundle", "ignore", "arrival"] = "bundle"
    """bundle: a ``rate_hz`` that differs from the bundle's tick by more than 10 % is refused; ignore: it is
    accepted. arrival: each arrival is a tick, at most ``rate_hz`` times per second, for recordings that are
    played faster than time; needs ``step`` arrival or change."""
    threads: Threads = 0
    """Number of threads per step; 0 uses the profile's."""
    learn: Literal["off", "population", "agent", "frozen"] = "off"
    """population: what all agents see and do changes the model that they share; agent: each agent has a model
    of its own, and learns by itself. frozen: what all agents see and do is counted and sent to the hub
    (``learn_send_s``), and they decide with the model as delivered. The bundle says what learns, and has to
    carry concentrations. off: nothing is counted."""
    learn_every: LearnEvery = 60
    """Ticks between new tables of what was learned."""
    learn_send_s: NotNegative = 0.0
    """Seconds between contributions of what was counted to the hub, at least 3,600; 0: none. The command
    ``send-learned`` of the hub sends at once."""
    priority: Priority = 5
    """Order in which the governor suspends populations on an overloaded board: 0 first, 9 last."""
    history_kb: Count = 256
    """Memory of the history in KiB. The newest steps are uncompressed, older ones compressed."""
    bulk: bool = False
    """Receive observations as arrays on edge/v1/FLEET/DEVICE/in/NAME and publish all actions on .../out/NAME.
    """
    observe: tuple[ObserveConfig, ...] = ()
    """Sources of observations. A modality that is not listed is never observed."""
    act: tuple[ActConfig, ...] = ()
    """Destinations of actions. The actions of a control that is not listed are not sent."""
    share: tuple[ShareConfig, ...] = ()
    """Hidden factors whose evidence is exchanged with peers."""
    home_assistant: HomeAssistantConfig | None = None
    """Entities of the agents in Home Assistant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderConfig:
    """The flight recorder: records what is needed to replay every decision."""

    __pydantic_config__ = CHECKED

    path: str = ""
    """File of the recording; empty records nothing."""
    max_mb: Positive = 16.0
    """Maximum MB on disk, both segments together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole device.toml."""

    __pydantic_config__ = CHECKED

    device: DeviceConfig
    """Who this device is."""
    broker: BrokerConfig | None = None
    """The MQTT broker."""
    hub: HubConfig = field(default_factory=HubConfig)
    """The hub."""
    peers: PeersConfig | None = None
    """The other devices of the fleet."""
    objective: tuple[ObjectiveConfig, ...] = ()
    """Objectives of the fleet's devices."""
    population: Annotated[tuple[PopulationConfig, ...], NotEmpty]
    """The populations."""
    telemetry: tuple[TelemetryConfig, ...] = ()
    """Series of chosen agents for the hub."""
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
        hub=_hub(document["hub"]),
        **_together(document),
        population=tuple(build_population(entry) for entry in document["population"]),
        telemetry=_telemetry(document["telemetry"]),
        recorder=RecorderConfig(**document["recorder"]),
        commands=tuple(document["commands"]),
    )


def _hub(table: dict[str, Any]) -> HubConfig:
    keys = {role: tuple(table[role]) for role in ("keys", "release_keys")}
    return HubConfig(**table | keys)


def _together(document: dict[str, Any]) -> dict[str, Any]:
    """Build what only a device with peers has; without any, the code for it is not loaded."""
    if document["peers"] is None:
        return {}
    from edge_agent.config.peer_records import build_objective, build_peers

    return {
        "peers": build_peers(document["peers"]),
        "objective": tuple(build_objective(entry) for entry in document["objective"]),
    }


def _telemetry(entries: list[dict[str, Any]]) -> tuple[TelemetryConfig, ...]:
    if not entries:
        return ()
    from edge_agent.config.telemetry_records import build_telemetry

    return tuple(build_telemetry(entry) for entry in entries)


def _shares(entries: list[dict[str, Any]]) -> tuple[ShareConfig, ...]:
    if not entries:
        return ()
    from edge_agent.config.peer_records import ShareConfig

    return tuple(ShareConfig(**entry) for entry in entries)


def build_observe(entry: dict[str, Any]) -> ObserveConfig:
    """Return the record of a checked ``observe`` entry, which an earlier version may have written."""
    availability = tuple(AvailabilityConfig(**item) for item in entry.get("availability", ()))
    read = entry | {"availability": availability}
    hold = read.pop("hold", None)  # of a version before ``silence``
    if hold is not None:
        read["silence"] = "unchanged" if hold else "unknown"
    return ObserveConfig(**read)


def build_population(entry: dict[str, Any]) -> PopulationConfig:
    """Return the record of a checked population.

    What an earlier version wrote lacks the keys that were added since; these have their defaults.
    """
    agents, shown = entry["agents"], entry.get("home_assistant")
    return PopulationConfig(
        **entry
        | {
            "agents": agents if isinstance(agents, str) else tuple(agents),
            "observe": tuple(build_observe(item) for item in entry["observe"]),
            "act": tuple(ActConfig(**item | {"command": tuple(item["command"])}) for item in entry["act"]),
            "share": _shares(entry["share"]),
            "home_assistant": None if shown is None else HomeAssistantConfig(**shown),
        }
    )
