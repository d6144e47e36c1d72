"""The files of ``deploy/`` are accepted by the programs that read them, by each program's own checker.

``make test-deploy`` starts them all together (scale_out.py).
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.scale import stack
from edge_agent.errors import PlatformError
from edge_agent.testing.free_ports import free_port
from edge_agent.testing.mosquitto import executable
from edge_hub.cli import main

SCALE = Path(stack.__file__).parent


def check(name: str, *words: str | Path, cwd: Path = SCALE) -> subprocess.CompletedProcess[str]:
    command = [stack.program(name), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_haproxy_accepts_its_file(tmp_path: Path) -> None:
    found = check("haproxy", "-c", "-f", "haproxy.cfg")
    assert found.returncode == 0, found.stderr
    wrong = tmp_path / "haproxy.cfg"
    wrong.write_text((SCALE / "haproxy.cfg").read_text().replace("\nbackend east", "\nbackend north"))
    assert check("haproxy", "-c", "-f", wrong).returncode != 0


def test_prometheus_accepts_its_files(tmp_path: Path) -> None:
    for file in SCALE.glob("*.yml"):
        shutil.copy(file, tmp_path)
    config = tmp_path / "prometheus.yml"
    (tmp_path / "metrics.token").write_text("token")
    config.write_text(config.read_text().replace("/etc/edge-hub/scale", str(tmp_path)))
    found = check("promtool", "check", "config", config)
    assert found.returncode == 0, found.stderr + found.stdout
    assert "3 rules found" in found.stdout
    found = check("amtool", "check-config", "alertmanager.yml")
    assert found.returncode == 0, found.stderr


def test_the_alert_rules_fire_when_they_should(tmp_path: Path) -> None:
    found = check("promtool", "test", "rules", "rules_test.yml")
    assert found.returncode == 0, found.stderr + found.stdout
    for file in SCALE.glob("rules*.yml"):
        shutil.copy(file, tmp_path)
    rules = tmp_path / "rules.yml"
    rules.write_text(rules.read_text().replace("edge_fleet_silent) > 0", "edge_fleet_silent) > 1"))
    assert check("promtool", "test", "rules", "rules_test.yml", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("name", ["core", *stack.FLEETS])
def test_mosquitto_starts_with_its_file(name: str, tmp_path: Path) -> None:
    """Mosquitto 2.0 has no checker: it starts, or says what it does not understand."""
    if name in stack.FLEETS:
        words = [stack.MAKE_CA, tmp_path, f"{name}.hub.example"]
        subprocess.run(words, check=True, capture_output=True)
        for end in ("crt", "key"):
            (tmp_path / f"server.{end}").rename(tmp_path / f"{name}.{end}")
    text = (SCALE / f"mosquitto-{name}.conf").read_text()
    text = re.sub(r"^(listener|address)(.*)\b28\d{3}\b", rf"\1\g<2>{free_port()}", text, flags=re.MULTILINE)
    for folder in ("/etc/edge-hub/scale", "/var/lib/edge-hub/scale"):
        text = text.replace(folder, str(tmp_path))
    config = tmp_path / "mosquitto.conf"
    config.write_text(text + f"user {stack.getpass.getuser()}\nlog_type information\n")
    process = subprocess.Popen(
        [executable(), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "running" in line or "Error" in line:
            break
    process.kill()
    process.communicate()
    assert "running" in said[-1], said


def test_pgbouncer_accepts_its_file(tmp_path: Path) -> None:
    """It has no checker either: a wrong file is refused at the start."""
    known = {"databases", "pgbouncer"}
    text = (SCALE / "pgbouncer.ini").read_text()
    assert set(re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)) == known
    wrong = tmp_path / "pgbouncer.ini"
    wrong.write_text(text.replace("pool_mode = transaction", "pool_mode = trans"))
    refused = check("pgbouncer", "-u", "nobody", wrong)
    assert refused.returncode != 0
    assert "pool_mode" in refused.stderr + refused.stdout


def test_redis_starts_with_its_file(tmp_path: Path) -> None:
    """It has no checker: it starts, or says what it does not understand."""
    text = (SCALE / "redis.conf").read_text()
    config = tmp_path / "redis.conf"
    config.write_text(re.sub(r"^port 28\d{3}$", f"port {free_port()}", text, flags=re.MULTILINE))
    command = [stack.program("redis-server"), str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        said = next((line for line in process.stdout if "Ready to accept" in line), "")
        process.kill()
    assert said
    config.write_text(text.replace("appendonly no", "appendonly perhaps"))
    assert check("redis-server", config).returncode != 0


def test_the_hubs_file_is_of_its_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (SCALE.parent / "hub" / "hub.toml").read_text()
    text = text.replace("# sign", "sign").replace("# release_key", "release_key")
    config = tmp_path / "hub.toml"
    config.write_text(text.replace("/etc/edge-hub", str(tmp_path)))
    assert main(["serve", "--config", str(config)]) == 2
    assert capsys.readouterr().err == f"edge-hub: {tmp_path}/director: No such file or directory\n"


def test_a_program_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stack, "PATH", str(tmp_path))
    line = "^haproxy is not installed; install it with: sudo apt-get install haproxy$"
    with pytest.raises(PlatformError, match=line):
        stack.Stack(tmp_path, {}).start()
