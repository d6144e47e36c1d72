"""The code blocks of README.md and docs/, and a clone to run them in.

A page is run as a reader would type it: its shell blocks and Python blocks in order, in one shell, in a
folder of the page's own beside the quick start's, with the project's environment active and a Mosquitto on
localhost:1883. Where the kernel allows it the shell has a network of its own, so that the ports on the pages
are free. A reader waits until something has started before typing on; so does the script, for a daemon to be
at the broker and for a subscription to be there, and nothing else is put between the blocks.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.testing import mosquitto

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BOARD, CLONE, PYMDP, TORCH = "on the board", "in the clone", "needs pymdp", "needs PyTorch"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
BROKER = """\
listener 1883 127.0.0.1
allow_anonymous true
log_dest file {folder}/broker.log
log_type all
user root
"""
PRELUDE = """\
set -euo pipefail
[ "$$" != 1 ] || ip link set lo up
PATH="$PATH:/usr/sbin:/sbin"
export HOME={folder}
unset XDG_STATE_HOME
mosquitto -c {folder}/broker.conf &
disown
until grep -q running {folder}/broker.log 2>/dev/null; do sleep 0.05; done
online() {{ # SOCKET: the daemon there is at its broker
    for _ in $(seq 200); do
        edge-agent status --socket "$1" --json 2>/dev/null | grep -q '"state": "online"' && return
        sleep 0.05
    done
    echo "no daemon at the broker: $1" >&2
    return 1
}}
subscribed() {{ # FILTER: somebody listens to it
    for _ in $(seq 200); do
        grep -qF -- "$1" {folder}/broker.log && return
        sleep 0.05
    done
    echo "nobody subscribed to $1" >&2
    return 1
}}
cd {folder}/clone/{start}
"""


class Block(NamedTuple):
    """A code block: where it stands, in which language, under which title."""

    page: str
    line: int
    language: str
    title: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines that are neither empty nor a comment."""
        lines = (line.partition("  #")[0].rstrip() for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def pages() -> list[Path]:
    """Return every page that a reader is given, the quick start first."""
    first = DOCS / "quick-start.md"
    return [first, ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if p != first)]


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text, name = page.read_text("utf-8"), str(page.relative_to(ROOT))
    return [
        Block(name, text[: m.start()].count("\n") + 1, m[1], m[2] or "", m[3]) for m in _BLOCK.finditer(text)
    ]


def here(page: Path) -> list[Block]:
    """Return the blocks that run on this machine as they stand."""
    return [b for b in blocks(page) if b.language in ("sh", "python") and not b.title]


def make_clone(folder: Path) -> Path:
    """Make a folder that looks like a clone after ``make setup``; nothing in it can be written to by name."""
    clone = folder / "clone"
    clone.mkdir()
    for path in [*ROOT.iterdir()]:
        if path.name not in ("out", "build", "dist", ".git"):
            (clone / path.name).symlink_to(path)
    if not (ROOT / ".venv").exists():
        (clone / ".venv").symlink_to(Path(sys.prefix))
    return clone


def in_navigation() -> list[Path]:
    """Return the pages of the site in the order of its navigation."""
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    return [DOCS / name for name in re.findall(r"(\S+\.md)$", navigation, re.MULTILINE)]


def script(page: Path, folder: Path, start: str) -> str:
    """Return the shell script that runs a page."""
    return PRELUDE.format(folder=folder, start=start) + _typed(page)


def script_of_all(order: Sequence[Path], folder: Path, first: str, start: str) -> str:
    """Return the script that runs pages one after the other, each in a terminal of its own.

    They share folder, broker and home; the first begins in ``first`` below the clone, the others in
    ``start``. What a page has started goes on, as nobody says that it should not.
    """
    text = PRELUDE.format(folder=folder, start=first)
    for number, page in enumerate(order):
        place = f"cd {folder}/clone/{start}\n" if number else ""
        text += f"(\n{place}{_typed(page)})\n"
    return text


def _typed(page: Path) -> str:
    lines: list[str] = []
    for block in here(page):
        lines.append(f"echo {shlex.quote(f'=== {block.page}:{block.line}')} >&2")
        if block.language == "python":
            lines.append(f"python - <<'END OF BLOCK'\n{block.text}END OF BLOCK")
        else:
            lines.append(block.text.rstrip())
            lines += _pauses(block)
    return "\n".join([*lines, ""])


def _pauses(block: Block) -> Iterator[str]:
    """Yield what a reader waits for after a block that left something running."""
    for line in block.commands:
        if not line.endswith("&"):
            continue
        words = shlex.split(line.removesuffix("&"))
        if words[:2] == ["edge-agent", "run"]:
            config = words[words.index("--config") + 1]
            yield f'online "$(dirname {config})/$(sed -nE \'s/^socket = "(.*)"/\\1/p\' {config})"'
        elif words[:2] == ["edge-agent", "record"]:
            yield "subscribed 'Sending SUBACK to record-'"
        elif words[0] == "mosquitto_sub":
            yield f"subscribed {shlex.quote(words[words.index('-t') + 1])}"


def isolated() -> list[str]:
    """Return the command that gives a shell a network and processes of its own, nothing where it may not."""
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
    if os.geteuid() != 0:
        command.insert(1, "--map-root-user")
    probe = shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if probe and probe.returncode == 0 else []


def run(page: Path, folder: Path, start: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a page in ``folder``, beginning in ``start`` below the clone; what it left running is ended."""
    return run_script(script(page, folder, start), folder, seconds)


def run_script(text: str, folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a script of `script` or `script_of_all`; what it left running is ended."""
    mosquitto.executable()
    (folder / "broker.conf").write_text(BROKER.format(folder=folder))
    path = folder / "page.sh"
    path.write_text(text)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (folder / "output").open("w+") as output:
        shell = subprocess.Popen(
            [*isolated(), "bash", path],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
        try:
            status = shell.wait(seconds)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        output.seek(0)
        return subprocess.CompletedProcess(["bash", str(path)], status, output.read())
