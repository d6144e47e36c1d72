import subprocess
import sys
from pathlib import Path

from edge_agent.wire import topics
from edge_agent.wire.topic_table import CHANNELS
from edge_agent.wire.topics import DeviceTopics

ROOT = Path(__file__).parents[3]


def test_the_document_says_what_the_code_says() -> None:
    command = [sys.executable, ROOT / "tools" / "dev" / "protocol_doc.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_topic_the_code_can_spell_is_described() -> None:
    names = DeviceTopics("FLEET", "DEVICE")
    spelled = {
        value
        for name in dir(names)
        if isinstance(value := getattr(names, name), str) and value.count("/") > 3
    }
    spelled -= {names.prefix}
    spelled |= {names.reply("ID"), names.bulk_in("POPULATION"), names.bulk_out("POPULATION")}
    spelled |= {names.agent_state("POPULATION", 0)[:-1] + "INDEX", names.override("POPULATION")}
    assert spelled == {channel.topic for channel in CHANNELS}


def test_acl_lets_devices_write_exactly_what_is_theirs() -> None:
    acl = (ROOT / "tools" / "mosquitto" / "acl").read_text()
    patterns = [line.split()[2] for line in acl.splitlines() if line.startswith("pattern write")]
    for channel in CHANNELS:
        address = topics.parse(channel.topic)
        root = "edge/v1/+/peer/%u/#" if address.peer else f"edge/v1/+/%u/{address.channel.split('/')[0]}/#"
        assert (root in patterns) == (channel.writer == "device"), channel.topic
