"""The files of the hub client: its state, and the highest document versions seen (the floor).

Theory of operation. ``follower.json`` holds the document in force, keys, rollouts and commands. It may be
unusable: truncated by a disk failure, set aside because the daemon failed with it, or written by another
device whose card was copied. ``follower.floor.json`` is tiny: the highest version of a desired document and
of the hub's keys that were ever in force here, the newest releases (`protocol.twin.Floor`), and whose it is.
It only increases, and is written before the state that raises it, so it is never lower than the state. If one
of the two files is lost, a replayed old document is still refused. If both are lost, an old document can be
accepted again; the log then says so.

Unusable files are reported in the log and in the birth message, and are renamed, not removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_agent.adapters.state_file import DamagedFileError, StateFile
from edge_agent.errors import PeerError, PlatformError
from edge_agent.protocol.twin import NO_FLOOR, Floor, floor_of
from edge_agent.wire import fields, releases
from edge_agent.wire.documents import MOST_INTEGER

STATE = "follower.json"
FLOOR = "follower.floor.json"
BUNDLES = "bundles"
_BESIDE = "floor"
"""Key of the floor in the state: a state without a document would not say it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found: the state (None: there is none), the floor, and a line for each file that was lost."""

    state: dict[str, Any] | None = None
    floor: Floor = NO_FLOOR
    lost: tuple[str, ...] = ()


class HubState:
    """The two files of one device.

    Parameters
    ----------
    folder : Path
        The state directory; must exist before anything is written.
    owner : str
        ``FLEET/DEVICE``: whose state it must be.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder = folder
        self._owner = owner
        self._state, self._floor = StateFile(folder / STATE), StateFile(folder / FLOOR)
        self._kept = NO_FLOOR

    def look(self) -> Kept:
        """Return what is there, and change nothing.

        Raises
        ------
        PlatformError
            The state is damaged or can't be read.
        """
        return Kept(self._state.look())

    def read(self) -> Kept:
        """Return what is there; what is damaged is set aside, and the floor is made good.

        Raises
        ------
        PlatformError
            The disk refuses.
        """
        lost: list[str] = []
        state, fault = _tried(self._state)
        owner = _owner_of(state or {}, self._owner)
        if owner != self._owner:
            state, fault = None, f"kept by {owner!r}, expected {self._owner!r}"
        if fault:
            lost.append(self._set_aside(self._state, fault))
        entry, fault = _tried(self._floor)
        floor = NO_FLOOR if entry is None else _floor(entry, self._owner)
        if floor is None:
            fault, floor = "not a floor of this device", NO_FLOOR
        if fault:
            lost.append(self._set_aside(self._floor, fault))
        if state is None and not lost and (self._folder / BUNDLES).is_dir():
            if entry is None:
                lost.append(f"{STATE} and {FLOOR}: missing; an old document could be taken over again")
            elif floor != NO_FLOOR:
                lost.append(f"{STATE}: missing; desired documents below version {floor.version} are refused")
        self._kept = floor
        if state is not None:
            floor = floor.raised(floor_of(state))
            beside = state.pop(_BESIDE, None)
            if isinstance(beside, dict):
                floor = floor.raised(_floor({**beside, "owner": self._owner}, self._owner) or NO_FLOOR)
        try:
            self._raise(floor, always=entry is None or bool(fault))
        except PlatformError as error:  # nothing is obeyed while the disk refuses, so nothing is lost either
            lost.append(str(error))
        return Kept(state, self._kept, tuple(lost))

    def refuse(self, reason: str, above: Mapping[str, Any] | None = None) -> Kept:
        """Set the state aside, since it cannot be used; return what is left.

        With ``above``, a state, its document is refused when it comes again: only a higher version is taken
        over.

        Raises
        ------
        PlatformError
            The disk refuses.
        """
        if above is not None:
            known = self._kept.raised(floor_of(above))
            self._raise(replace(known, version=min(known.version + 1, MOST_INTEGER)))
        return Kept(None, self._kept, (self._set_aside(self._state, reason),))

    def write(self, state: Mapping[str, Any]) -> None:
        """Put ``state`` in the place of what was there, the floor before it.

        Raises
        ------
        PlatformError
            The disk is full or refuses.
        """
        self._raise(self._kept.raised(floor_of(state)))
        self._state.write({**state, _BESIDE: self._kept.state()})

    def _raise(self, floor: Floor, always: bool = False) -> None:
        before, self._kept = self._kept, floor
        if always or floor != before:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._floor.write({"owner": self._owner, **floor.state()})
            except OSError as error:
                self._kept = before
                raise PlatformError(f"{self._folder}: {error.strerror}") from error
            except PlatformError:
                self._kept = before
                raise

    def _set_aside(self, file: StateFile, reason: str) -> str:
        return f"{file.path.name}: {reason}; set aside as {file.set_aside().name}"


def _tried(file: StateFile) -> tuple[dict[str, Any] | None, str]:
    try:
        return file.look(), ""
    except DamagedFileError:
        return None, "damaged"


def _owner_of(state: Mapping[str, Any], default: str) -> str:
    """Return who kept a state; those of older versions name nobody, but their document does."""
    match state:
        case {"owner": str(owner)}:
            return owner
        case {"twin": {"document": {"fleet": str(fleet), "device": str(device)}}}:
            return f"{fleet}/{device}"
    return default


def _floor(entry: Mapping[str, Any], owner: str) -> Floor | None:
    match entry:
        case {"owner": str(kept), "version": int(version), "trust": int(trust)} if kept == owner:
            if 0 <= version <= MOST_INTEGER and 0 <= trust <= MOST_INTEGER:
                try:
                    return Floor(version, trust, releases.of_state(fields.mapping(entry, "releases")))
                except PeerError:
                    return None
    return None
