"""Real faults of the daemon's process. ``make faults-daemon`` runs the long forms."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import PlatformError
from edge_agent.runtime.population import checkpoint
from edge_agent.runtime.recording.recorder import frames

pytestmark = pytest.mark.broker
LONG = os.environ.get("EDGE_AGENT_FAULTS") == "long"
KILLS = 50 if LONG else 3
FLOOD_S = 60.0 if LONG else 2.0
SEED = int(os.environ.get("EDGE_AGENT_SEED", "1"))
Command = Callable[..., subprocess.CompletedProcess[str]]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root: another user, another mount")


def configure(folder: Path, old: str, new: str) -> None:
    path = folder / "device.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_killed_at_any_moment_it_resumes_with_whole_files(device: Any) -> None:
    """kill -9 at random moments; the checkpoint decodes, the counters never exceed what was done."""
    configure(device.folder, 'name = "dev"', 'name = "dev"\ncheckpoint_s = 0.02\ncheckpoint_mb_per_day = 1e9')
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    said, resumed = 0, 0
    for _ in range(KILLS):
        device.start()
        steps = device.status()["populations"]["rooms"]["steps"]
        assert resumed <= steps <= said
        end = time.monotonic() + rng.uniform(0.0, 0.6)
        while time.monotonic() < end:
            device.client.publish(f"z/room-{said % 3}", b'{"co2": %d}' % rng.randint(300, 1500))
            said += 1
            time.sleep(0.002)
        device.kill()
        saved = device.folder / "state" / checkpoint.NAME
        if saved.exists():
            populations = checkpoint.decode(saved.read_bytes())
            resumed = populations["rooms"]["counters"]["steps"]
            assert steps <= resumed <= said
        recording = device.folder / "recording"
        whole = list(frames(recording.read_bytes()))
        assert whole[0]["kind"] == "begin"
        ticks = [entry["tick"] for entry in whole if entry["kind"] == "step"]
        assert ticks == list(range(ticks[0], ticks[0] + len(ticks))) if ticks else True
        assert device.command("replay", "recording").returncode == 0
    device.start()
    assert device.status()["populations"]["rooms"]["steps"] >= resumed


@as_root
@pytest.mark.parametrize("options", ["size=64k", "size=64k,ro"])
def test_a_disk_that_is_full_or_read_only_stops_nothing(options: str, device: Any, tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    configure(device.folder, 'name = "dev"', 'name = "dev"\ncheckpoint_s = 0.05')
    configure(device.folder, '"recording"', '"state/recording"')
    (device.folder / "state").mkdir()
    fill = "true" if "ro" in options else "head -c 60000 /dev/zero > state/ballast"
    run = f"exec {sys.executable} -m edge_agent run --config device.toml"
    script = f"mount -t tmpfs -o {options} tmpfs state && {fill}; {run}"
    probe = ["unshare", "-m", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounts are not allowed here")
    device.start(["unshare", "-m", "sh", "-c", script])
    for reading in range(300, 1500, 3):
        device.client.publish("z/room-1", b'{"co2": %d}' % reading)
        time.sleep(0.002)
    device.drive(1, 1500, "on")
    if "ro" in options:
        device.until(lambda: device.status()["checkpoint"]["failed"] > 0)
        assert "ead-only" in device.status()["checkpoint"]["reason"]
    else:
        device.until(lambda: device.status()["recorder"]["failed"] > 0)
        reason = device.status()["recorder"]["reason"]
        assert (
            "the disk is full" in reason or "No space left on device" in reason
        )  # within a write, or before
    device.drive(1, 300, "off")
    assert device.end() == 0


def test_a_flooding_topic_starves_nobody(device: Any) -> None:
    """10,000 messages a second on one topic; another agent's actions come out meanwhile."""
    device.start()
    over, sent = threading.Event(), [0]

    def flood() -> None:
        start = time.monotonic()
        while not over.is_set():
            for _ in range(100):
                device.client.publish("z/room-0", b'{"co2": 500}')
            sent[0] += 100
            over.wait(max(sent[0] / 10_000 - (time.monotonic() - start), 0.0))

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        end, turn = time.monotonic() + FLOOD_S, 0
        while time.monotonic() < end:
            turn += 1
            reading, action = ((1500, "on"), (300, "off"))[turn % 2]
            device.drive(1, reading, action)
    finally:
        over.set()
        thread.join()
    rooms = device.status()["populations"]["rooms"]
    assert turn > 2
    assert rooms["steps"] < sent[0] / 2
    assert rooms["missed"] == 0


def test_what_a_broken_sensor_sends_is_counted_and_harmless(device: Any) -> None:
    device.start()
    deep = b'{"co2": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001
    for payload in (b"x" * 1_000_000, b'{"co2": NaN}', deep, b"\xff" * 100, b'{"co2": 1e999}', b""):
        device.client.publish("z/room-0", payload).wait_for_publish(10)
        time.sleep(0.1)
    device.until(lambda: sum(device.status()["populations"]["rooms"]["faults"].values()) >= 4)
    device.drive(0, 1500, "on")


def test_a_silent_sensor_leads_to_the_safe_action_and_a_stuck_one_to_nothing(device: Any) -> None:
    configure(device.folder, 'pointer = "/co2"', 'pointer = "/co2"\nstale_s = 1.0')
    configure(device.folder, 'step = "arrival"', 'step = "change"')
    device.start()
    device.drive(0, 1500, "on")
    device.until(lambda: device.said("z/room-0/set")[-1:] == [b'{"fan": "off"}'])  # silence
    assert device.status()["populations"]["rooms"]["stale"] == 3
    device.client.publish("z/room-1", b'{"co2": 500}').wait_for_publish(10)
    device.until(lambda: device.status()["populations"]["rooms"]["observations"] > 0)
    steps = device.status()["populations"]["rooms"]["steps"]

    def observed() -> bool:  # readings that come faster than the daemon looks are one observation
        for _ in range(100):
            device.client.publish("z/room-1", b'{"co2": 500}')
        return bool(device.status()["populations"]["rooms"]["observations"] > 10)

    device.until(observed)
    assert device.status()["populations"]["rooms"]["steps"] <= steps + 1


@pytest.mark.parametrize("leap", [-1e8, 1e8] if LONG else [-1e8])
def test_a_wall_clock_that_is_set_changes_no_decision(leap: float, device: Any) -> None:
    """Three years back or forward, under the process's feet: a file tells how far its clock is off."""
    offset = device.folder / "offset"
    offset.write_text("0")
    script = (
        "import pathlib, time; real, offset = time.time, pathlib.Path('offset');"
        "time.time = lambda: real() + float(offset.read_text() or 0);"
        "import sys; from edge_agent.cli import main; sys.exit(main())"
    )
    configure(device.folder, 'name = "dev"', 'name = "dev"\ncheckpoint_s = 0.05')
    device.start([sys.executable, "-c", script, "run", "--config", "device.toml"])
    device.drive(0, 1500, "on")
    before = device.status()["populations"]["rooms"]
    offset.write_text(str(leap))
    for turn in range(4):
        device.drive(turn % 3, *((300, "off"), (1500, "on"))[turn % 2])
    after = device.status()["populations"]["rooms"]
    assert after["steps"] > before["steps"]
    assert after["missed"] == before["missed"]
    assert device.end() == 0
    assert device.command("replay", "recording").returncode == 0
    device.start()
    assert device.status()["populations"]["rooms"]["steps"] >= after["steps"]


def test_a_changed_configuration_is_taken_and_a_bad_one_is_not(device: Any) -> None:
    configure(device.folder, 'name = "dev"', 'name = "dev"\nspare_kb = 1024')
    device.start()
    configure(device.folder, "size = 3", "size = 5")
    device.hang_up()
    device.until(lambda: device.status()["populations"]["rooms"]["agents"] == 5)
    device.drive(4, 1500, "on")
    configure(device.folder, "rate_hz = 50", "rate_hz = -1")
    device.hang_up()
    device.until(lambda: "the old configuration stays" in (device.folder / "log").read_text())
    assert "rate_hz: found -1" in (device.folder / "log").read_text()
    assert device.status()["populations"]["rooms"]["agents"] == 5


def test_room_for_a_population_that_is_added_is_named_with_the_key_that_gives_it(device: Any) -> None:
    """Added with what the message says, it fits."""
    path = device.folder / "device.toml"
    text = path.read_text()
    section = text[text.index("[[population]]") :].replace('"rooms"', '"halls"').replace("room-", "hall-")
    section = section.replace("size = 3", "size = 500")
    device.start()
    path.write_text(text + section)
    device.hang_up()
    log = device.folder / "log"
    device.until(lambda: "the old configuration stays" in log.read_text())
    line = next(x for x in log.read_text().splitlines() if "the old configuration stays" in x)
    found = re.search(r"set device.spare_kb to at least (\d+), and restart", line)
    assert found is not None
    assert list(device.status()["populations"]) == ["rooms"]
    device.kill()
    text = text.replace('name = "dev"', f'name = "dev"\nspare_kb = {found[1]}')
    path.write_text(text)
    device.start()
    path.write_text(text + section)
    device.hang_up()
    device.until(lambda: list(device.status()["populations"]) == ["rooms", "halls"])


def test_null_is_not_observed_and_no_fault(device: Any) -> None:
    device.start()
    device.drive(0, 1500, "on")
    before = device.status()["populations"]["rooms"]["observations"]
    for payload in (b'{"co2": null}', b"null", b'{"co2": null, "battery": 5}'):
        device.client.publish("z/room-0", payload, 1).wait_for_publish(10)
    device.client.publish("z/room-0", b'{"co2": "much"}', 1).wait_for_publish(10)
    device.until(lambda: device.status()["populations"]["rooms"]["faults"] != {})
    rooms = device.status()["populations"]["rooms"]
    assert rooms["observations"] == before
    assert rooms["faults"] == {"not_a_number": 1}


def test_a_broker_that_goes_and_comes_is_found_again(device: Any, mosquitto: Any) -> None:
    device.start()
    mosquitto.kill()
    device.until(lambda: device.status()["broker"]["state"] != "online")
    assert device.status()["broker"]["reason"] != ""
    mosquitto.start()
    device.until(lambda: device.status()["broker"]["state"] == "online", 30.0)


@as_root
def test_another_user_may_not_ask(device: Any) -> None:
    device.start()
    device.folder.chmod(0o755)
    probe = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", probe, "s"],
        cwd=device.folder,
        user="nobody",
        group="nogroup",
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "PermissionError" in done.stderr


def test_a_second_daemon_on_one_state_directory_is_refused_and_touches_nothing(device: Any) -> None:
    device.start()
    state = device.folder / "state"
    device.until(lambda: (state / "outbox.db").exists())
    before = (state / "outbox.db").stat().st_ino
    text = (device.folder / "device.toml").read_text()
    (device.folder / "second.toml").write_text(text.replace('socket = "s"', 'socket = "other"'))
    refused = device.command("run", "--config", "second.toml")
    assert refused.returncode == PlatformError.exit_code
    assert refused.stderr.count("\n") == 1
    assert f"{state}: another daemon (pid {device.process.pid}) uses this state directory" in refused.stderr
    assert (state / "outbox.db").stat().st_ino == before
    assert list(state.glob("*.damaged*")) == []
    assert not (device.folder / "other").exists()
    device.kill()
    device.start()  # the lock went with the process


def test_a_process_without_descriptors_works_on_and_answers_again(device: Any) -> None:
    configure(device.folder, 'name = "dev"', 'name = "dev"\ncheckpoint_s = 0.05')
    device.start()
    pid = device.process.pid

    def checkpoint(key: str) -> Any:  # nothing while the daemon does not answer
        return device.status().get("checkpoint", {}).get(key)

    device.until(lambda: checkpoint("written"))
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(device.folder / "s"))
        log = device.folder / "log"
        device.until(lambda: "no client can be taken in: Too many open files" in log.read_text())

        def failed() -> bool:  # whether a checkpoint was due while the process decided without descriptors
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, hard))
            device.drive(1, 1500, "on")
            device.drive(1, 300, "off")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            return bool(checkpoint("failed"))

        device.until(failed)
    device.until(lambda: checkpoint("reason") == "")
    assert log.read_text().count("no client can be taken in") == 1
    assert device.end() == 0


def test_idle_clients_do_not_lock_status_out(device: Any) -> None:
    device.start()
    idle = []
    for _ in range(8):
        idle.append(socket.socket(socket.AF_UNIX))
        idle[-1].connect(str(device.folder / "s"))
    assert device.status() != {}
    for connection in idle:
        connection.close()


def test_a_socket_in_use_is_refused(device: Any) -> None:
    device.start()
    configure(device.folder, 'state_dir = "state"', 'state_dir = "other"')
    refused = device.command("run", "--config", "device.toml")
    assert refused.returncode == PlatformError.exit_code
    assert "a daemon already listens there" in refused.stderr.splitlines()[-1]
    assert device.status() != {}
