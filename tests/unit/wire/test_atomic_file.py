"""A file that is replaced is the old one or the new one, whoever else replaces it and whatever fails."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from edge_agent.atomic_file import replaced


def test_until_the_end_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replaced(path, 0o640) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(data: list[bytes]) -> None:
        with replaced(path) as file:
            for part in data:
                file.write(part)

    with pytest.raises(TypeError):
        write([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / ".file.new").write_bytes(b"half of something longer")
    with replaced(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_several_that_replace_it_at_once_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    wrong: list[bytes] = []

    def write(letter: bytes) -> None:
        for _ in range(50):
            with replaced(path) as file:
                file.write(letter * 1000)
                file.flush()
                file.write(letter * 1000)
            found = path.read_bytes()
            if len(found) != 2000 or len(set(found)) != 1:
                wrong.append(found)

    threads = [Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
