"""An ARM64 machine under emulation: a Debian guest with real systemd as PID 1, driven over its console.

Theory of operation. The root file system is an initramfs that ``rootfs.sh`` builds from Debian's packages;
it is kept in the cache under a digest of its recipe, and may be deleted at any time. What a test adds (the
package, check scripts, bundles) is a second cpio archive behind it: the kernel unpacks one after the other.
The guest has no network card and no disk. Its exit status does not come out of the emulator, so checks print
one JSON line each, marked, to the console, and end with a power-off.

What is real here: systemd, cgroup v2 with its limits, the sandbox, process sizes. What is not: time.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from board_checks import MARK

HERE = Path(__file__).parent
UNGUARDED = "nokaslr kpti=0 mitigations=off"
"""The kernel's guards against speculative attacks cost the emulator a quarter of the time of a boot."""
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76")


class File(NamedTuple):
    """A file for the guest: contents and permission bits."""

    data: bytes
    mode: int = 0o644


class Image(NamedTuple):
    """What the emulator boots."""

    kernel: Path
    initramfs: Path


def cache() -> Path:
    """Return the folder where root file systems are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edge-agent"


def base_image(release: str) -> Image:
    """Return the root file system of a release, built on the first call after its recipe changed."""
    recipe = HERE / "rootfs.sh"
    digest = hashlib.sha256(recipe.read_bytes()).hexdigest()[:16]
    folder = cache() / f"arm64-guest-{release}-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            built = Path(work) / "built"
            built.mkdir()
            subprocess.run([recipe, release, built / "vmlinuz", built / "initramfs.zst"], check=True)
            built.rename(folder)
    return Image(folder / "vmlinuz", folder / "initramfs.zst")


def archive(files: Mapping[str, File]) -> bytes:
    """Return a cpio archive ("newc") of files, named by absolute path, owned by root, with their folders."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"/"}
    entries = [(name, File(b"", 0o755), stat.S_IFDIR) for name in sorted(folders)]
    entries += [(name, file, stat.S_IFREG) for name, file in sorted(files.items())]
    out = bytearray()
    for number, (name, file, kind) in enumerate([*entries, ("/TRAILER!!!", File(b"", 0), 0)], start=1):
        stored = name[1:].encode() + b"\0"
        size = len(file.data)
        fields = (number, kind | file.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(stored), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + stored
        out += b"\0" * (-len(out) % 4)
        out += file.data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def boot(
    image: Image,
    files: Mapping[str, File],
    cpu: str,
    seconds: int,
    memory: str = "2G",
    first: str = "/init",
    counted: bool = False,
) -> str:
    """Boot the guest with ``files`` in it and return all that it printed until it powered itself off.

    Parameters
    ----------
    image : Image
        From ``base_image``.
    files : mapping of str to File
        What lies in the guest besides Debian, by absolute path.
    cpu : str
        One of ``CPUS``: cortex-a53 is that of a Zero 2 W and a 3B+, a72 of a 4B, a76 of a 5.
    seconds : int
        After so much wall time the machine is switched off.
    memory : str
        Of the machine, the root file system included.
    first : str
        The program that the kernel starts; Debian's is systemd.
    counted : bool
        Whether the guest's clock advances one nanosecond per instruction. It has one processor then.
    """
    clock = ("-icount", "shift=0,sleep=off") if counted else ("-smp", "2")
    with tempfile.TemporaryDirectory() as work:
        initramfs = Path(work) / "initramfs"
        debian = image.initramfs.read_bytes()
        # The kernel looks for the second archive at a multiple of four.
        initramfs.write_bytes(debian + b"\0" * (-len(debian) % 4) + archive(files))
        # fmt: off
        command: list[str | Path] = [
            "qemu-system-aarch64", "-M", "virt", "-accel", f"tcg,thread={'single' if counted else 'multi'}",
            "-cpu", cpu, *clock, "-m", memory, "-nographic", "-no-reboot", "-nic", "none",
            "-kernel", image.kernel, "-initrd", initramfs,
            "-append", f"rdinit={first} console=ttyAMA0 quiet panic=-1 systemd.show_status=false {UNGUARDED}",
        ]
        # fmt: on
        with (Path(work) / "console").open("w+b") as console:
            emulator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
            try:
                emulator.wait(seconds)
            except subprocess.TimeoutExpired:
                console.write(f"\nswitched off after {seconds} s\n".encode())
            finally:
                emulator.kill()
                emulator.wait()
            console.seek(0)
            return console.read().decode(errors="replace")


def verdicts(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the checks said, by name of the check."""
    found = (json.loads(line.split(MARK, 1)[1]) for line in lines if MARK in line)
    return {verdict["check"]: verdict for verdict in found}
