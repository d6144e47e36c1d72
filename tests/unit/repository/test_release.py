"""``make release``: what it refuses, and what is in the folder of a release, as git and sha256sum see it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_agent.version import __version__

RELEASE = Path(__file__).parents[3] / "tools" / "dev" / "release.py"
HUB = "tools/edge_hub/pyproject.toml"
CHANGELOG = """# Changelog

## Unreleased

- Not yet.

## 0.2.0 - 2026-12-24

- Something new.
- Something mended.

## 0.1.0 - 2026-11-22

- The first.
"""
MAKE = """#!/bin/sh
[ "$*" = "deb image hub-image sbom" ] || exit 2
mkdir -p dist
echo image >dist/edge-agent_arm64.tar
echo parts >dist/edge_agent-0.2.0.cdx.json
echo wheel >dist/edge_agent-0.2.0-cp311-abi3-manylinux_2_17_aarch64.whl
echo package >dist/edge-agent_0.2.0+deb13_arm64.deb
"""


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    command = ["git", *identity, "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "tools" / "edge_hub").mkdir(parents=True)
    project = '[project]\nname = "x"\nversion = "0.2.0"\n'
    (root / "pyproject.toml").write_text(project)
    (root / "tools/edge_hub/pyproject.toml").write_text(f'{project}dependencies = ["edge-agent==0.2.0"]\n')
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    (root / ".gitignore").write_text("dist/\n")
    git(tmp_path, "init", "--quiet", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "All")
    return root


def release(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a ``make`` that builds two small files."""
    programs = root.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "make").write_text(MAKE)
    (programs / "make").chmod(0o755)
    identity = {f"GIT_COMMITTER_{what}": "a@b.invalid" for what in ("NAME", "EMAIL")}
    environment = os.environ | identity | {"PATH": f"{programs}:{os.environ['PATH']}"}
    command = [sys.executable, RELEASE, "--root", root, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_dry_run_shows_the_notes_and_leaves_no_trace(repository: Path) -> None:
    done = release(repository, "0.2.0", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "- Something new.\n- Something mended.\n" in done.stdout
    assert "Not yet" not in done.stdout
    assert "The first" not in done.stdout
    assert git(repository, "tag") == ""
    assert not (repository / "dist").exists()


def test_a_release_has_checksums_notes_and_a_tag(repository: Path) -> None:
    (repository / "dist").mkdir()
    (repository / "dist" / "edge_agent-0.1.0-cp311-abi3-manylinux_2_17_aarch64.whl").write_text("stale")
    done = release(repository, "0.2.0")
    assert done.returncode == 0, done.stderr
    folder = repository / "dist" / "release-0.2.0"
    names = {path.name for path in folder.iterdir()}
    wheel, package = (
        "edge_agent-0.2.0-cp311-abi3-manylinux_2_17_aarch64.whl",
        "edge-agent_0.2.0+deb13_arm64.deb",
    )
    others = {"edge-agent_arm64.tar", "edge_agent-0.2.0.cdx.json"}
    assert names == {wheel, package, *others, "SHA256SUMS", "NOTES.md"}
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == 4
    assert (folder / "NOTES.md").read_text() == "- Something new.\n- Something mended.\n"
    assert git(repository, "rev-parse", "v0.2.0^{commit}") == git(repository, "rev-parse", "HEAD")
    assert git(repository, "cat-file", "-t", "v0.2.0") == "tag\n"


def test_a_key_signs_the_checksums_as_openssh_verifies_them(repository: Path, tmp_path: Path) -> None:
    key, signers = tmp_path / "key", tmp_path / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signers.write_text(f"releases {(tmp_path / 'key.pub').read_text()}")
    done = release(repository, "0.2.0", "--key", str(key))
    assert done.returncode == 0, done.stderr
    sums = repository / "dist" / "release-0.2.0" / "SHA256SUMS"
    verify = ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "releases", "-n", "file"]
    verify += ["-s", sums.with_name("SHA256SUMS.sig")]
    assert subprocess.run(verify, input=sums.read_bytes(), capture_output=True, check=False).returncode == 0
    assert subprocess.run(verify, input=b"other", capture_output=True, check=False).returncode == 255


def test_a_key_that_is_missing_is_named_before_anything_is_built(repository: Path, tmp_path: Path) -> None:
    done = release(repository, "0.2.0", "--key", str(tmp_path / "key"))
    assert done.stderr == f"{tmp_path / 'key'}: found no file, expected a secret key made by ssh-keygen\n"
    assert not (repository / "dist").exists()


@pytest.mark.parametrize(
    ("version", "spoil", "expected"),
    [
        ("0.2", None, "VERSION: found '0.2', expected a form like 0.2.0"),
        ("0.2.0", "untracked", "working tree: found 1 changed or untracked files, expected none"),
        ("0.2.0", "tag", "tag v0.2.0: exists already"),
        ("0.3.0", None, f"{HUB}: version: found '0.2.0', expected '0.3.0'"),
        ("0.3.0", None, f"{HUB}: dependencies: found 'edge-agent==0.2.0', expected 'edge-agent==0.3.0'"),
        ("0.3.0", None, "CHANGELOG.md: found no text under '## 0.3.0 - YYYY-MM-DD'"),
        ("0.2.0", "undated", "CHANGELOG.md: found no text under '## 0.2.0 - YYYY-MM-DD'"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--dry-run",)])
def test_what_is_not_ready_is_refused_with_a_line_each(
    repository: Path, version: str, spoil: str | None, expected: str, form: tuple[str, ...]
) -> None:
    if spoil == "untracked":
        (repository / "forgotten").touch()
    elif spoil == "tag":
        git(repository, "tag", "v0.2.0")
    elif spoil == "undated":
        (repository / "CHANGELOG.md").write_text(CHANGELOG.replace(" - 2026-12-24", ""))
        git(repository, "commit", "--quiet", "--all", "--message", "Undated")
    tags = git(repository, "tag")
    done = release(repository, version, *form)
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr.splitlines()
    assert git(repository, "tag") == tags
    assert not (repository / "dist").exists()


def test_the_versions_of_this_tree_agree() -> None:
    """Of the three distributions, of what they need of each other, and of what the programs print."""
    root = RELEASE.parents[2]
    projects = [
        tomllib.loads(path.read_text())["project"]
        for path in (root / "pyproject.toml", *sorted((root / "tools").glob("*/pyproject.toml")))
    ]
    assert [project["name"] for project in projects] == ["edge-agent", "edge-convert", "edge-hub"]
    assert {project["version"] for project in projects} == {__version__}
    assert all(f"edge-agent=={__version__}" in project["dependencies"] for project in projects[1:])
