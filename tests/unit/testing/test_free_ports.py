"""Ports of test servers: nobody else draws the same one, also while nothing listens there."""

import socket
import subprocess
import sys

from edge_agent.testing.free_ports import free_port

DRAW = """
from edge_agent.testing.free_ports import free_port
print(*(free_port() for _ in range(50)), flush=True)
input()
"""


def test_processes_that_run_at_the_same_time_draw_different_ports() -> None:
    def start() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", DRAW]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    others = [start() for _ in range(6)]
    drawn = [free_port() for _ in range(50)]
    try:
        for other in others:
            assert other.stdout
            drawn += map(int, other.stdout.readline().split())
    finally:
        for other in others:
            other.communicate("\n")
    assert len(set(drawn)) == len(drawn) == 350


def test_a_port_that_has_a_listener_is_not_drawn() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] not in {free_port() for _ in range(250)}
