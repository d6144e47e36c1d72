"""The installer of packages: whatever is interrupted, the board ends with the old package or the new one."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.package_installer.installer import (
    Installer,
    InstallError,
    InstallJournal,
    InstallRequest,
    InstallResult,
)

REQUEST = InstallRequest("r1", "b" * 64, 60.0)


class PowerCutError(Exception):
    """The board lost its power in the middle of a step."""


@dataclass
class BoardOnPaper:
    """What survives a power cut: the disk, which is the fields, and dpkg's package on it."""

    cuts: list[int] = field(default_factory=list)
    """At which step from the last boot on the power fails; one per boot."""
    new_is_healthy: bool = True
    new_installs: bool = True
    refused: str = ""
    package: str = "old"
    """``old``, ``new``, or ``half`` while dpkg unpacks."""
    started: str = "old"
    saved: str = ""
    kept: InstallJournal | None = None
    last: InstallResult = field(default_factory=InstallResult)
    asked: InstallRequest | None = REQUEST
    clock: float = 0.0
    steps: int = 0
    results: list[InstallResult] = field(default_factory=list)

    def _step(self) -> None:
        """Lose the power here, if this is where it fails."""
        if self.cuts and self.steps == self.cuts[0]:
            raise PowerCutError
        self.steps += 1

    def journal(self) -> InstallJournal | None:
        return self.kept

    def write_journal(self, journal: InstallJournal | None) -> None:
        self._step()
        self.kept = journal
        self._step()

    def result(self) -> InstallResult:
        return self.last

    def write_result(self, result: InstallResult) -> None:
        self._step()
        self.last = result
        self.results.append(result)
        self._step()

    def request(self) -> InstallRequest | None:
        return self.asked

    def drop_request(self) -> None:
        self._step()
        self.asked = None
        self._step()

    def stage(self, request: InstallRequest) -> str:
        self._step()
        if self.refused:
            raise InstallError(self.refused)
        return "2.0+deb12"

    def save_installed(self) -> None:
        self.saved = ""
        self._step()
        assert self.package == "old", "what is saved must be whole"
        self.saved = self.package
        self._step()

    def install(self, saved: bool) -> None:
        wanted = self.saved if saved else "new"
        assert wanted, "nothing was saved"
        self._step()
        self.package = "half"
        self._step()
        if wanted == "new" and not self.new_installs:
            raise InstallError("dpkg: error processing package edge-agent")
        self.package = wanted
        self._step()

    def restart(self) -> None:
        self._step()
        assert self.package != "half", "the daemon was started from half a package"
        self.started = self.package
        if self.started == "new" and not self.new_is_healthy and self.clock > 10_000:
            raise InstallError("Job for edge-agent.service failed")
        self._step()

    def unhealthy(self) -> str:
        self._step()
        return "" if self.started == "old" or self.new_is_healthy else "no agent has stepped"

    def monotonic(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds


def boot(board: BoardOnPaper) -> None:
    """Do what systemd does after the power is back: repair, start the daemon, run the installer."""
    board.cuts.pop(0)
    board.steps = 0
    installer = Installer(board)
    installer.repair()
    assert board.package != "half", "the daemon is started from half a package"
    board.started = board.package
    installer.run()


def run_to_the_end(board: BoardOnPaper) -> None:
    try:
        Installer(board).run()
    except PowerCutError:
        for _ in range(20):
            try:
                boot(board)
            except PowerCutError:
                continue
            break
    assert not board.cuts


def check_ended(board: BoardOnPaper) -> None:
    assert board.kept is None
    assert board.asked is None
    assert board.started == board.package
    assert {"installed": "new", "restored": "old", "refused": "old"}[board.last.outcome] == board.package
    assert board.last.request == REQUEST.id
    assert (board.last.digest == REQUEST.bundle) == (board.package == "new")


def steps_of(**how: bool) -> int:
    board = BoardOnPaper(**how)  # type: ignore[arg-type]
    run_to_the_end(board)
    return board.steps


def test_a_healthy_package_is_installed() -> None:
    board = BoardOnPaper()
    assert Installer(board).run() == InstallResult(
        "r1", REQUEST.bundle, "installed", "", REQUEST.bundle, "2.0+deb12"
    )
    check_ended(board)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"new_is_healthy": False}, "trial of 60 s: no agent has stepped"),
        ({"new_installs": False}, "dpkg: error processing package edge-agent"),
    ],
)
def test_a_bad_package_gives_way_to_the_saved_one(how: dict[str, bool], reason: str) -> None:
    board = BoardOnPaper(**how)  # type: ignore[arg-type]
    result = Installer(board).run()
    assert (result.outcome, result.reason) == ("restored", reason)
    check_ended(board)


def test_what_is_refused_changes_nothing() -> None:
    board = BoardOnPaper(refused="desired: populations.edge-agent: bundle has no release")
    result = Installer(board).run()
    assert (result.outcome, result.reason, board.saved) == ("refused", board.refused, "")
    check_ended(board)


def test_a_request_that_was_answered_is_not_done_again() -> None:
    board = BoardOnPaper()
    Installer(board).run()
    board.asked = REQUEST  # the daemon asked once more before it had read the answer
    Installer(board).run()
    assert len(board.results) == 1
    assert board.asked is None


def test_a_package_that_is_installed_is_not_installed_again() -> None:
    board = BoardOnPaper()
    Installer(board).run()
    board.asked = InstallRequest("r2", REQUEST.bundle, 60.0)
    before = board.saved
    assert Installer(board).run().request == "r2"
    assert (board.last.outcome, board.saved) == ("installed", before)


def test_the_next_request_is_not_lost_while_one_is_under_way() -> None:
    board = BoardOnPaper()
    unhealthy = board.unhealthy
    following = InstallRequest("r2", "c" * 64, 60.0)

    def ask_meanwhile() -> str:
        board.asked = following
        return unhealthy()

    board.unhealthy = ask_meanwhile  # type: ignore[method-assign]
    Installer(board).run()
    assert board.asked == following


@pytest.mark.parametrize("how", [{}, {"new_is_healthy": False}, {"new_installs": False}])
def test_a_power_cut_at_any_step_ends_in_the_old_package_or_the_new_one(how: dict[str, bool]) -> None:
    for step in range(steps_of(**how)):
        board = BoardOnPaper([step], **how)  # type: ignore[arg-type]
        run_to_the_end(board)
        check_ended(board)
        if how:
            assert board.package == "old"


@given(st.lists(st.integers(0, 30), min_size=2, max_size=5), st.booleans(), st.booleans())
def test_power_cuts_at_any_steps_end_in_the_old_package_or_the_new_one(
    cuts: list[int], healthy: bool, installs: bool
) -> None:
    board = BoardOnPaper(cuts, healthy, installs)
    try:
        run_to_the_end(board)
    except AssertionError:
        if board.cuts:  # it had ended before the last cut came
            board.cuts.clear()
        else:
            raise
    check_ended(board)


def test_a_package_that_takes_the_board_down_is_given_up() -> None:
    """Each trial ends in a power cut: after two the saved package is back."""
    board = BoardOnPaper(new_is_healthy=True)
    trial = 0

    def cut() -> str:
        nonlocal trial
        trial += 1
        raise PowerCutError

    board.unhealthy = cut  # type: ignore[method-assign]
    for _ in range(3):
        try:
            Installer(board).repair()
            Installer(board).run()
        except PowerCutError:
            continue
    assert (board.last.outcome, board.last.reason, trial) == ("restored", "interrupted in 2 trials", 2)
    check_ended(board)


def test_a_saved_package_that_cannot_be_installed_is_tried_again_at_the_next_start() -> None:
    board = BoardOnPaper(new_installs=False)
    install, broken = board.install, True

    def refuse(saved: bool) -> None:
        if saved and broken:
            raise InstallError("dpkg: unable to access the dpkg database")
        install(saved)

    board.install = refuse  # type: ignore[method-assign]
    with pytest.raises(InstallError, match="dpkg database"):
        Installer(board).run()
    assert board.kept is not None
    broken = False
    Installer(board).run()
    check_ended(board)
