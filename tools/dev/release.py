"""Make a release from a clean commit: ``python tools/dev/release.py 0.2.0 [--key FILE] [--dry-run]``.

Theory of operation. All preconditions are checked first: the form of the version, an unused tag, a clean
tree, the versions in each pyproject.toml, a dated section in CHANGELOG.md, the key. Then wheels, Debian
packages, images and bills of materials (CycloneDX) are built and copied to ``dist/release-VERSION`` with
``SHA256SUMS`` and the section as ``NOTES.md``, and the commit is tagged ``vVERSION``. With a key (a secret
key of OpenSSH) ``SHA256SUMS.sig`` is its signature, which ``ssh-keygen -Y verify -n file`` checks. Nothing is
pushed: pushing the tag starts ``.github/workflows/release.yml``. With ``--dry-run`` nothing is built or
tagged.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARTIFACTS = ("*.whl", "*.deb", "*.tar", "*.cdx.json")
TARGETS = ("deb", "image", "hub-image", "sbom")


def problems(root: Path, version: str, key: Path | None) -> list[str]:
    """Return why ``version`` can't be released from the tree at ``root``, a line each."""
    found = []
    if key is not None and not key.is_file():
        found.append(f"{key}: found no file, expected a secret key made by ssh-keygen")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        found.append(f"VERSION: found {version!r}, expected a form like 0.2.0")
    if changed := _git(root, "status", "--porcelain"):
        found.append(
            f"working tree: found {len(changed.splitlines())} changed or untracked files, expected none"
        )
    if _git(root, "tag", "--list", f"v{version}"):
        found.append(f"tag v{version}: exists already")
    for path in [root / "pyproject.toml", *sorted(root.glob("tools/*/pyproject.toml"))]:
        project, name = tomllib.loads(path.read_text(encoding="utf-8"))["project"], path.relative_to(root)
        if project["version"] != version:
            found.append(f"{name}: version: found {project['version']!r}, expected {version!r}")
        found += [
            f"{name}: dependencies: found {needed!r}, expected 'edge-agent=={version}'"
            for needed in project.get("dependencies", ())
            if needed.startswith("edge-agent==") and needed != f"edge-agent=={version}"
        ]
    if not notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version):
        found.append(f"CHANGELOG.md: found no text under '## {version} - YYYY-MM-DD'")
    return found


def notes(changelog: str, version: str) -> str:
    """Return the text of the version's dated section, empty if there is none."""
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$"
    section = re.search(rf"{heading}\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return section[1].strip() if section else ""


def build(root: Path, version: str, key: Path | None) -> Path:
    """Build all files and return the folder with them, their checksums, its signature and the notes."""
    for pattern in ARTIFACTS:
        for stale in (root / "dist").glob(pattern):
            stale.unlink()
    subprocess.run(["make", *TARGETS], cwd=root, check=True)
    folder = root / "dist" / f"release-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    built = sorted(path for pattern in ARTIFACTS for path in (root / "dist").glob(pattern))
    for path in built:
        shutil.copy2(path, folder)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in built]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    if key is not None:
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "file", str(folder / "SHA256SUMS")]
        subprocess.run(command, check=True)
    text = notes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    (folder / "NOTES.md").write_text(text + "\n", encoding="utf-8")
    return folder


def main(arguments: list[str]) -> int:
    """Run the command; exit 1 with a line for each problem."""
    parser = argparse.ArgumentParser(description="Make a release from a clean commit.")
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--key", type=Path, help="secret key of OpenSSH that signs SHA256SUMS")
    parser.add_argument("--dry-run", action="store_true", help="check, but build and tag nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if found := problems(asked.root, asked.version, asked.key):
        print("\n".join(found), file=sys.stderr)
        return 1
    if asked.dry_run:
        print(f"v{asked.version} can be released; its notes:\n")
        print(notes((asked.root / "CHANGELOG.md").read_text(encoding="utf-8"), asked.version))
        return 0
    folder = build(asked.root, asked.version, asked.key)
    _git(asked.root, "tag", "--annotate", f"v{asked.version}", "--message", f"Release {asked.version}")
    print(f"tagged v{asked.version}; its files are in {folder.relative_to(asked.root)}")
    if asked.key is None:
        print("SHA256SUMS is not signed: give KEY=FILE, a secret key made by ssh-keygen")
    print(f"to publish: git push origin v{asked.version}")
    return 0


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
