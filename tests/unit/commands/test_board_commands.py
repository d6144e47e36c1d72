"""bench, doctor, support-bundle, metrics, the reference: the output is correct and contains no secrets."""

import json
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters import doctor_checks
from edge_agent.cli import main
from edge_agent.commands import metrics, status, support_bundle
from edge_agent.commands.bench import grid_world
from edge_agent.wire import signatures

CONFIG = """
[device]
name = "dev"
state_dir = "state"
{device}
[broker]
host = "127.0.0.1"
port = 1
username = "tom"
password_file = "password"
[[population]]
name = "p"
bundle = "b.eab"
rate_hz = 1.0
size = 2
"""
STATUS: dict[str, Any] = {
    "rss_bytes": 45_000_000,
    "budget_bytes": 64_000_000,
    "arena_used_bytes": 1000,
    "uptime_s": 12.0,
    "governor": {"rung": 1},
    "broker": {"state": "online"},
    "populations": {
        "rooms": {
            **dict.fromkeys((*metrics.COUNTERS, *metrics.GAUGES), 3),
            "suspended": False,
            "faults": {"not_a_number": 7},
        }
    },
    "peers": {
        **dict.fromkeys((*metrics.PEER_COUNTERS, *metrics.PEER_GAUGES), 2),
        "refusals": {"pi2": {"replay": 5}},
        "roster": {"pi2": {"reputation": 950}},
    },
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "device.toml"
    path.write_text(CONFIG.format(device=""))
    (tmp_path / "password").write_text("swordfish\n")
    (tmp_path / "password").chmod(0o644)
    return path


def test_bench_s_figures_agree_with_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--agents", "64", "--agents", "5", "--seconds", "0.02", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["agents"] for row in found["rows"]] == [64, 5]
    for row in found["rows"]:
        assert row["tick_ms"] * 1e3 == pytest.approx(row["us_per_step"] * row["agents"], rel=0.05, abs=0.1)
        assert row["bytes_per_agent"] > 0
    assert main(["bench", "--seconds", "0"]) == 2


def test_the_grid_that_boards_are_compared_with_walks_to_its_goal() -> None:
    model = grid_world()
    assert (model.num_states, model.num_controls) == ((100,), (5,))


def test_doctor_names_what_is_wrong_and_its_remedy(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(config), "--json"]) == 1
    found = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    password = found[str(config.parent / "password")]
    assert (password["good"], password["found"]) == (False, "mode 0644")
    assert password["remedy"].startswith("chmod 600")
    assert found["broker"]["good"] is False
    config.write_text("[device")
    assert main(["doctor", "--config", str(config)]) == 1
    assert "BAD  configuration" in capsys.readouterr().out


def test_the_findings_of_a_board_that_is_well(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory",
        "proc/pressure/memory": "some avg10=0.00 avg60=0.00",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0",
        "sys/class/thermal/thermal_zone0/temp": "45000",
        "proc/meminfo": "MemTotal: 400000 kB\nMemAvailable: 200000 kB\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    well = {f.what: f.good for f in doctor_checks.board(tmp_path) if f.what != "clock"}
    assert list(well.values()) == [True] * 4
    assert doctor_checks.budget(100 * 2**20, tmp_path).good
    assert not doctor_checks.budget(300 * 2**20, tmp_path).good
    assert doctor_checks.clock(0).good
    assert not doctor_checks.clock(5).good
    (tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("50000")
    assert not all(f.good for f in doctor_checks.board(tmp_path) if f.what != "clock")


def test_doctor_reports_secrets_that_others_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed, own, missing = tmp_path / "edge-agent.service" / "passed", tmp_path / "own", tmp_path / "missing"
    passed.parent.mkdir()
    for path in (passed, own):
        path.write_text("swordfish")
        path.chmod(0o440)
    monkeypatch.setattr(signatures, "CREDENTIALS", tmp_path)
    found = [(f.good, f.found) for f in doctor_checks.secrets([passed, own, missing])]
    assert found == [(True, "mode 0440"), (False, "mode 0440"), (False, "No such file or directory")]


def test_a_support_bundle_holds_what_helps_and_no_secret(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tar.gz"
    arguments = ["--config", str(config), "--socket", str(tmp_path / "none"), "-o", str(out)]
    assert main(["support-bundle", *arguments, "--json"]) == 0
    assert "device.toml" in json.loads(capsys.readouterr().out)["files"]
    with tarfile.open(out) as archive:
        texts = {m.name.split("/")[1]: archive.extractfile(m).read().decode() for m in archive.getmembers()}
    assert "swordfish" not in "".join(texts.values())
    assert 'username = "(left out)"' in texts["device.toml"]
    assert "tom" not in texts["device.toml"]
    assert texts["status.json"].startswith("not to be had")
    assert "numpy" in json.loads(texts["versions.json"])
    board = json.loads(texts["board.json"])
    assert board["memory_bytes"]["total"] > board["memory_bytes"]["available"] > 0
    assert isinstance(board["processes"], list)


@pytest.mark.parametrize("key", ["password", "secret_key", "token", "  username"])
def test_secrets_are_blanked_wherever_they_stand(key: str) -> None:
    assert "hunter2" not in support_bundle.redacted(f'a = 1\n{key} = "hunter2"\nb = 2\n')


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``edge-agent metrics`` prints about `STATUS`."""

    def status(_path: Path, _request: Mapping[str, Any]) -> dict[str, Any]:
        return STATUS

    monkeypatch.setattr(metrics, "ask", status)
    assert main(["metrics"]) == 0
    return capsys.readouterr().out


def test_metrics_are_the_status_in_base_units(prometheus: str) -> None:
    lines = prometheus.splitlines()
    assert "edge_agent_up 1.0" in lines
    assert "edge_agent_resident_memory_bytes 4.5e+07" in lines
    assert "edge_agent_uptime_seconds 12.0" in lines
    assert 'edge_agent_latency_p99_seconds{population="rooms"} 0.003' in lines
    assert 'edge_agent_steps_total{population="rooms"} 3.0' in lines
    assert 'edge_agent_faults_total{kind="not_a_number",population="rooms"} 7.0' in lines
    assert 'edge_agent_peers_refused_total{device="pi2",offence="replay"} 5.0' in lines
    assert 'edge_agent_peers_reputation_ratio{device="pi2"} 0.95' in lines
    assert "edge_agent_peers_members 2.0" in lines
    (info,) = [line for line in lines if line.startswith("edge_agent_build_info{")]
    assert f'version="{version("edge-agent")}"' in info
    assert info.endswith("} 1.0")


def promtool(text: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    assert tool, "promtool is missing; install it with: sudo apt-get install prometheus"
    command = [tool, "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_promtool_has_no_objection(prometheus: str) -> None:
    found = promtool(prometheus)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_promtool_objects_to_other_units(prometheus: str) -> None:
    found = promtool(prometheus.replace("_seconds", "_milliseconds"))
    assert found.returncode != 0
    assert "use base unit" in found.stdout + found.stderr


def test_a_daemon_that_is_down_is_a_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--socket", str(tmp_path / "none")]) == 0
    told = capsys.readouterr()
    assert "edge_agent_up 0.0" in told.out.splitlines()
    assert "edge_agent_build_info{" in told.out
    assert "edge_agent_steps" not in told.out
    assert told.err == f"{tmp_path / 'none'}: no such socket; is the daemon running?\n"


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["metrics", "--listen", str(port), "--socket", str(tmp_path / "none")]) == 1
    assert f"127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


PEERS = {"coalition": None, "refused": 1, "lost": 2, "duplicates": 3, "here": 4}
COALITION = {"objective": "sniff", "members": {"east": "first", "west": "second"}, "confirmed": False}


@pytest.mark.parametrize(
    ("peers", "line"),
    [
        (PEERS, "4 here; in no coalition; evidence: 1 refused, 2 lost, 3 duplicates"),
        (
            PEERS | {"coalition": COALITION},
            "4 here; sniff: east (first), west (second), not yet confirmed; "
            "evidence: 1 refused, 2 lost, 3 duplicates",
        ),
    ],
)
def test_status_tells_people_who_works_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], peers: dict[str, Any], line: str
) -> None:
    rooms = dict.fromkeys(status._COLUMNS, 3) | {"faults": {"not_a_number": 7}}
    told = {
        "fleet": "f",
        "device": "pi",
        "uptime_s": 12.0,
        "step_us": 0.9,
        "peers": peers,
        "rss_bytes": 45_000_000,
        "budget_bytes": 64_000_000,
        "broker": {"state": "waiting", "reason": "refused"},
        "populations": {"rooms": rooms},
    }
    monkeypatch.setattr(status, "ask", lambda _path, _request: told)
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "f/pi, up 12 s"
    assert "broker   waiting, refused" in lines
    assert f"peers    {line}" in lines
    assert "not_a_number:7" in lines[-1]
