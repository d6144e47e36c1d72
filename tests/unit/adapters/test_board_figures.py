"""Figures of the board and of edge-agent's processes, beside what the kernel and the shell say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.adapters import board_figures


def test_the_board_s_figures_are_the_kernel_s(tmp_path: Path) -> None:
    found = board_figures.board(tmp_path / "not" / "yet")
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert found["memory_bytes"]["total"] == int(memory["MemTotal"].split()[0]) * 1024
    assert found["processors"] == os.cpu_count()
    disk = os.statvfs(tmp_path)
    assert found["disk_bytes"]["path"] == str(tmp_path)
    assert found["disk_bytes"]["total"] == disk.f_blocks * disk.f_frsize
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    assert found["booted"] == pytest.approx(int(booted.split()[1]), abs=1.0)


def test_a_process_of_edge_agent_is_found_and_no_other(tmp_path: Path) -> None:
    serving = ["metrics", "--listen", "0", "--socket", str(tmp_path / "secret")]
    ours = subprocess.Popen([sys.executable, "-m", "edge_agent", *serving], stdout=subprocess.PIPE)
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        assert ours.stdout is not None
        ours.stdout.readline()
        found = {figures["pid"]: figures for figures in board_figures.processes()}
        assert other.pid not in found
        assert os.getpid() not in found
        figures = found[ours.pid]
        pages = int(Path(f"/proc/{ours.pid}/statm").read_text().split()[1])
        status = dict(line.split(":\t") for line in Path(f"/proc/{ours.pid}/status").read_text().splitlines())
        assert figures["rss_bytes"] == pages * os.sysconf("SC_PAGE_SIZE")
        assert figures["threads"] == int(status["Threads"])
        assert figures["command"] == "metrics"
        assert "secret" not in str(figures)
    finally:
        for process in (ours, other):
            process.kill()
            process.communicate()
