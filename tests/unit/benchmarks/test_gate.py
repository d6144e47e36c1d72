"""The gate compares pairs of builds: six in a row beyond a tenth are a regression, one within ends it."""

from pathlib import Path

import pytest

from benchmarks import gate, release

RELEASE = Path("release")


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Return what this tree's probes find, in turn; the release's find 1.0 of each."""
    found: list[dict[str, float]] = []

    def probe(python: Path, _folder: Path) -> dict[str, float]:
        return {"a": 1.0, "b": 1.0} if python == RELEASE else found.pop(0)

    monkeypatch.setattr(gate, "probe", probe)
    return found


def test_one_pair_is_enough_where_all_hold(probed: list[dict[str, float]], tmp_path: Path) -> None:
    probed += [{"a": 1.05, "b": 0.5}, {"a": 9.0, "b": 9.0}]
    assert gate.compare(RELEASE, tmp_path) == {"a": [1.05], "b": [0.5]}


def test_a_slow_pair_is_measured_again_and_six_of_them_are_a_regression(
    probed: list[dict[str, float]], tmp_path: Path
) -> None:
    probed += [{"a": 1.2, "b": 1.0}, {"a": 1.09, "b": 1.3}]
    assert gate.worse(gate.compare(RELEASE, tmp_path)) == []
    probed[:] = [{"a": 1.11, "b": 1.0}] * 6
    found = gate.compare(RELEASE, tmp_path)
    assert (len(found["a"]), gate.worse(found)) == (6, ["a"])


def test_a_release_that_is_not_in_the_clone_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "ROOT", tmp_path)  # no repository at all
    monkeypatch.setattr("sys.argv", ["gate"])
    assert gate.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("benchmarks.gate: commit ")
    assert said.count("\n") == 1
    assert "git fetch --unshallow" in said
