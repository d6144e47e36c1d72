"""Wheels of this tree, built once for the tests of this folder and kept until their sources change."""

import fcntl
import hashlib
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (
    "CMakeLists.txt",
    "LICENSE",
    "README.md",
    "constraints.txt",
    "deploy",
    "edge_agent",
    "firmware_profiles",
)
SOURCES += ("pyproject.toml", "systemd", "tools")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the repository; it succeeds."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {(done.stdout + done.stderr)[-4000:]}"
    return done


def files() -> Iterator[Path]:
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix not in (".pyc", ".so"):
                yield file


@contextmanager
def unless_kept(name: str, kept: Iterable[Path]) -> Iterator[bool]:
    """Whether ``kept`` is missing or was made of other sources than these; others wait until it is made."""
    total = hashlib.sha256()
    for file in files():
        total.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    stamp = ROOT / "build" / f"{name}.sha256"
    stamp.parent.mkdir(exist_ok=True)
    with stamp.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = stamp.exists() and stamp.read_text() == total.hexdigest() and all(p.exists() for p in kept)
        yield not fresh
        stamp.write_text(total.hexdigest())


@pytest.fixture(scope="session")
def wheels() -> dict[str, Path]:
    """The wheels for this machine, by the name of their package."""

    def found() -> dict[str, Path]:
        dist = ROOT / "dist"
        patterns = ("edge_agent-*_x86_64.whl", "edge_convert-*.whl", "edge_hub-*.whl")
        return {pattern.split("-")[0]: path for pattern in patterns for path in dist.glob(pattern)}

    with unless_kept("wheels", [ROOT / "dist"]) as needed:
        if needed or len(found()) != 3:
            run("tools/packaging/wheels/build.sh", "x86_64", "tools")
    assert len(found()) == 3
    return found()
