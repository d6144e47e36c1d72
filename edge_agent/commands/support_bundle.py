"""``edge-agent support-bundle``: writes an archive for a maintainer that contains no secrets.

Secrets are in files that the configuration names (passwords, keys); none of these files is opened. User names
in the configuration are removed. The archive contains plain text files: check them before you send it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_agent.adapters.control import ask
from edge_agent.commands.doctor import examine
from edge_agent.commands.output import add_output_options, print_json
from edge_agent.commands.status import add_socket_option
from edge_agent.errors import EdgeAgentError, PlatformError

LIBRARIES = ("edge-agent", "numpy", "paho-mqtt", "msgpack", "pydantic", "PyNaCl", "psutil")
SYSTEM_FILES = ("/proc/pressure/memory", "/proc/cpuinfo", "/etc/os-release")
LOG_LINES = 2000
LEAST_PART = 1000
"""Characters of a part that is never left out."""
_SECRET_KEY = re.compile(r"^(\s*(?:username|password\w*|secret\w*|token)\s*=).*$", re.MULTILINE)


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "support-bundle", help="write an archive for a maintainer, without secrets"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the device.toml")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("edge-agent-support.tar.gz"),
        metavar="FILE",
        help="the archive",
    )
    parser.add_argument(
        "--profile",
        type=int,
        default=0,
        metavar="SECONDS",
        help="also record a flame graph of the running daemon for so long, with py-spy if it is installed",
    )
    parser.add_argument(
        "--max-kb",
        type=int,
        default=0,
        metavar="KB",
        help="leave out the largest parts until the archive is not larger; default: no limit",
    )
    add_socket_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the archive; information that is unavailable is a line in it, not an error."""
    contents = {
        "versions.json": _part(_versions),
        "status.json": _part(lambda: json.dumps(ask(arguments.socket, {"ask": "status"}), indent=1)),
        "doctor.json": _part(
            lambda: json.dumps([[f.what, f.good, f.found] for f in examine(arguments.config)], indent=1)
        ),
        "board.json": _part(lambda: _board(arguments.config)),
        "memory.json": _part(lambda: _memory(arguments.config)),
        "log.txt": _part(_log),
        "log-of-the-daemon.txt": _part(lambda: redacted("\n".join(_daemon_log(arguments.socket)))),
        "system.txt": _part(_system),
    }
    if arguments.config is not None:
        contents["device.toml"] = _part(lambda: redacted(arguments.config.read_text(encoding="utf-8")))
    if arguments.profile:
        contents["profile.svg"] = _part(lambda: _flame_graph(arguments.profile))
    archive = _archive(contents)
    while 0 < arguments.max_kb * 1000 < len(archive):
        largest = max(contents, key=lambda name: len(contents[name]))
        if len(contents[largest]) <= LEAST_PART:
            break
        contents[largest] = f"left out: {len(contents[largest])} characters\n"
        archive = _archive(contents)
    try:
        arguments.output.write_bytes(archive)
    except OSError as error:
        raise PlatformError(f"{arguments.output}: {error.strerror}") from error
    if arguments.json:
        print_json({"output": str(arguments.output), "files": list(contents)})
    else:
        print(f"{arguments.output}: {', '.join(contents)}")
    return 0


def _archive(contents: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in contents.items():
            data = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(f"edge-agent-support/{name}")
            info.size, info.mtime = len(data), int(time.time())
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def redacted(text: str) -> str:
    """Return configuration text without user names, passwords and tokens."""
    return _SECRET_KEY.sub(r'\1 "(left out)"', text)


def _part(make: Callable[[], str]) -> str:
    try:
        return make()
    except (EdgeAgentError, OSError, subprocess.SubprocessError) as error:
        return f"not to be had: {error}\n"


def _versions() -> str:
    found = {"python": platform.python_version(), "machine": platform.machine(), "kernel": platform.release()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return json.dumps(found, indent=1)


def _board(config: Path | None) -> str:
    """Return figures of the board, of the configuration's disk, and of edge-agent's processes."""
    from edge_agent.adapters import board_figures

    figures = board_figures.board(Path("/") if config is None else config.absolute())
    return json.dumps(figures | {"processes": list(board_figures.processes())}, indent=1)


def _memory(config: Path | None) -> str:
    """Return the plan of memory, beside what processes of edge-agent have resident now."""
    from edge_agent.adapters import board_figures

    if config is None:
        return "not to be had: no --config\n"
    words = [sys.executable, "-m", "edge_agent", "check", "--config", str(config), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    plan = json.loads(done.stdout) if done.stdout else done.stderr
    return json.dumps({"plan": plan, "resident": list(board_figures.processes())}, indent=1)


def _daemon_log(path: Path) -> list[str]:
    lines: list[str] = ask(path, {"ask": "log"})["lines"]
    return lines


def _flame_graph(seconds: int) -> str:
    """Return a flame graph of the daemon as SVG, or one line that says why there is none."""
    from edge_agent.adapters import board_figures

    program = shutil.which(
        "py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        return (
            "no flame graph: py-spy is not installed (pip install py-spy, in the environment of edge-agent)\n"
        )
    daemons = [row["pid"] for row in board_figures.processes() if row["command"] == "run"]
    if not daemons:
        return "no flame graph: no daemon runs\n"
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
        path = Path(folder) / "profile.svg"
        words = [
            program,
            "record",
            "--pid",
            str(daemons[0]),
            "--duration",
            str(seconds),
            "--output",
            str(path),
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False)
        if path.is_file():
            return path.read_text(encoding="utf-8")
        return f"no flame graph: {(done.stderr or done.stdout).strip()[:500]}\n"


def _log() -> str:
    command = [
        "journalctl",
        "--unit",
        "edge-agent",
        "--lines",
        str(LOG_LINES),
        "--no-pager",
        "--output",
        "short-iso",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return redacted(done.stdout or done.stderr)


def _system() -> str:
    return "".join(f"== {name}\n{_part(Path(name).read_text)}\n" for name in SYSTEM_FILES)
