"""What the routes of alerts take and give. Times are Unix seconds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from edge_hub.api.schemas import Text

Target = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class NewAlertRule(Struct, forbid_unknown_fields=True):
    """What an alert rule is to be: see docs/how-to/alerts.md."""

    field: Annotated[
        str, Meta(max_length=257, description="silence, gaps, rss, POPULATION/COUNTER or */COUNTER")
    ]
    limit: float
    above: bool = True
    measure: Literal["value", "increase", "trend"] = "value"
    window_s: float = 0.0
    recover_limit: float | None = None
    for_s: float = 60.0
    recover_s: float = 60.0
    filter: Text = ""
    group: Annotated[str, Meta(max_length=80, description="fleet, device or label.KEY")] = "fleet"
    wait_s: float = 10.0
    update_s: float = 300.0
    severity: Literal["warning", "critical"] = "warning"
    notify: Annotated[list[Target], Meta(max_length=20, description="names of targets; empty: all")] = []
    enabled: bool = True
    note: Text = ""


class AlertRule(Struct):
    """A rule under its name; ``condition`` is the rule in words."""

    name: str
    condition: str
    field: str
    limit: float
    above: bool
    measure: str
    window_s: float
    recover_limit: float | None
    for_s: float
    recover_s: float
    filter: str
    group: str
    wait_s: float
    update_s: float
    severity: str
    notify: list[str]
    enabled: bool
    note: str


class Alert(Struct):
    """One alert: ``devices`` count now, ``most`` did at once; ``names`` are some of them."""

    id: str
    rule: str
    group_name: str
    severity: str
    condition: str
    status: Literal["open", "cleared"]
    opened: float
    cleared: float
    changed: float
    devices: int
    most: int
    notices: int
    names: list[str]
    acknowledged: float
    acknowledged_by: str


class AlertMember(Struct):
    """A device of an alert: the measure when its state changed last."""

    fleet: str
    device: str
    state: Literal["firing", "clearing"]
    since: float
    value: float


class AlertDelivery(Struct):
    """A notice to a target. ``repeated``: it may have been sent before by a process that was killed."""

    notice: int
    kind: Literal["raised", "grown", "cleared"]
    target: str
    created: float
    state: Literal["waiting", "sending", "sent", "failed"]
    attempts: int
    repeated: bool
    finished: float


class AlertDetail(Alert):
    """An alert with its devices, at most 1,000, and its notices."""

    members: list[AlertMember]
    deliveries: list[AlertDelivery]
