"""A bad configuration is one line that names file, key, what was found and what was expected."""

import json
import re
from pathlib import Path

import pytest

from edge_agent.config import profile, records
from edge_agent.config.checks import PROFILE_DIRECTORIES, check_population, compile_files, main
from edge_agent.errors import ConfigError

DEVICE = '[device]\nname = "a"\n'
POPULATION = '[[population]]\nname = "p"\nbundle = "b.eab"\n'
SHOWN = '[broker]\nhome_assistant = "ha"\n'
SIZED = DEVICE + POPULATION + "size = 2\n"
OBSERVE = SIZED + "[[population.observe]]\n"
SERIES = SIZED + '[broker]\n[[telemetry]]\npopulation = "p"\n'
ACT = SIZED + "[[population.act]]\n"

BAD = [
    (SERIES.replace("[broker]\n", ""), "broker: missing, expected where there is telemetry"),
    (SERIES, "telemetry[0]: found nothing to send, expected one of readings"),
    (SERIES.replace('population = "p"', 'population = "q"'), "telemetry[0].population: found 'q'"),
    (SERIES + 'beliefs = ["air"]', "telemetry[0].beliefs[0]: found 'air', expected FACTOR=STATE"),
    (SERIES + 'figures = ["heat"]', 'telemetry[0].figures[0]: found "heat", expected'),
    (SERIES + "interval_s = 0.01", "telemetry[0].interval_s: found 0.01, expected"),
    (SERIES + 'reading = ["co2"]', "telemetry[0].reading: unknown key"),
    (SERIES + '[[telemetry.figure]]\nname = "a"', "telemetry[0].figure[0]: found neither of path and topic"),
    (
        SERIES + '[[telemetry.figure]]\nname = "a"\ntopic = "t"\npath = "f"',
        "telemetry[0].figure[0]: found both of path and topic",
    ),
    (SERIES + '[[telemetry.figure]]\nname = "a"\ntopic = "a/#"', "telemetry[0].figure[0].topic: found 'a/#'"),
    (
        SERIES + '[[telemetry.figure]]\nname = "a"\npath = "f"\npointer = "/x"',
        "telemetry[0].figure[0].pointer: found '/x'",
    ),
    (
        SERIES + '[[telemetry.figure]]\nname = "a"\npath = "f{room}"',
        "telemetry[0].figure[0].path: found {room}",
    ),
    ("", "device: missing"),
    ("[device", "not TOML"),
    ("a = " + "[" * 100_000, "not TOML"),
    (DEVICE, "population: missing"),
    ("population = []\n" + DEVICE, "population: found [], expected"),
    ("population = 3\n" + DEVICE, "population: found 3, expected a list"),
    ("[device]\n" + POPULATION + "size = 1", "device.name: missing"),
    ('[device]\nname = ""\n' + POPULATION + "size = 1", 'device.name: found "", expected'),
    ('[device]\nname = "peer"\n' + POPULATION + "size = 1", "device.name: 'peer' is a reserved name"),
    ('[device]\nname = "a/b"\n' + POPULATION + "size = 1", "device.name: found 'a/b'"),
    ('[device]\nname = "a"\ncolour = 1\n' + POPULATION + "size = 1", "device.colour: unknown key"),
    ('[device]\nname = "a"\nprofile = "moon"\n' + POPULATION + "size = 1", "device.profile: found 'moon'"),
    ('[device]\nname = "a"\nprofile = "x.toml"\n' + POPULATION + "size = 1", "there is no such file"),
    (
        '[device]\nname = "a"\nmemory_mb = "64"\n' + POPULATION,
        'memory_mb: found "64", expected a whole number',
    ),
    ('[device]\nname = "a"\nsocket_mode = "66"\n' + POPULATION, "device.socket_mode: found"),
    ('[device]\nname = "a"\nsocket_mode = "0999"\n' + POPULATION, "device.socket_mode: found"),
    (
        '[device]\nname = "a"\ncheckpoint_s = 0\n' + POPULATION,
        "checkpoint_s: found 0, expected greater than 0",
    ),
    (DEVICE + '[broker]\nhost = ""\n' + POPULATION, 'broker.host: found ""'),
    (DEVICE + "[broker]\nport = 0\n" + POPULATION, "broker.port: found 0, expected greater"),
    (DEVICE + "[broker]\nport = 70000\n" + POPULATION, "broker.port: found 70000, expected less"),
    (DEVICE + "[broker]\nport = true\n" + POPULATION, "broker.port: found true, expected a whole number"),
    (
        DEVICE + '[broker]\nhome_assistant = "a/#"\n' + SIZED.removeprefix(DEVICE),
        "broker.home_assistant: found",
    ),
    (
        '[device]\nname = "a.b"\n[broker]\nhome_assistant = "ha"\n' + SIZED.removeprefix(DEVICE),
        "device.name: found 'a.b', expected letters",
    ),
    (
        SIZED + "\n[population.home_assistant]\nagents = 1",
        "population[0].home_assistant: found a table, expected none without broker.home_assistant",
    ),
    (
        DEVICE + SHOWN + POPULATION + "size = 2\nbulk = true\n[population.home_assistant]\noverride_s = 60.0",
        "population[0].home_assistant.override_s: found 60, expected 0 with bulk",
    ),
    (
        DEVICE + SHOWN + POPULATION + "size = 2\n[population.home_assistant]\nagents = 0",
        "population[0].home_assistant.agents: found 0, expected greater than or equal to 1",
    ),
    (DEVICE + POPULATION, "population[0].size: missing"),
    (DEVICE + POPULATION + "size = -1", "population[0].size: found -1"),
    (
        DEVICE + POPULATION + 'size = 2\nstep = "often"',
        "population[0].step: found \"often\", expected 'rate'",
    ),
    (DEVICE + POPULATION + "size = 2\nrate_hz = inf", "population[0].rate_hz: found Infinity"),
    (DEVICE + POPULATION + "size = 2\nrate_hz = nan", "population[0].rate_hz: found NaN"),
    (DEVICE + POPULATION + "size = 2\nseed = 1.5", "population[0].seed: found 1.5"),
    (DEVICE + POPULATION + 'agents = ["x", "x"]', "population[0].agents: found a name twice"),
    (DEVICE + POPULATION + 'size = 3\nagents = ["x", "y"]', "population[0].size: found 3, expected 2"),
    (DEVICE + POPULATION + "agents = [1, 2]", "population[0].agents[0]: found 1, expected text"),
    (DEVICE + POPULATION + 'size = 2\nagents = "r{number}"', "population[0].agents: found {number}"),
    (DEVICE + POPULATION + 'size = 2\nagents = "r{index:9999999999}"', "agents: found {index:9999999999}"),
    (DEVICE + POPULATION + 'size = 2\nagents = "r{index:s}"', "population[0].agents: found {index:s}"),
    (DEVICE + POPULATION + 'size = 2\nagents = "{population:9}"', "agents: found {population:9}"),
    (SIZED + POPULATION + "size = 2", "population[1].name: found 'p' twice"),
    (OBSERVE + 'topic = "t"', "population[0].observe[0].modality: missing"),
    (OBSERVE + 'modality = "m"', "population[0].observe[0].topic: missing"),
    (OBSERVE + 'modality = "m"\nsource = "file"', "population[0].observe[0].path: missing"),
    (OBSERVE + 'modality = "m"\ntopic = "t"\npointer = "co2"', "observe[0].pointer: found 'co2'"),
    (OBSERVE + 'modality = "m"\ntopic = "t/{room}"', "observe[0].topic: found {room}"),
    (OBSERVE + 'modality = "m"\ntopic = "t/{agent"', "observe[0].topic: found 't/{agent'"),
    (OBSERVE + 'modality = "m"\ntopic = "t"\nstale_s = 0', "observe[0].stale_s: found 0"),
    (ACT + 'control = "c"\ntopic = "t"\ntemplate = "{x}"', "act[0].template: found {x}"),
    (ACT + 'control = "c"\nsink = "command"\ncommand = ["/bin/true"]', "is not listed in commands"),
    (ACT + 'control = "c"\nqos = 2\ntopic = "t"', "act[0].qos: found 2, expected 0 or 1"),
]


PEERS = '[device]\nname = "a"\n[broker]\n[peers]\n'
OBJECTIVE = PEERS + '[[objective]]\nname = "o"\n'
ROLE = '[[objective.role]]\nname = "r"\ncapability = "c"\n'
P2 = POPULATION + "size = 2\n"
SHARE = PEERS + P2 + "[[population.share]]\n"
BAD += [
    (DEVICE + "[peers]\n" + P2, "broker: missing, expected where there are peers"),
    (DEVICE + "[[objective]]\nname='o'\n" + ROLE + P2, "peers: missing, expected where there are objectives"),
    (
        SIZED + "[[population.share]]\nfactor='f'",
        "peers: missing, expected where there are objectives or shared",
    ),
    (PEERS + "heartbeat_s = 0\n" + P2, "peers.heartbeat_s: found 0, expected greater than 0"),
    (PEERS + "window = 65\n" + P2, "peers.window: found 65, expected less than or equal to 64"),
    (PEERS + "colour = 1\n" + P2, "peers.colour: unknown key"),
    (
        PEERS + 'place = "x"\nat_m = [1.0, 2.0]\n' + P2,
        "peers.at_m: found beside place, expected one position",
    ),
    (PEERS + "lat_lon = [91.0, 0.0]\n" + P2, "peers.lat_lon: found [91.0, 0.0], expected latitude"),
    (PEERS + "at_m = [9e9, 0.0]\n" + P2, "peers.at_m: found [9000000000.0, 0.0], expected at most"),
    (PEERS + 'h3 = "zzz"\n' + P2, "peers.h3: found 'zzz', expected 15 hexadecimal digits"),
    (PEERS + "at_m = [1.0]\n" + P2, "peers.at_m[1]: missing"),
    (PEERS + 'keys = { b = "b.pub" }\n' + P2, "peers.key_file: missing, expected this device's key"),
    (PEERS + 'key_file = "k"\nkeys = { "a/b" = "x" }\n' + P2, "peers.keys: found 'a/b'"),
    (OBJECTIVE + P2, "objective[0].role: missing"),
    (OBJECTIVE + "reach = 3\n" + ROLE + P2, "objective[0].reach: found 3, expected a position"),
    (OBJECTIVE + ROLE + ROLE + P2, "objective[0].role[1].name: found 'r' twice"),
    (OBJECTIVE + ROLE + "[[objective]]\nname = 'o'\n" + ROLE + P2, "objective[1].name: found 'o' twice"),
    (
        OBJECTIVE + "synergy = [['r', 'q', 1]]\n" + ROLE + P2,
        "objective[0].synergy[0]: found 'q', expected one of r",
    ),
    (SHARE + "factor = 'f'\nchannel = '{room}'", "share[0].channel: found {room}, expected {agent}"),
    (SHARE + "factor = 'f'\n[[population.share]]\nfactor = 'f'", "share[0].factor: found 'f' twice"),
    (
        PEERS + P2 + "rate_hz = 2\nshare = [{factor = 'f'}]",
        "rate_hz: found 2, expected 1: a step each fleet tick",
    ),
    (
        PEERS + P2 + "share = [{factor = 'f'}]\nobserve = [{modality = 'm', topic = 't', uncertainty = 1.0}]",
        "observe[0].uncertainty: found 1.0, expected none where a factor is shared",
    ),
    (
        OBSERVE + 'modality = "m"\nsource = "file"\npath = "/x"\nuncertainty = 1.0',
        "observe[0].uncertainty: found with source 'file', expected source 'mqtt'",
    ),
    (
        OBSERVE + 'modality = "m"\ntopic = "t"\nuncertainty = 1.0\nreduce = "mean"',
        "observe[0].uncertainty: found with reduce 'mean' of modality m, expected reduce 'last'",
    ),
    (
        OBSERVE
        + 'modality = "m"\ntopic = "t"\nprobabilities = true\n'
        + "[[population.observe]]\n"
        + 'modality = "m"\ntopic = "u"\nreduce = "max"',
        "observe[0].probabilities: found with reduce 'max' of modality m, expected reduce 'last'",
    ),
    (
        OBSERVE + 'modality = "m"\ntopic = "t"\nprobabilities = true\nvalues = { a = 1 }',
        "observe[0].probabilities: found with values, expected it alone",
    ),
    (PEERS + P2 + "step = 'arrival'\nshare = [{factor = 'f'}]", "step: found 'arrival', expected 'rate'"),
    (PEERS + POPULATION + "size = 500\nshare = [{factor = 'f'}]", "size: found 500, expected at most 256"),
    (PEERS + f'place = "{"x" * 500}"\n' + P2, "peers.place: found 500 characters, expected at most"),
    (PEERS + f'capabilities = ["{"x" * 500}"]\n' + P2, "peers.capabilities: found 'xxxxxxxxxxxxxxxxxxxx'..."),
    (PEERS + f"capabilities = {['x'] * 500}\n" + P2, "peers.capabilities: found 500, expected at most"),
    (SHARE + "factor = 'f'\ncontroller = 'a/b'", "share[0].controller: found 'a/b'"),
    ('[device]\nname = "a"\nfleet = "f/#"\n' + POPULATION + "size = 1", "device.fleet: found 'f/#'"),
    (DEVICE + '[[population]]\nname = "p+"\nbundle = "b"\nsize = 1', "population[0].name: found 'p+'"),
    (DEVICE + POPULATION + 'agents = ["x", "a/b"]', "population[0].agents[1]: found 'a/b'"),
    (DEVICE + POPULATION + 'agents = ["a+"]', "population[0].agents[0]: found 'a+'"),
    (DEVICE + POPULATION + 'agents = ["#"]', "population[0].agents[0]: found '#'"),
    (DEVICE + POPULATION + 'agents = ["a\\u0000"]', "population[0].agents[0]: found a NUL"),
    (DEVICE + POPULATION + 'agents = ["a\\u001f"]', "population[0].agents[0]: found 'a\\x1f'"),
    (DEVICE + POPULATION + 'size = 2\nagents = "{population}/{index}"', "population[0].agents: found 'p/0'"),
    (DEVICE + POPULATION + 'size = 2\nagents = "#{index}"', "population[0].agents: found '#0'"),
    (OBSERVE + 'modality = "m"\ntopic = "z/+/co2"', "population[0].observe[0].topic: found 'z/+/co2'"),
    (OBSERVE + 'modality = "m"\ntopic = "z/#"', "population[0].observe[0].topic: found 'z/#'"),
    (OBSERVE + 'modality = "m"\ntopic = "z\\u0000"', "population[0].observe[0].topic: found a NUL"),
    (OBSERVE + f'modality = "m"\ntopic = "{"é" * 32768}"', "a topic has 1 to 65535 bytes, this one 65536"),
    (ACT + 'control = "c"\ntopic = "z/{agent}/#"', "population[0].act[0].topic: found 'z/{agent}/#'"),
    (ACT + 'control = "c"\ntopic = "z+"', "population[0].act[0].topic: found 'z+'"),
    (ACT + 'control = "c"\ntopic = "z/\\uffff"', "population[0].act[0].topic: found 'z/\\uffff'"),
    (
        ACT + f'control = "c"\ntopic = "{{agent}}{"x" * 65533}"',
        "a topic has 1 to 65535 bytes, this one 65536",
    ),
    (DEVICE + '[[population]]\nname = "p"\nbundle = "b\\u0000"\nsize = 2', "bundle: found a NUL"),
]
GOOD = (
    OBSERVE + 'modality = "m"\ntopic = "z2m/Living room/{agent}"',
    OBSERVE + 'modality = "m"\ntopic = "/z//ä"',
    ACT + f'control = "c"\ntopic = "{{agent}}{"x" * 65532}"',
    ACT + 'control = "c"\ntopic = "z"\ntemplate = "\\u0000#+"',
    DEVICE + POPULATION + 'agents = ["Küche 1", "b.c-d"]',
    OBSERVE + 'modality = "m"\nsource = "file"\npath = "/sys/#+"',
)


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_each_mistake_is_one_line_that_names_its_place(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "device.toml"
    path.write_text(text)
    assert main([str(path)]) == ConfigError.exit_code
    out, line = capsys.readouterr()
    assert out == ""
    assert line.count("\n") == 1
    assert line.startswith(f"{path}: ")
    assert expected in line


@pytest.mark.parametrize("text", GOOD)
def test_names_and_topics_that_mqtt_allows_are_taken(text: str, tmp_path: Path) -> None:
    (tmp_path / "device.toml").write_text(text)
    compile_files(tmp_path / "device.toml", None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"agents": ["a", "b/c"]}, "config.agents[1]: found 'b/c'"),
        ({"agents": "+{index}", "size": 2}, "config.agents: found '+0'"),
        ({"act": [{"control": "c", "topic": "z/#"}]}, "config.act[0].topic: found 'z/#'"),
        ({"observe": [{"modality": "m", "topic": "z\0"}]}, "config.observe[0].topic: found a NUL"),
        ({"bundle": "b\0"}, "config.bundle: found a NUL"),
        ({"name": "p/#"}, "config.name: found 'p/#'"),
    ],
)
def test_a_population_of_the_hub_obeys_the_same_rules(change: dict[str, object], expected: str) -> None:
    population = {"name": "p", "bundle": "b.eab", "agents": ["a"]}
    assert check_population(dict(population))["name"] == "p"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        check_population(population | change)


def test_a_missing_file_and_a_binary_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        compile_files(tmp_path / "none.toml", None)
    path = tmp_path / "device.toml"
    path.write_bytes(b"name = \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        compile_files(path, None)


def test_what_is_right_comes_back_complete_with_absolute_paths(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    path.write_text(OBSERVE + 'modality = "m"\ntopic = "t/{agent}"\npointer = "/co2"\n')
    compiled = json.loads(json.dumps(compile_files(path, "pi4b")))
    built = records.build(compiled["config"])
    assert built.population[0].bundle == str(tmp_path / "b.eab")
    assert built.population[0].observe[0].pointer == "/co2"
    assert built.broker is None
    assert profile.build(compiled["profile"]).board == "Raspberry Pi 4 Model B"


@pytest.mark.parametrize("path", sorted(PROFILE_DIRECTORIES[1].glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid_and_ordered(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    file.write_text(SIZED)
    board = profile.build(compile_files(file, path.stem)["profile"])
    assert board.thermal.warm_c < board.thermal.hot_c <= board.thermal.limit_c
    assert board.threads <= board.cores
    assert all(re.search(r"[a-z]", source) for source in board.sources)
