"""The last release, built beside this tree: what a comparison on the same machine measures.

The release's tree is unpacked in ``build`` and installed into an environment that finds all other packages
where this one does, but not this tree. Its benchmarks and tests stay in the folder; its packages do not, so
that a benchmark which runs there imports what was built.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.cases import Build
from edge_agent.errors import PlatformError

ROOT = Path(__file__).parents[1]
CONVERTER = Path("tools") / "edge_convert" / "pyproject.toml"
"""Missing in releases before 0.2: their converter is part of edge-agent's package."""


def git(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in this tree."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)


def release_build(commit: str) -> Build:
    """Return the build of the release; it is made if it isn't there.

    Raises
    ------
    PlatformError
        This clone lacks the commit and can't fetch it, or it can't be built.
    """
    place = ROOT / "build" / f"release-{commit}"
    python, tree, done = place / "bin" / "python", place / "tree", place / "done"
    if done.exists():
        return Build(python, tree)
    if git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        git("fetch", "--unshallow")
    archive = git("archive", commit)
    if archive.returncode:
        raise PlatformError(
            f"commit {commit} of the last release is not in this clone; get it: git fetch --unshallow"
        )
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place)
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
    packages = [tree, *([(tree / CONVERTER).parent] if (tree / CONVERTER).exists() else [])]
    (site,) = place.glob("lib/python3*/site-packages")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    built = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", site, *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise PlatformError(f"commit {commit} of the last release can't be built: {built.stderr[-500:]}")
    for source in (tree / "edge_agent", tree / "build"):
        shutil.rmtree(source)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done.touch()
    return Build(python, tree)
