"""Updates of the daemon for the board: the packages in a next version, bundled, released and asked for.

On the board the checks play the daemon's part: they put the bundle, the signed message and the request where
it does. ``NAME.eab`` is a package bundle and ``NAME.message`` asks for it: ``next`` is the same program in a
higher version, ``broken`` one that does not start, and ``back`` the packages that the board began with.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from pathlib import Path

from edge_agent.wire import blocks, bundle, documents, messages, package, signatures
from edge_agent.wire.messages import Message

FLEET, DEVICE = "home", "board"
VERSIONS = {"next": "9.0.0", "broken": "9.0.1"}
BROKEN = "#!/bin/sh\nexit 1\n"


def make(folder: Path, packages: list[Path], suffix: str) -> None:
    """Write the bundles, the messages, the public keys and ``updates.json`` (name to digest and version).

    The versions end in ``suffix``, which stands for the release of Debian.
    """
    director, release = signatures.generate("director"), signatures.generate("release")
    for secret in (director, release):
        (folder / f"{secret.name}.pub").write_text(secret.public.line())
    made: dict[str, dict[str, str]] = {}
    for number, name in enumerate(("next", "broken", "back"), start=1):
        entries, version = {}, VERSIONS[name] + suffix if name in VERSIONS else ""
        for path in packages:
            entries[f"{path.name.split('_')[0]}.deb"] = (
                _renamed(path, version) if version else path.read_bytes()
            )
        version = version or packages[0].name.split("_")[1]
        manifest = package.manifest(version, "arm64", "0" * 64, number)
        target = folder / f"{name}.eab"
        digest = bundle.write(target, manifest, entries)
        made[name] = {"bundle": digest, "version": version}
        cut = blocks.cut(digest, package.POPULATION, target.read_bytes())
        message = _message(digest, number, cut, director, release)
        (folder / f"{name}.message").write_bytes(message)
    (folder / "updates.json").write_text(json.dumps(made))


def _message(
    digest: str, number: int, cut: blocks.Cut, director: signatures.SecretKey, release: signatures.SecretKey
) -> bytes:
    now = time.time()
    released = {
        "fleet": FLEET,
        "population": package.POPULATION,
        "bundle": digest,
        "number": number,
        "issued": now,
    }
    desired = {
        "fleet": FLEET,
        "device": DEVICE,
        "version": number,
        "issued": now,
        "expires": now + 86_400.0,
        "bundles": {digest: cut.entry()},
        "populations": {package.POPULATION: {"bundle": digest}},
    }
    body = documents.signed(desired, documents.DESIRED, [director])
    body["releases"] = [documents.signed(released, documents.RELEASE, [release])]
    return messages.encode(Message(body))


def _renamed(path: Path, version: str) -> bytes:
    """Return a package under another version; the one for `VERSIONS` ``broken`` has a program that ends."""
    with tempfile.TemporaryDirectory() as work:
        tree, out = Path(work) / "tree", Path(work) / "out.deb"
        subprocess.run(["dpkg-deb", "--raw-extract", path, tree], check=True)
        control = tree / "DEBIAN/control"
        before = re.search(r"^Version: (.*)$", control.read_text(), re.MULTILINE)
        assert before is not None
        control.write_text(control.read_text().replace(before[1], version))
        program = tree / "opt/edge-agent/bin/edge-agent"
        if version.startswith(VERSIONS["broken"]) and program.exists():
            program.write_text(BROKEN)
        command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", tree, out]
        subprocess.run(command, check=True, capture_output=True)
        return out.read_bytes()
