"""What the installer accepts: packages that the release keys have signed for this device, and none older."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.records import Config, DeviceConfig, HubConfig
from edge_agent.errors import EdgeAgentError
from edge_agent.services import package_check
from edge_agent.services.package_check import InstalledPackages, stage
from edge_agent.wire import blocks, bundle, documents, messages, package, signatures
from edge_agent.wire.messages import Message
from tests.unit.package import debs

DIRECTOR, RELEASE, OTHER = (signatures.generate(n) for n in ("director", "release", "other"))
NOW = 1_700_000_000.0
FIRST = InstalledPackages({"edge-agent": "1.0"}, "amd64", False)


class Device:
    """The daemon's state directory and the installer's folder, with a bundle that was asked for."""

    def __init__(self, folder: Path) -> None:
        self.work, self.state_dir, self.folder = folder, folder / "state", folder / "installer"
        for path in (self.state_dir / "bundles", self.state_dir / "update", self.folder):
            path.mkdir(parents=True)
        keys = []
        for secret in (DIRECTOR, RELEASE):
            path = folder / f"{secret.name}.pub"
            path.write_text(secret.public.line())
            keys.append(str(path))
        hub = HubConfig(keys=(keys[0],), release_keys=(keys[1],))
        device = DeviceConfig(name="d", fleet="f", state_dir=str(self.state_dir))
        self.config = Config(device=device, broker=None, hub=hub, population=())

    def offer(
        self,
        version: str = "2.0",
        number: int = 5,
        key: signatures.SecretKey = RELEASE,
        packages: tuple[str, ...] = ("edge-agent",),
        said: str = "",
        architecture: str = "amd64",
        allows: tuple[str, ...] = (),
        **document: Any,
    ) -> str:
        """Put a bundle and the message that asks for it where the daemon does; return its digest."""
        entries = {
            f"{name}.deb": debs.build(self.work, version, name, architecture).read_bytes()
            for name in packages
        }
        manifest = package.manifest(said or version, architecture, "0" * 64, 1)
        path = self.work / "offered.eab"
        digest = bundle.write(path, manifest, entries)
        path.rename(self.state_dir / f"bundles/{digest}.eab")
        self.ask(digest, number, key, allows, **document)
        return digest

    def ask(
        self,
        digest: str,
        number: int = 5,
        key: signatures.SecretKey = RELEASE,
        allows: tuple[str, ...] = (),
        **document: Any,
    ) -> None:
        release = {
            "fleet": "f",
            "population": "edge-agent",
            "bundle": digest,
            "number": number,
            "issued": NOW,
        }
        if allows:
            release["allows"] = list(allows)
        desired = {
            "fleet": "f",
            "device": "d",
            "version": 1,
            "issued": NOW,
            "expires": NOW + 60,
            "bundles": {digest: blocks.cut(digest, "edge-agent", b"x").entry()},
            "populations": {"edge-agent": {"bundle": digest}, "rooms": {"bundle": digest}},
        } | document
        body = documents.signed(desired, documents.DESIRED, [DIRECTOR])
        body["releases"] = [documents.signed(release, documents.RELEASE, [key])]
        (self.state_dir / package_check.MESSAGE).write_bytes(messages.encode(Message(body)))

    def stage(self, digest: str, installed: InstalledPackages = FIRST) -> str:
        return stage(self.config, self.folder, digest, NOW, installed)

    def staged(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "staged").glob("*"))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_released_package_is_staged(device: Device) -> None:
    assert device.stage(device.offer()) == "2.0"
    assert device.staged() == ["edge-agent.deb"]
    assert sorted(path.name for path in device.folder.iterdir()) == ["releases.json", "staged"]


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        ({"key": DIRECTOR}, "0 of the 1 signatures needed are by release keys"),
        ({"key": OTHER}, "0 of the 1 signatures needed are by release keys"),
        ({"device": "e"}, "for device 'e', expected 'd'"),
        ({"fleet": "g"}, "for fleet 'g', expected 'f'"),
        ({"populations": {}}, "names bundle None"),
        ({"version": "0.9"}, "version 0.9, expected more than 1.0, which no release installed"),
        ({"version": "1.0"}, "version 1.0, expected more than 1.0"),
        ({"said": "3.0"}, "edge-agent.deb is 'edge-agent 2.0 amd64', expected 'edge-agent 3.0 amd64'"),
        ({"architecture": "arm64"}, "for arm64, expected amd64"),
    ],
)
def test_what_nobody_released_is_refused(device: Device, offer: dict[str, Any], reason: str) -> None:
    version = offer.pop("version", "2.0")
    digest = device.offer(version, **offer)
    with pytest.raises(EdgeAgentError, match=reason):
        device.stage(digest)
    assert device.staged() in ([], ["edge-agent.deb"])
    assert not (device.folder / "releases.json").exists()


def test_the_director_alone_installs_nothing(device: Device) -> None:
    digest = device.offer()
    device.config = replace(device.config, hub=replace(device.config.hub, release_keys=()))
    with pytest.raises(EdgeAgentError, match="release_keys: found none"):
        device.stage(digest)


def test_a_release_that_is_older_than_the_newest_seen_is_refused(device: Device) -> None:
    """A hub that was taken over sends an earlier release, with the bundle that it named."""
    old = device.offer("2.0", number=5)
    device.stage(old)
    device.stage(device.offer("3.0", number=6))
    device.ask(old, number=5)
    with pytest.raises(EdgeAgentError, match="release 5, older than release 6"):
        device.stage(old, InstalledPackages({"edge-agent": "3.0"}, "amd64", True))


def test_a_newer_release_may_name_an_older_version(device: Device) -> None:
    old = device.offer("2.0", number=5)
    device.stage(old)
    device.stage(device.offer("3.0", number=6))
    device.ask(old, number=7)
    assert device.stage(old, InstalledPackages({"edge-agent": "3.0"}, "amd64", True)) == "2.0"


def test_a_release_may_allow_to_go_back(device: Device) -> None:
    old = device.offer("2.0", number=5)
    device.stage(old)
    new = device.offer("3.0", number=6, allows=(old,))
    device.stage(new)
    both = documents.signed(
        {
            "fleet": "f",
            "population": "edge-agent",
            "bundle": new,
            "number": 6,
            "issued": NOW,
            "allows": [old],
        },
        documents.RELEASE,
        [RELEASE],
    )
    desired = documents.signed(
        {
            "fleet": "f",
            "device": "d",
            "version": 3,
            "issued": NOW,
            "expires": NOW + 60,
            "populations": {"edge-agent": {"bundle": old}},
        },
        documents.DESIRED,
        [DIRECTOR],
    )
    payload = messages.encode(Message(desired | {"releases": [both]}))
    (device.state_dir / package_check.MESSAGE).write_bytes(payload)
    assert device.stage(old, InstalledPackages({"edge-agent": "3.0"}, "amd64", True)) == "2.0"


def test_packages_that_are_not_here_stay_away_and_those_that_are_must_come(device: Device) -> None:
    both = InstalledPackages({"edge-agent": "1.0", "edge-agent-litert": "1.0"}, "amd64", False)
    digest = device.offer(packages=("edge-agent", "edge-agent-onnx"))
    device.stage(digest)
    assert device.staged() == ["edge-agent.deb"]
    with pytest.raises(EdgeAgentError, match="edge-agent-litert is installed here and not in the bundle"):
        device.stage(digest, both)
    device.stage(device.offer("2.1", number=6, packages=("edge-agent", "edge-agent-litert")), both)
    assert device.staged() == ["edge-agent-litert.deb", "edge-agent.deb"]


def test_a_bundle_that_the_daemon_changed_is_refused(device: Device) -> None:
    digest = device.offer()
    path = device.state_dir / f"bundles/{digest}.eab"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EdgeAgentError):
        device.stage(digest)
    assert device.staged() == []


def test_a_model_is_no_package(device: Device) -> None:
    path = device.work / "model.eab"
    digest = bundle.write(
        path, package.manifest("2.0", "amd64", "0" * 64, 1) | {"kind": "pomdp"}, {"A": b"x"}
    )
    path.rename(device.state_dir / f"bundles/{digest}.eab")
    device.ask(digest)
    with pytest.raises(EdgeAgentError, match="kind pomdp, expected package"):
        device.stage(digest)


def test_a_file_behind_a_link_is_not_read(device: Device, tmp_path: Path) -> None:
    digest = device.offer()
    path = device.state_dir / f"bundles/{digest}.eab"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EdgeAgentError, match=r"bundles/.*: Too many levels of symbolic links"):
        device.stage(digest)
