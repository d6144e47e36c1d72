"""The state machines of alerts: one per rule and device, one per rule and group of devices. No I/O.

Theory of operation. `observe` takes what a rule measured on a device and returns the device's next state:

    ok → pending (broken) → firing (broken for ``for_s``) → clearing (kept) → ok (kept for ``recover_s``)

A measure that is not known changes nothing. A device counts while it is firing or clearing, so a measure that
swings around the limit faster than ``for_s`` and ``recover_s`` makes no change at all.

`advance` takes how many devices of a group count, and returns the group's alert and the notice that is due.
An alert is told ``wait_s`` after it began, again when more devices count than were told, at most once per
``update_s`` and not after somebody acknowledged it, and at its end if it was told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_hub.domain.alert_rules import Rule

OK, PENDING, FIRING, CLEARING = "ok", "pending", "firing", "clearing"
COUNTED = (FIRING, CLEARING)
OPEN, CLEARED = "open", "cleared"
RAISED, GROWN = "raised", "grown"
"""Kinds of notices, with `CLEARED`."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device under a rule: ``since`` is when the state began, ``fired`` when it began to count (Unix s)."""

    state: str = OK
    since: float = 0.0
    fired: float = 0.0
    value: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether the device is one of its group's alert."""
        return self.state in COUNTED


@dataclass(frozen=True, slots=True)
class AlertState:
    """What is known of a group's alert; ``told`` is how many devices the last notice named, 0 before any."""

    opened: float
    status: str = OPEN
    devices: int = 0
    most: int = 0
    told: int = 0
    told_at: float = 0.0
    notices: int = 0
    cleared: float = 0.0
    acknowledged: bool = False


def observe(rule: Rule, member: DeviceState, value: float | None, now: float) -> DeviceState:
    """Return the state of a device after a measure; the same object if nothing changed.

    Parameters
    ----------
    rule : Rule
        The rule.
    member : DeviceState
        The state before.
    value : float or None
        The measure; None if it is not known.
    now : float
        Unix seconds; a clock that was set back begins the times anew.
    """
    if value is None:
        return member
    passed = now - member.since
    match member.state:
        case "ok":
            if not rule.broken(value):
                return member
            return _moved(member, FIRING if rule.for_s <= 0.0 else PENDING, value, now)
        case "pending":
            if not rule.broken(value):
                return _moved(member, OK, value, now)
            if passed < 0.0:
                return replace(member, since=now)
            return _moved(member, FIRING, value, now) if passed >= rule.for_s else member
        case "firing":
            if not rule.kept(value):
                return member
            return _moved(member, OK if rule.recover_s <= 0.0 else CLEARING, value, now)
        case _:
            if not rule.kept(value):
                return replace(member, state=FIRING, since=now, value=value)
            if passed < 0.0:
                return replace(member, since=now)
            return _moved(member, OK, value, now) if passed >= rule.recover_s else member


def advance(rule: Rule, alert: AlertState | None, devices: int, now: float) -> tuple[AlertState | None, str]:
    """Return a group's alert after a look at its devices, and the kind of notice that is due, "" for none.

    Parameters
    ----------
    rule : Rule
        The rule.
    alert : AlertState or None
        The group's open alert.
    devices : int
        How many devices of the group count.
    now : float
        Unix seconds.
    """
    if alert is None:
        if not devices:
            return None, ""
        alert = AlertState(now)
    if not devices:
        ended = replace(alert, status=CLEARED, devices=0, cleared=now)
        return (_told(ended, now), CLEARED) if alert.told else (ended, "")
    if devices != alert.devices:
        alert = replace(alert, devices=devices, most=max(alert.most, devices))
    if not alert.told:
        return (_told(alert, now), RAISED) if _waited(alert.opened, rule.wait_s, now) else (alert, "")
    if devices > alert.told and not alert.acknowledged and _waited(alert.told_at, rule.update_s, now):
        return _told(alert, now), GROWN
    return alert, ""


def _moved(member: DeviceState, state: str, value: float, now: float) -> DeviceState:
    fired = now if state == FIRING else member.fired if state == CLEARING else 0.0
    return DeviceState(state, now, fired, value)


def _told(alert: AlertState, now: float) -> AlertState:
    return replace(alert, told=max(alert.devices, alert.told), told_at=now, notices=alert.notices + 1)


def _waited(since: float, seconds: float, now: float) -> bool:
    return not 0.0 <= now - since < seconds
