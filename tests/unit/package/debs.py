"""Small Debian packages of edge-agent, and a root file system with a dpkg database of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROGRAM = "opt/edge-agent/program"
DPKG_OPTIONS = (
    "--force-not-root",
    "--force-script-chrootless",
    "--force-unsafe-io",
    f"--log={Path('/dev/null')}",
)


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build(
    folder: Path, version: str, name: str = "edge-agent", architecture: str = "", **scripts: str
) -> Path:
    """Build a package with two files that say its version; ``scripts`` are its maintainer scripts."""
    architecture = architecture or run("dpkg", "--print-architecture").strip()
    tree = folder / f"tree-{name}-{version}"
    for file in (
        (PROGRAM, "usr/share/doc/edge-agent/changelog") if name == "edge-agent" else (f"opt/{name}/lib",)
    ):
        (tree / file).parent.mkdir(parents=True)
        (tree / file).write_text(version)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        "Maintainer: m <m@example.invalid>\nDescription: a program\n Of two lines.\n"
    )
    for script, text in scripts.items():
        (tree / "DEBIAN" / script).write_text(f"#!/bin/sh\nset -e\n{text}\n")
        (tree / "DEBIAN" / script).chmod(0o755)
    out = folder / f"{name}_{version}_{architecture}.deb"
    run("dpkg-deb", "--root-owner-group", "--build", tree, out)
    return out


def make_root(folder: Path) -> Path:
    """Make an empty root file system in which dpkg works."""
    for part in ("info", "updates", "triggers"):
        (folder / "var/lib/dpkg" / part).mkdir(parents=True)
    (folder / "var/lib/dpkg/status").touch()
    (folder / "var/lib/edge-agent-update").mkdir(parents=True)
    (folder / "var/lib/edge-agent/update").mkdir(parents=True)
    return folder


def install(root: Path, *packages: Path) -> None:
    run("dpkg", f"--root={root}", *DPKG_OPTIONS, "--install", *packages)


def installed(root: Path, name: str = "edge-agent") -> str:
    """Return status and version of a package by dpkg."""
    found = "${db:Status-Status} ${Version}"
    return run("dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", f"--showformat={found}", name)
