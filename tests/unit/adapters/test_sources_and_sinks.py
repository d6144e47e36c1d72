"""Readings from files and traces, actions to files and programs."""

import time
from pathlib import Path

import numpy as np
import pytest

from edge_agent.adapters.action_sinks import LIMIT, ProgramRunner, write_file
from edge_agent.adapters.input_sources import FileSource, TraceSource, plugin
from edge_agent.errors import ConfigError


def test_files_give_their_numbers_and_what_is_no_number_is_counted(tmp_path: Path) -> None:
    paths = [tmp_path / f"in{n}" for n in range(4)]
    paths[0].write_text("21500\n")
    paths[1].write_text("hot\n")
    paths[2].write_text("7" * 100)
    source = FileSource(paths, 10.0)
    source.read_files()
    first = source.read()
    source.close()
    assert first[0] == (0, 21500.0)
    assert [agent for agent, _ in first] == [0, 2]
    assert source.errors >= 2


def test_a_trace_gives_a_row_a_call_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, obs=np.array([[[1, 0], [-1, 2]], [[3, 0], [4, 2]]]))
    source = TraceSource(path, 0, 2)
    assert source.bins
    assert [source.read(), source.read(), source.read()] == [[(0, 1)], [(0, 3), (1, 4)], []]
    np.savez(path, obs=np.array([[20.5], [np.nan]]))
    readings = TraceSource(path, 0, 3)
    assert not readings.bins
    assert [readings.read(), readings.read()] == [[(0, 20.5), (1, 20.5), (2, 20.5)], []]


def test_a_trace_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, obs=np.zeros((3, 2, 1), np.int16))
    with pytest.raises(ConfigError, match=r"obs is \(3, 2, 1\), expected \[T, 5"):
        TraceSource(path, 0, 5)
    np.savez(path, x=np.zeros(3))
    with pytest.raises(ConfigError, match=r"t.npz: obs: found none, expected an array"):
        TraceSource(path, 0, 5)
    np.savez(path, obs=np.array([["warm"] * 5]))
    with pytest.raises(ConfigError, match=r"t.npz: obs: found <U4, expected an array"):
        TraceSource(path, 0, 5)
    np.save(tmp_path / "t.npy", np.zeros((3, 5)))
    (tmp_path / "t.npy").replace(path)
    with pytest.raises(ConfigError, match=r"t.npz: not a whole .npz file"):
        TraceSource(path, 0, 5)


def test_a_missing_plug_in_is_named() -> None:
    with pytest.raises(ConfigError, match=r"edge_agent\.sensors: found 'co2'"):
        plugin("edge_agent.sensors", "co2")


def test_a_file_is_written_only_where_there_is_one(tmp_path: Path) -> None:
    assert not write_file(tmp_path / "none", "1")
    (tmp_path / "duty").write_text("")
    assert write_file(tmp_path / "duty", "42")
    assert (tmp_path / "duty").read_text() == "42"


def test_only_listed_programs_run_and_not_too_many(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    commands = ProgramRunner(["/bin/sh", "/bin/none"])
    assert not commands.run(["/bin/true"])
    assert not commands.run(["/bin/none"])
    assert commands.failed == 2
    assert commands.run(["/bin/sh", "-c", f"echo done > {mark}"])
    commands.close()
    assert mark.exists()


def test_programs_that_hang_do_not_pile_up_and_are_ended() -> None:
    now = [0.0]
    commands = ProgramRunner(["/bin/sleep"], lambda: now[0])
    started = [commands.run(["/bin/sleep", "60"]) for _ in range(LIMIT + 3)]
    assert started == [True] * LIMIT + [False] * 3
    now[0] = 11.0
    deadline = time.monotonic() + 60
    for _ in range(2):  # one that ended makes room for one
        while not commands.run(["/bin/sleep", "0"]):
            assert time.monotonic() < deadline
    commands.close()
