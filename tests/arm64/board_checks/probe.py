"""Runs inside the sandbox: tries forbidden and allowed accesses and prints the results as JSON."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
CLONE_NEWUSER = 0x10000000
SHUT = {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ESRCH, errno.EAFNOSUPPORT, errno.ENODEV}


def call(answer: int) -> None:
    """Turn a C library's -1 into the exception Python would raise."""
    if answer == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def executable_memory() -> None:
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(
        None, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
    )
    call(-1 if address == ctypes.c_void_p(-1).value else 0)


def loosen(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o4755)


def capabilities() -> None:
    status = Path("/proc/self/status").read_text()
    if "CapEff:\t0000000000000000" in status and "CapBnd:\t0000000000000000" in status:
        raise OSError(errno.EPERM, "no capabilities")


def new_privileges() -> None:
    if "NoNewPrivs:\t1" in Path("/proc/self/status").read_text():
        raise OSError(errno.EPERM, "no new privileges")


STATE = Path("/var/lib/edge-agent-probe")
DENIED: dict[str, Callable[[], object]] = {
    "write /etc": lambda: Path("/etc/edge-agent/device.toml").write_text(""),
    "write /usr": lambda: Path("/usr/lib/intruder").write_text(""),
    "write /opt": lambda: Path("/opt/edge-agent/bin/intruder").write_text(""),
    "read /root": lambda: list(Path("/root").iterdir()),
    "read credentials of others": lambda: list(Path("/etc/edge-agent/credentials").iterdir()),
    "read /etc/shadow": lambda: Path("/etc/shadow").read_bytes(),
    "raw disk": lambda: os.open("/dev/vda", os.O_RDONLY),
    "kernel memory": lambda: os.open("/dev/mem", os.O_RDONLY),
    "kernel log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    "kernel tunable": lambda: Path("/proc/sys/kernel/panic").write_text("1"),
    "cgroup": lambda: Path("/sys/fs/cgroup/system.slice/memory.max").write_text("max"),
    "see PID 1": lambda: Path("/proc/1/environ").read_bytes(),
    "signal PID 1": lambda: os.kill(1, signal.SIGTERM),
    "become root": lambda: os.setuid(0),
    "capabilities": capabilities,
    "new privileges": new_privileges,
    "setuid file": lambda: loosen(STATE / "intruder"),
    "packet socket": lambda: socket.socket(17, socket.SOCK_RAW),  # AF_PACKET
    "netlink socket": lambda: socket.socket(16, socket.SOCK_RAW),  # AF_NETLINK
    "user namespace": lambda: call(libc.unshare(CLONE_NEWUSER)),
    "mount": lambda: call(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "set the clock": lambda: call(libc.clock_settime(0, ctypes.create_string_buffer(16))),
    "reboot": lambda: call(libc.reboot(0)),
    "write and run memory": executable_memory,
    "real-time priority": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
}


def network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


def credential() -> None:
    from edge_agent.errors import ConfigError
    from edge_agent.wire.signatures import check_private

    path = Path("/run/credentials/edge-agent-probe.service/secret_broker")
    try:
        check_private(path)  # as the daemon does before it reads a password
    except ConfigError as error:
        raise OSError(errno.EINVAL, str(error)) from error
    if path.read_text() != "swordfish\n":
        raise OSError(errno.EINVAL, "another secret")


def litert() -> None:
    # Its golden vectors run when it is loaded: the runtime works without memory that is written and run.
    from edge_agent.neural.network import NeuralModel

    NeuralModel.load(Path("/etc/edge-agent/bundles/litert.eab"))


def control_socket() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("/run/edge-agent-probe/control.sock")


ALLOWED: dict[str, Callable[[], object]] = {
    "write state": lambda: (STATE / "beliefs").write_bytes(b"x" * 4096),
    "control socket": control_socket,
    "network": network,
    "credential": credential,
    "read configuration": lambda: Path("/etc/edge-agent/device.toml").read_bytes(),
    "pressure": lambda: Path("/proc/pressure/memory").read_text(),
    "load": lambda: Path("/proc/loadavg").read_text(),
    "thermal": lambda: list(Path("/sys/class/thermal").iterdir()),
    "own cgroup": lambda: Path("/proc/self/cgroup").read_text(),
    "LiteRT": litert,
    "temporary file": lambda: Path("/tmp/x").write_bytes(b""),
}


def attempt(door: Callable[[], object]) -> str:
    """Return "works", "denied: ..." or what else happened."""
    try:
        door()
    except OSError as error:
        kind = "denied" if error.errno in SHUT else "failed"
        return f"{kind}: {error.strerror}"
    return "works"


if __name__ == "__main__":
    answers = {
        "denied": {name: attempt(door) for name, door in DENIED.items()},
        "allowed": {name: attempt(door) for name, door in ALLOWED.items()},
    }
    print(json.dumps(answers))
