"""Package bundles: Debian packages of the daemon, rolled out as the bundle of a reserved population.

Theory of operation. The desired document, blocks, releases and rollouts of bundles carry an update of the
daemon as well: it is a bundle of kind ``package`` for the population `POPULATION`, which no configuration may
define. Its entries are the packages, ``NAME.deb``: `POPULATION` itself, and those of the neural runtimes for
devices that have them. ``version`` is the packages' version, ``requires.architecture`` Debian's name of the
processor. Nothing in the bundle is used by the daemon: the installer, which runs as root, checks and installs
it (``edge_agent.package_installer``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.errors import BundleError
from edge_agent.wire.bundle import Bundle

POPULATION = "edge-agent"
"""Also the name of the package that every update contains."""
KIND = "package"
SUFFIX = ".deb"


def manifest(version: str, architecture: str, source_sha256: str, created: int) -> dict[str, Any]:
    """Return the manifest of a package bundle, for `bundle.write`.

    Parameters
    ----------
    version, architecture : str
        As Debian writes them, e.g. ``0.2.0+deb12`` and ``arm64``.
    source_sha256 : str
        SHA-256 of the file of the package `POPULATION`, in hex.
    created : int
        Unix seconds.
    """
    return {
        "name": POPULATION,
        "version": version,
        "kind": KIND,
        "created": created,
        "source_sha256": source_sha256,
        "io": {},
        "memory": {},
        "evaluation": {},
        "requires": {"architecture": architecture},
    }


def packages(bundle: Bundle) -> Mapping[str, memoryview]:
    """Return the packages of a bundle by name.

    Raises
    ------
    BundleError
        It is no package bundle, or lacks the package `POPULATION`.
    """
    if bundle.kind != KIND:
        raise BundleError(f"{bundle.path}: kind {bundle.kind}, expected {KIND}")
    found = {name.removesuffix(SUFFIX): data for name, data in bundle.entries.items()}
    for name in bundle.entries:
        if not name.endswith(SUFFIX) or not name.startswith(POPULATION) or "/" in name:
            raise BundleError(f"{bundle.path}: entry {name}, expected {POPULATION}...{SUFFIX}")
    if POPULATION not in found:
        raise BundleError(f"{bundle.path}: {POPULATION}{SUFFIX} is missing")
    return found
