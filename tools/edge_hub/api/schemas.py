"""What the REST interface takes and gives: the types that the OpenAPI document is made of.

Times are Unix seconds, sizes bytes. Pages have ``after``: what the next request gives as its own ``after``,
"" on the last page.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="1 to 64 characters")]
LoginName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")]
Text = Annotated[str, Meta(max_length=1000)]
Secret = Annotated[str, Meta(max_length=256)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in hex")]
Role = Literal["viewer", "operator", "admin"]
Scope = Literal[
    "devices",
    "bundles",
    "rollouts",
    "commands",
    "groups",
    "alerts",
    "learning",
    "users",
    "audit",
    "events",
    "metrics",
]


class Problem(Struct):
    """A problem document (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str = ""
    errors: list[str] = []


class Device(Struct):
    """A row of the fleet. ``heard`` is when the hub last had telemetry of it, by the hub's clock."""

    id: int
    fleet: str
    name: str
    online: bool
    version: str
    profile: str
    agents: int
    labels: dict[str, str]
    known_since: float
    heard: float | None
    t: float | None
    rss: int | None
    tick: int
    decisions: int
    contradictions: int
    missed: int
    populations: list[str]


class DevicePage(Struct):
    """A page of devices."""

    devices: list[Device]
    after: str


class RunningPopulation(Struct):
    """A population of a device; ``counters`` count since its start."""

    name: str
    bundle: str
    size: int
    counters: dict[str, float]


class DeviceDetail(Struct):
    """All that is known of a device; ``health``, ``birth`` and ``reported`` as docs/protocol.md has them."""

    id: int
    fleet: str
    name: str
    online: bool
    version: str
    profile: str
    agents: int
    labels: dict[str, str]
    known_since: float
    heard: float | None
    t: float | None
    rss: int | None
    tick: int
    decisions: int
    contradictions: int
    missed: int
    populations: list[RunningPopulation]
    health: dict[str, Any]
    birth: dict[str, Any]
    reported: dict[str, Any]
    gaps: list[dict[str, Any]]


class SampledAgent(Struct):
    """An agent with series."""

    population: str
    agent: str


class Series(Struct):
    """Measurements of a device or of one of its agents: ``t`` in Unix seconds, and a list of the same length
    for each series. ``agents`` are those that have series in this time.
    """

    resolution: Literal["raw", "minute", "hour"]
    agents: list[SampledAgent]
    t: list[float]
    values: dict[str, list[float | None]]


class TelemetryRow(Struct):
    """What one message, minute or hour says: ``t`` in Unix seconds, and the series that it holds."""

    t: float
    values: dict[str, float]


class TelemetryPage(Struct):
    """A page of what a device reported; ``after`` is for the next one, "" at the end."""

    rows: list[TelemetryRow]
    after: str


class DeviceCount(Struct):
    """How many devices fit a filter, how many of them are online, and their agents."""

    devices: int
    online: int
    agents: int


class FleetSummary(Struct):
    """How many devices of a fleet are known and online."""

    fleet: str
    devices: int
    online: int
    agents: int


class Population(Struct):
    """How many devices and agents run a bundle under a population's name."""

    fleet: str
    population: str
    bundle: str
    devices: int
    agents: int


class Labels(Struct, forbid_unknown_fields=True):
    """All labels of a device."""

    labels: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")],
            Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f\s]{1,128}$")],
        ],
        Meta(max_length=50),
    ]


class Bundle(Struct):
    """A bundle that was uploaded."""

    digest: str
    name: str
    version: str
    kind: str
    size: int
    signer: str
    uploaded: float
    uploaded_by: str


class BundleDetail(Struct):
    """A bundle with its manifest: input and output, memory, the conversion's report under ``evaluation``."""

    digest: str
    name: str
    version: str
    kind: str
    size: int
    signer: str
    uploaded: float
    uploaded_by: str
    manifest: dict[str, Any]


class Signature(Struct, forbid_unknown_fields=True):
    """A signature: public key and Ed25519 signature in hex."""

    key: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    signature: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]


class NewRelease(Struct, forbid_unknown_fields=True):
    """A release as ``edge-hub sign`` writes it: the document's canonical JSON, and who signed it."""

    doc: Annotated[str, Meta(min_length=1, max_length=200_000, pattern="^[ -~]*$")]
    signatures: Annotated[list[Signature], Meta(min_length=1, max_length=16)]


class Release(Struct):
    """A release that was uploaded; ``allows`` are older bundles that may be gone back to."""

    id: str
    fleet: str
    population: str
    bundle: str
    number: int
    uploaded: float
    uploaded_by: str
    allows: list[str]
    devices: list[str]
    config: dict[str, Any]
    issued: float
    expires: float


class WantedRelease(Struct):
    """A proposed rollout whose bundle has no release yet."""

    rollout: str
    fleet: str
    population: str
    bundle: str
    name: str
    config: dict[str, Any]
    devices: int


class NewRollout(Struct, forbid_unknown_fields=True):
    """A rollout to be made: to the devices of a filter or a group."""

    fleet: Name
    bundle: Digest
    population: Name
    filter: Text = ""
    group: str = ""
    canary: Annotated[str, Meta(max_length=200)] = "5%,25%,100%"
    gates: dict[str, Annotated[float, Meta(ge=0)]] = {}
    max_failures: Annotated[int, Meta(ge=0, le=100_000)] = 0
    patience_s: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 3600.0
    config: dict[str, Any] = {}
    approve: bool = False


class NewConfiguration(Struct, forbid_unknown_fields=True):
    """Values to be set in the configuration of the devices of a filter or a group, in place of all that a hub
    had set there.
    """

    fleet: Name
    values: dict[str, Any]
    filter: Text = ""
    group: str = ""
    canary: Annotated[str, Meta(max_length=200)] = "5%,25%,100%"
    gates: dict[str, Annotated[float, Meta(ge=0)]] = {}
    max_failures: Annotated[int, Meta(ge=0, le=100_000)] = 0
    patience_s: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 3600.0
    approve: bool = False


class Rollout(Struct):
    """A rollout, without its devices. ``counts`` is how many of them are in which state."""

    id: str
    fleet: str
    population: str
    bundle: str
    status: str
    created: float
    created_by: str
    approved_by: str
    updated: float
    group_name: str
    filter: str
    reason: str
    wave: int
    waves: int
    devices: int
    counts: dict[str, int]


class RolloutDetail(Struct):
    """A rollout with its state machine: waves, and each device's state with the reason."""

    id: str
    fleet: str
    population: str
    bundle: str
    status: str
    created: float
    created_by: str
    approved_by: str
    updated: float
    group_name: str
    filter: str
    state: dict[str, Any]


class NewCommand(Struct, forbid_unknown_fields=True):
    """A command to the devices of a filter; it is signed with the hub's key."""

    fleet: Name
    name: Literal[
        "status",
        "reset",
        "set-rate",
        "record",
        "replay-window",
        "reload",
        "send-learned",
        "reset-learned",
        "explain",
        "counters",
        "log",
        "support-bundle",
    ]
    filter: Text = ""
    arguments: dict[str, Any] = {}
    expires_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0


class Reply(Struct):
    """A device's answer; ``state`` is waiting, done or failed."""

    device: str
    state: str
    reason: str
    answered: float | None
    result: Any


class Command(Struct):
    """A command that was sent."""

    id: str
    fleet: str
    name: str
    arguments: dict[str, Any]
    created: float
    created_by: str
    expires: float


class CommandDetail(Struct):
    """A command with the answers."""

    id: str
    fleet: str
    name: str
    arguments: dict[str, Any]
    created: float
    created_by: str
    expires: float
    replies: list[Reply]


class Group(Struct):
    """A filter under a name."""

    name: str
    filter: str
    note: str


class NewGroup(Struct, forbid_unknown_fields=True):
    """What a group is to be."""

    filter: Text
    note: Text = ""


class AuditEntry(Struct):
    """An entry of the audit; see ``/api/v1/audit/verify``."""

    seq: int
    t: float
    who: str
    action: str
    object: str
    before: Any
    after: Any
    previous: str
    hash: str


class AuditState(Struct):
    """How many entries hold, the number of the first that does not (0: all do), the last hash."""

    entries: int
    broken: int
    hash: str


class Rejected(Struct):
    """A message that could not be taken."""

    id: int
    received: float
    topic: str
    reason: str
    size: int
