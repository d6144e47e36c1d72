"""State files are replaced as a whole, or the old one stays; recordings rotate."""

from pathlib import Path

import pytest

from edge_agent.adapters.durable_files import StateDirectory
from edge_agent.adapters.recording_file import SegmentedFile
from edge_agent.errors import PlatformError


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    store = StateDirectory(tmp_path / "state")
    assert store.load("checkpoint") is None
    store.save("checkpoint", b"one")
    store.save("checkpoint", b"two")
    assert store.load("checkpoint") == b"two"
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["checkpoint"]
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path: Path) -> None:
    store = StateDirectory(tmp_path)
    store.save("checkpoint", b"one")
    (tmp_path / ".checkpoint.new").mkdir()  # nothing can be written there, not even by root
    with pytest.raises(PlatformError, match="checkpoint: "):
        store.save("checkpoint", b"two")
    assert store.load("checkpoint") == b"one"
    with pytest.raises(PlatformError):
        StateDirectory(tmp_path / "checkpoint" / "under").save("x", b"")


def test_a_tape_keeps_two_segments(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    recording_file = SegmentedFile(path)
    for text in (b"a", b"b", b"c"):
        recording_file.write(text)
        recording_file.rotate()
    recording_file.write(b"d")
    recording_file.close()
    assert (path.read_bytes(), path.with_name("rec.old").read_bytes()) == (b"d", b"c")
    later = SegmentedFile(path)
    later.write(b"e")
    later.close()
    assert path.read_bytes() == b"e"
    assert path.with_name("rec.old").read_bytes() == b"d"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording_file = SegmentedFile(tmp_path / "rec")
    recording_file.close()
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(recording_file, "_file", full)
        with pytest.raises(PlatformError, match="No space left"):
            recording_file.write(b"x")
