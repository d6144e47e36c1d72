"""Who may tell a device what to run, by its configuration: checked by ``check``, told by ``doctor``."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.wire import signatures
from tests.support import fan

CONFIG = """
[device]
name = "dev"
state_dir = "state"
memory_mb = 4096
[broker]
host = "127.0.0.1"
port = 1
[hub]
{hub}
[[population]]
name = "p"
bundle = "b.eab"
size = 2
rate_hz = 1.0
"""


@pytest.fixture
def configure(tmp_path: Path) -> Any:
    for name in ("director", "release", "second"):
        signatures.save(signatures.generate(name), tmp_path / name)
    fan.write(tmp_path / "b.eab", fan.model())
    path = tmp_path / "device.toml"

    def write(hub: str) -> str:
        path.write_text(CONFIG.format(hub=hub))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("hub", "error"),
    [
        ('keys = ["director.pub"]', ""),
        ('keys = ["director.pub"]\nrelease_keys = ["release.pub", "second.pub"]\nrelease_threshold = 2', ""),
        (
            'keys = ["director.pub"]\nrelease_keys = ["release.pub"]\nrelease_threshold = 2',
            "found 2, expected at",
        ),
        ('release_keys = ["release.pub"]', "hub.keys: found none, expected the director's keys"),
        ('keys = ["director.pub"]\nrelease_keys = ["director.pub"]', "expected one role for each key"),
        ('keys = ["director.pub"]\nrelease_keys = ["none.pub"]', "none.pub: No such file"),
        ('keys = ["director"]', "director: expected one line 'edge-agent-public-key"),
    ],
)
def test_check_reads_the_keys_and_lets_each_have_one_role(
    configure: Any, capsys: Any, hub: str, error: str
) -> None:
    assert main(["check", "--config", configure(hub)]) == (2 if error else 0)
    err = capsys.readouterr().err
    assert error in err
    assert err.count("\n") == (1 if error else 0)


def found(path: str, capsys: Any) -> dict[str, Any]:
    main(["doctor", "--config", path, "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    (finding,) = [item for item in findings if item["what"] == "hub keys"]
    return dict(finding)


def test_doctor_says_which_roles_of_keys_a_device_knows(configure: Any, capsys: Any) -> None:
    one = found(configure('keys = ["director.pub"]'), capsys)
    assert one["good"]
    assert "whoever has them can run any bundle here" in one["found"]
    two = found(configure('keys = ["director.pub"]\nrelease_keys = ["release.pub", "second.pub"]'), capsys)
    assert (two["good"], two["found"]) == (True, "director 1 of 1, release 1 of 2")
    both = found(configure('keys = ["director.pub"]\nrelease_keys = ["director.pub"]'), capsys)
    assert not both["good"]
    assert "hub.release_keys" in both["remedy"]
