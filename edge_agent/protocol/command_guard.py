"""Accepts signed commands with an expiry time, each id once, even if the broker repeats messages.

Theory of operation. The states of an id are *begun* and *done*. It is stored on disk before the command runs
(`Begin` requests that), and with its reply afterwards. A repeated id that is done gets the same reply and
does not run again. A command interrupted by a power cut runs again if running twice has the same result as
once (`REPEATABLE`); otherwise the reply is "interrupted". Ids are removed when their commands have expired,
at most a day later, so the stored state is bounded. Long replies (`bodies.LONG_REPLIES`) are not stored: a
repeated id of those runs again. Commands without enough valid signatures are counted and
not answered, and so are commands whose id cannot be part of a topic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire import bodies, documents, messages
from edge_agent.wire.documents import Trust
from edge_agent.wire.topics import id_fault

NAMES = frozenset(bodies.COMMAND_NAMES)
REPEATABLE = bodies.LONG_REPLIES | {
    "status",
    "reset",
    "set-rate",
    "replay-window",
    "reload",
    "send-learned",
    "reset-learned",
    "counters",
}
MAX_KEPT = 256


@dataclass(frozen=True, slots=True)
class Command:
    """What to do."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Begin:
    """Effect: keep the state, then carry the command out and call `CommandGuard.finished`."""

    command: Command


@dataclass(frozen=True, slots=True)
class Reply:
    """Effect: publish this body as the answer to ``id``."""

    id: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A command by a trusted key that can be neither carried out nor answered."""

    reason: str


@dataclass(slots=True)
class CommandCounters:
    """Since start."""

    run: int = 0
    repeated: int = 0
    refused: int = 0
    forged: int = 0


class CommandGuard:
    """Which ids were seen, and their replies.

    Parameters
    ----------
    device : str
        Who we are.
    state : mapping, optional
        What `state` returned before the restart.
    """

    def __init__(self, device: str, state: Mapping[str, Any] | None = None) -> None:
        self.counters = CommandCounters()
        self._device = device
        self._kept = {id_: _kept(kept) for id_, kept in (state or {}).items() if not id_fault(id_)}
        self._running: dict[str, str] = {}
        """Name of each command that is being carried out, by id."""

    def state(self) -> dict[str, Any]:
        """Return what must survive a restart, as JSON: id → {expires, reply or None}."""
        return {id_: dict(kept) for id_, kept in self._kept.items()}

    def offer(self, payload: bytes, trust: Trust | None, t: float) -> Begin | Reply | Unanswered | None:
        """Take a message on the command topic in; ``trust`` says who is obeyed (None: nobody), ``t`` is Unix
        time.
        """
        try:
            body = messages.decode(payload).body
            if trust is None:
                raise PeerError("no keys are believed")
            document = trust.verified(body, documents.COMMAND)
        except PeerError:
            self.counters.forged += 1
            return None
        id_ = document.get("id")
        fault = id_fault(id_) if isinstance(id_, str) else "it is no text"
        if fault:
            self.counters.refused += 1
            return Unanswered(f"id: {fault}")
        try:
            trust.check(document, documents.COMMAND, bodies.COMMAND)
        except PeerError as error:
            return self._refuse(str(id_), str(error))
        command = Command(document["id"], document["name"], document.get("arguments", {}))
        kept = self._kept.get(command.id)
        if kept is not None:
            return self._again(command, kept)
        reason = self._objection(document, t)
        if reason:
            return self._refuse(command.id, reason)
        self._forget(t)
        if len(self._kept) >= MAX_KEPT:
            return self._refuse(command.id, f"{MAX_KEPT} commands pending")
        self._kept[command.id] = {"expires": document["expires"], "reply": None}
        return self._begin(command)

    def finished(
        self, id_: str, ok: bool, result: Mapping[str, Any] | None = None, reason: str = ""
    ) -> Reply:
        """Note how a command ended; the state must be kept before the reply is published."""
        body: dict[str, Any] = {"id": id_, "ok": ok}
        if reason:
            body["reason"] = documents.shortened(reason)
        if result:
            body["result"] = dict(result)
        name = self._running.pop(id_, "")
        if id_ in self._kept and name not in bodies.LONG_REPLIES:
            self._kept[id_]["reply"] = body
        return Reply(id_, body)

    def _refuse(self, id_: str, reason: str) -> Reply:
        self.counters.refused += 1
        return Reply(id_, {"id": id_, "ok": False, "reason": documents.shortened(reason)})

    def _begin(self, command: Command) -> Begin:
        self._running[command.id] = command.name
        self.counters.run += 1
        return Begin(command)

    def _again(self, command: Command, kept: dict[str, Any]) -> Begin | Reply | None:
        self.counters.repeated += 1
        if kept["reply"] is not None:
            return Reply(command.id, kept["reply"])
        if command.id in self._running:
            return None
        if command.name in REPEATABLE:
            return self._begin(command)
        return self.finished(command.id, False, reason="interrupted by a restart; not run again")

    def _objection(self, document: Mapping[str, Any], t: float) -> str:
        if document["device"] != self._device:
            return f"for device {document['device']!r}, expected {self._device!r}"
        if t > document["expires"]:
            return "expired"
        if document["expires"] > t + documents.MAX_COMMAND_AHEAD:
            return f"valid for more than {documents.MAX_COMMAND_AHEAD:g} s"
        if document["name"] not in NAMES:
            return f"no command {document['name']!r}"
        return ""

    def _forget(self, t: float) -> None:
        self._kept = {i: k for i, k in self._kept.items() if k["expires"] >= t or i in self._running}


def _kept(state: Mapping[str, Any]) -> dict[str, Any]:
    match state:
        case {"expires": int() | float(), "reply": None | {"id": str()}}:
            return dict(state)
    raise PeerError("commands: what was kept of one is not {expires, reply}")
