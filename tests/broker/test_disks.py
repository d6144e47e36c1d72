"""Disks that fail and recover under a running daemon: telemetry resumes, the daemon continues."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.wire.messages import decode
from edge_agent.wire.topics import DeviceTopics

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root: a mount, another user"),
]
TELEMETRY = DeviceTopics("lab", "dev").telemetry


def sh(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def configure(folder: Path, old: str, new: str) -> None:
    path = folder / "device.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@contextlib.contextmanager
def mounted(folder: Path, *words: object) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    try:
        sh("mount", *words, folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"mounts are not allowed here: {error.stderr.decode().strip()}")
    try:
        yield
    finally:
        sh("umount", "--lazy", folder)


def numbers(device: Any) -> list[int]:
    return [decode(payload).seq for payload in device.said(TELEMETRY)]


def test_telemetry_resumes_when_a_full_disk_has_room_again(device: Any) -> None:
    state, ballast = device.folder / "state", device.folder / "state" / "ballast"
    configure(device.folder, "telemetry_s = 0.2", "telemetry_s = 2.0")
    with mounted(state, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        device.start()
        device.until(lambda: len(numbers(device)) > 0)
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass
        device.until(lambda: device.status()["telemetry"]["failures"] >= 2)
        assert "full" in device.status()["telemetry"]["failure"]
        uptime, sent = device.status()["uptime_s"], len(numbers(device))
        ballast.unlink()
        device.until(lambda: len(numbers(device)) > sent)
        # An interval, what a transaction waits for, and the time that asking takes.
        assert device.status()["uptime_s"] - uptime < 2.0 + 2.0 + 2.0
        assert device.status()["telemetry"]["failure"] == ""
        found = numbers(device)
        assert found == list(range(1, len(found) + 1))
        assert device.end() == 0


def test_a_file_system_that_turns_read_only_stops_nothing(device: Any, tmp_path: Path) -> None:
    """ext4 after an error in it: everything that is open refuses to be written (errors=remount-ro)."""
    state, image = device.folder / "state", tmp_path / "image"
    configure(device.folder, 'name = "dev"', 'name = "dev"\ncheckpoint_s = 0.2')
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    sh("mkfs.ext4", "-q", image)
    options = ("-o", "loop,errors=remount-ro", image)
    with mounted(state, *options):
        device.start()
        device.until(lambda: len(numbers(device)) > 0 and device.status()["checkpoint"]["written"] > 0)
        mounts = Path("/proc/mounts").read_text().splitlines()
        name = next(line.split()[0] for line in mounts if line.split()[1] == str(state)).split("/")[-1]
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("test")
        device.until(lambda: device.status()["checkpoint"]["failed"] > 0)
        device.until(lambda: device.status()["telemetry"]["failures"] > 0)
        assert "ead-only" in device.status()["checkpoint"]["reason"]
        device.drive(1, 1500, "on")
        device.drive(1, 300, "off")
        assert device.status()["telemetry"]["damaged_files"] == 0
        assert device.end() == 0
    subprocess.run(["fsck.ext4", "-p", "-f", image], check=False, capture_output=True)
    with mounted(state, *options):
        sent = len(numbers(device))
        device.start()
        device.until(lambda: len(numbers(device)) > sent)
        assert device.status()["telemetry"]["damaged_files"] == 0
        assert device.end() == 0


def test_a_file_system_that_is_remounted_is_used_again(device: Any) -> None:
    state = device.folder / "state"
    configure(device.folder, 'name = "dev"', 'name = "dev"\ncheckpoint_s = 0.2')
    with mounted(state, "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs"):
        device.start()
        for _ in range(2):
            device.until(lambda: "ead-only" in device.status()["checkpoint"]["reason"])
            device.drive(1, 1500, "on")
            sh("mount", "-o", "remount,rw", state)
            written = device.status()["checkpoint"]["written"]
            device.until(lambda written=written: device.status()["checkpoint"]["written"] > written)
            assert device.status()["checkpoint"]["reason"] == ""
            device.drive(1, 300, "off")
            device.until(lambda: remounted(state))
        device.until(lambda: len(numbers(device)) > 0)
        assert device.end() == 0


def remounted(state: Path) -> bool:
    """Try to make the mount read-only; it is busy while a checkpoint is being written."""
    done = subprocess.run(["mount", "-o", "remount,ro", state], check=False, capture_output=True)
    return done.returncode == 0


def test_an_outbox_of_another_user_is_named_with_its_remedy(device: Any) -> None:
    device.start()
    device.until(lambda: (device.folder / "state" / "outbox.db").exists())
    assert device.end() == 0
    outbox = device.folder / "state" / "outbox.db"
    os.chown(outbox, 65534, 65534)
    outbox.chmod(0o600)
    # root without the capability to open what belongs to others is a user as any other
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    device.start([*drop, sys.executable, "-m", "edge_agent", "run", "--config", "device.toml"])
    log = (device.folder / "log").read_text()
    assert f"{outbox}: belongs to user nobody, expected root; hand it over: sudo chown root {outbox}" in log
    device.drive(1, 1500, "on")
    sent = len(numbers(device))
    device.until(lambda: len(numbers(device)) > sent)
    out = device.command("doctor", "--config", "device.toml").stdout
    assert f"BAD  {outbox}: belongs to user nobody, the directory to root" in out
