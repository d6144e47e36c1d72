"""``edge-hub update pack``: Debian packages become a bundle that the installer on a board takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.wire import bundle, package
from edge_hub.cli import main

AGENT, LITERT = "edge-agent_0.2.0+deb12_arm64.deb", "edge-agent-litert_0.2.0+deb12_arm64.deb"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    names = (
        AGENT,
        LITERT,
        "edge-agent_0.2.0+deb13_arm64.deb",
        "edge-agent_0.2.0+deb12_amd64.deb",
        "other.deb",
    )
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_packages_of_a_version_are_one_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["update", "pack", AGENT, LITERT, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    found = bundle.read(Path(made["file"]))
    assert made["file"] == "edge-agent_0.2.0+deb12_arm64.eab"
    assert (found.digest, found.kind, found.name) == (made["bundle"], "package", "edge-agent")
    assert found.manifest["version"] == "0.2.0+deb12"
    assert found.manifest["requires"] == {"architecture": "arm64"}
    assert {name: bytes(data) for name, data in package.packages(found).items()} == {
        "edge-agent": AGENT.encode(),
        "edge-agent-litert": LITERT.encode(),
    }


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["other.deb"], "other.deb: found another name"),
        ([LITERT], "expected edge-agent.deb among them"),
        ([AGENT, "edge-agent_0.2.0+deb12_amd64.deb"], "expected one version and architecture"),
        ([AGENT, LITERT, "edge-agent_0.2.0+deb13_arm64.deb"], "expected one version and architecture"),
        (["edge-agent_9_arm64.deb"], "edge-agent_9_arm64.deb: No such file or directory"),
    ],
)
def test_what_no_board_could_install_is_refused_in_one_line(
    files: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["update", "pack", *files]) == 2
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1
    assert not list(Path().glob("*.eab"))


def test_a_model_is_not_rolled_out_as_an_update(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = package.manifest("1", "arm64", "0" * 64, 1) | {"kind": "pomdp"}
    bundle.write(Path("model.eab"), manifest, {"A": b"x"})
    assert main(["update", "deploy", "model.eab", "--fleet", "home"]) == 2
    assert "kind pomdp, expected package" in capsys.readouterr().err
