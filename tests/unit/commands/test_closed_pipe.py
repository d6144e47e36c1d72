"""A command whose output is closed ends without an error message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent import closed_pipe
from tests.support import fan

LINES = "from edge_agent.closed_pipe import run; import sys; sys.exit(run(lambda: print('x' * {}) or {}))"


def unread(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    reader, writer = os.pipe()
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    os.close(reader)
    try:
        command = [sys.executable, *words]
        return subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=folder, env=buffered
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "edge_agent", "--help"],
        ["-m", "edge_hub.cli", "--help"],
        ["-m", "edge_hub.cli", "keys", "show", "--fleet", "f", "--state", "hub"],
        ["-m", "edge_hub.cli", "ingest", "empty.db", "--for", "0", "--rejected"],
        ["-m", "edge_convert.cli", "--help"],
        ["-m", "edge_convert.cli", "inspect", "b.eab"],
    ],
    ids=lambda words: " ".join(words[1:]),
)
def test_commands_end_without_a_traceback(tmp_path: Path, words: list[str]) -> None:
    fan.write(tmp_path / "b.eab", fan.model())
    (tmp_path / "empty.db").touch()
    done = unread(words, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("length", "status"), [(10, 0), (10, 3), (1_000_000, 0)])
def test_the_status_stays_if_the_command_came_to_its_end(tmp_path: Path, length: int, status: int) -> None:
    done = unread(["-c", LINES.format(length, status)], tmp_path)
    assert (done.returncode, done.stderr) == (status, "")


def test_another_pipe_that_breaks_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        closed_pipe.run(fail)
