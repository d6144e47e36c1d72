r"""Installs an update of the daemon, tries it, and restores the installed package if the new one fails.

Theory of operation. The daemon asks by a file, ``update/request`` in its state directory, which starts
``edge-agent-update.service`` and so this program. ``edge-agent stage-package`` checks what was asked for
(release keys, digests, versions) and puts the packages into the installer's folder, which only root can
write. From there on the journal decides, and each stage is in it before its work begins::

    (request) --staged, installed package saved--> INSTALLING --dpkg--> TRIAL --healthy--> result: installed
            \                                              \              \
             refused: result                                +----failed----+--> RESTORING --dpkg--> RESTORED
                                                                                    --> result: restored

After a power cut the stage in the journal is done again: dpkg installs a package again that it had half
unpacked. What was interrupted `MAX_ATTEMPTS` times is given up, and the saved package is restored.
``--repair`` runs at boot before the daemon and does only what dpkg has to do, so that the daemon starts from
one package or the other. The installed package is saved as dpkg knows it: its files and scripts, packed again
(`system.System.save_installed`); it stays until the next update.

This package uses the standard library alone, and is shipped as one file (a zip application in
``/usr/lib/edge-agent``), which Debian's python3 runs: it works while the files of the daemon are only half
replaced, and dpkg replaces it as a whole. `system.System` is the board.

Healthy means: the service has started (``READY=1``), and within the trial the daemon is connected to its
broker, agents have stepped, and it has been up for `system.SETTLE_S`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

MAX_ATTEMPTS = 2
POLL_S = 2.0
RESTORE_ATTEMPTS = 5
PAUSE_S = 10.0


class InstallStage(enum.Enum):
    """What is being done; see the module's head."""

    INSTALLING = "installing"
    TRIAL = "trial"
    RESTORING = "restoring"
    RESTORED = "restored"


class InstallError(Exception):
    """A step failed; the message says why."""


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """What the daemon asks for: ``id`` of the request, the bundle's digest, the length of the trial."""

    id: str
    bundle: str
    trial_s: float


@dataclass(frozen=True, slots=True)
class InstallJournal:
    """An installation under way; ``attempts`` counts how often its stage was begun."""

    stage: InstallStage
    request: InstallRequest
    version: str
    attempts: int = 0
    reason: str = ""

    def state(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"stage": self.stage.value}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> InstallJournal:
        """Return the journal that `state` was made of."""
        found = dict(state) | {
            "stage": InstallStage(state["stage"]),
            "request": InstallRequest(**state["request"]),
        }
        return cls(**found)


@dataclass(frozen=True, slots=True)
class InstallResult:
    """The end of the last request: ``installed``, ``restored`` or ``refused``, and the reason.

    ``digest`` and ``version`` are those of the package bundle that was installed last and is still in place,
    "" if there is none.
    """

    request: str = ""
    bundle: str = ""
    outcome: str = ""
    reason: str = ""
    digest: str = ""
    version: str = ""


class InstallerBoard(Protocol):
    """What the installer works on; everything that fails raises InstallError."""

    def journal(self) -> InstallJournal | None:
        """Return the installation under way."""
        ...

    def write_journal(self, journal: InstallJournal | None) -> None:
        """Make a stage durable; None: the installation has ended."""

    def result(self) -> InstallResult:
        """Return the last result."""
        ...

    def write_result(self, result: InstallResult) -> None:
        """Make a result durable."""

    def request(self) -> InstallRequest | None:
        """Return what the daemon asks for."""
        ...

    def drop_request(self) -> None:
        """Remove what the daemon asks for."""

    def stage(self, request: InstallRequest) -> str:
        """Check what is asked for and put it in place; return its version."""
        ...

    def save_installed(self) -> None:
        """Save the installed packages."""

    def install(self, saved: bool) -> None:
        """Install the staged packages, or the saved ones."""

    def restart(self) -> None:
        """Restart the daemon and wait until it is ready."""

    def unhealthy(self) -> str:
        """Return why the daemon is not healthy, "" if it is."""
        ...

    def monotonic(self) -> float:
        """Return the time in seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Installer:
    """The state machine; see the module's head."""

    def __init__(self, board: InstallerBoard) -> None:
        self._board = board

    def run(self) -> InstallResult:
        """Do what is asked for, or go on after an interruption; return the last result.

        Raises
        ------
        InstallError
            The saved package can't be installed. The journal stays, so the next start tries again.
        """
        journal = self._open() or self._begin()
        while journal is not None:
            journal = self._step(journal)
        return self._board.result()

    def repair(self) -> None:
        """Finish what dpkg was interrupted in; the daemon is neither started nor tried."""
        journal = self._open()
        while journal is not None and journal.stage in (InstallStage.INSTALLING, InstallStage.RESTORING):
            journal = self._step(journal)

    def _open(self) -> InstallJournal | None:
        """Return the installation under way; one whose result is written has ended."""
        journal = self._board.journal()
        if journal is not None and journal.request.id == self._board.result().request:
            self._board.write_journal(None)
            return None
        return journal

    def _begin(self) -> InstallJournal | None:
        request, last = self._board.request(), self._board.result()
        if request is None:
            return None
        if request.id == last.request:
            self._board.drop_request()  # answered already; a power cut came before it was removed
            return None
        if request.bundle == last.digest:
            self._end(request, last, "installed", "", (last.digest, last.version))
            return None
        try:
            version = self._board.stage(request)
            self._board.save_installed()
        except InstallError as error:
            self._end(request, last, "refused", str(error), (last.digest, last.version))
            return None
        return self._enter(InstallJournal(InstallStage.INSTALLING, request, version))

    def _step(self, journal: InstallJournal) -> InstallJournal | None:
        match journal.stage:
            case InstallStage.INSTALLING:
                return self._install(journal)
            case InstallStage.TRIAL:
                return self._try(journal)
            case InstallStage.RESTORING:
                return self._restore(journal)
            case InstallStage.RESTORED:
                self._board.restart()
                last = self._board.result()
                self._end(journal.request, last, "restored", journal.reason, (last.digest, last.version))
                return None

    def _install(self, journal: InstallJournal) -> InstallJournal:
        if journal.attempts >= MAX_ATTEMPTS:
            return self._fail(journal, f"interrupted {journal.attempts} times during the installation")
        journal = self._enter(replace(journal, attempts=journal.attempts + 1))
        self._board.drop_request()
        try:
            self._board.install(saved=False)
        except InstallError as error:
            return self._fail(journal, str(error))
        return self._enter(replace(journal, stage=InstallStage.TRIAL, attempts=0))

    def _try(self, journal: InstallJournal) -> InstallJournal | None:
        if journal.attempts >= MAX_ATTEMPTS:
            return self._fail(journal, f"interrupted in {journal.attempts} trials")
        journal = self._enter(replace(journal, attempts=journal.attempts + 1))
        board, request = self._board, journal.request
        end = board.monotonic() + request.trial_s
        try:
            board.restart()
            while reason := board.unhealthy():
                if board.monotonic() >= end:
                    return self._fail(journal, f"trial of {request.trial_s:g} s: {reason}")
                board.sleep(POLL_S)
        except InstallError as error:
            return self._fail(journal, str(error))
        self._end(request, board.result(), "installed", "", (request.bundle, journal.version))
        return None

    def _restore(self, journal: InstallJournal) -> InstallJournal:
        for attempt in range(RESTORE_ATTEMPTS):
            try:
                self._board.install(saved=True)
                break
            except InstallError:
                if attempt + 1 == RESTORE_ATTEMPTS:
                    raise
                self._board.sleep(PAUSE_S)
        return self._enter(replace(journal, stage=InstallStage.RESTORED))

    def _fail(self, journal: InstallJournal, reason: str) -> InstallJournal:
        return self._enter(replace(journal, stage=InstallStage.RESTORING, attempts=0, reason=reason))

    def _enter(self, journal: InstallJournal) -> InstallJournal:
        self._board.write_journal(journal)
        return journal

    def _end(
        self,
        request: InstallRequest,
        last: InstallResult,
        outcome: str,
        reason: str,
        in_place: tuple[str, str],
    ) -> None:
        self._board.write_result(InstallResult(request.id, request.bundle, outcome, reason, *in_place))
        self._board.write_journal(None)
        asked = self._board.request()
        if asked is None or asked.id == request.id:  # another one came meanwhile: it is next
            self._board.drop_request()
