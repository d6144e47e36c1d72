"""Checks configuration and profile with pydantic; runs as a child process that exits (`python -m`).

Theory of operation. The records of ``config.records`` and ``config.profile`` say what is allowed. The file
is read as TOML and checked in pydantic's strict mode, so that no text is taken for a number. The first thing
that is wrong becomes one line: file, key, what was found, what was expected. What is right is printed as
JSON, complete with defaults and with absolute paths. pydantic's 10 MB leave with the process.

A population that a hub asks for is checked by the same rules (``--population``: JSON comes in), and may do
less: it observes and acts over MQTT alone and shares nothing with peers: a hub's key opens no files and runs
no programs.

Usage: ``python -m edge_agent.config.checks CONFIG [--profile NAME]``, or ``--population``; exit status 0
or 2.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_agent.config import bounds, peer_records, profile, records, telemetry_records
from edge_agent.config.peer_checks import check_peers, resolve_peers
from edge_agent.config.profile import Profile
from edge_agent.config.pydantic_errors import problem_line
from edge_agent.config.records import Config, PopulationConfig
from edge_agent.config.remote import laid_over
from edge_agent.config.telemetry_checks import check_telemetry, resolve_telemetry
from edge_agent.config.templates import check_fields
from edge_agent.errors import ConfigError, EdgeAgentError
from edge_agent.wire.package import POPULATION
from edge_agent.wire.population_topics import check_population_topics
from edge_agent.wire.topics import check_name, topic_fault

PROFILE_DIRECTORIES = (
    Path(__file__).parents[1] / "firmware_profiles",  # installed
    Path(__file__).parents[2] / "firmware_profiles",  # a source tree
)
_LEVELS = re.compile(r"[^+#/\0]+(/[^+#/\0]+)*")
_OBJECT = re.compile(r"[A-Za-z0-9_-]+")


def checked_records() -> None:
    """Make the names of ``config.bounds`` known where annotations use them: pydantic looks them up there."""
    for module in (records, peer_records, profile, telemetry_records):
        vars(module).update({name: kind for name, kind in vars(bounds).items() if not name.startswith("_")})
    sections = (
        peer_records.PeersConfig,
        peer_records.ObjectiveConfig,
        peer_records.ShareConfig,
        telemetry_records.TelemetryConfig,
    )
    vars(records).update({section.__name__: section for section in sections})


def compile_files(
    path: Path, profile_name: str | None, remote: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return ``{"config": ..., "profile": ..., "profile_path": ...}``, checked and complete.

    ``remote`` are values that a hub set (`config.remote`); they are checked as if the file had them.

    Raises
    ------
    ConfigError
        One line: file, key, what was found, what was expected.
    """
    checked_records()
    adapter = TypeAdapter(Config)
    document = _checked(adapter, path)
    if remote:
        document = laid_over(document, remote)
        try:
            checked = adapter.validate_json(json.dumps(document), strict=True)
        except ValidationError as error:
            raise ConfigError(f"configuration: {problem_line(document, error)}") from error
        document = adapter.dump_python(checked, mode="json")
    board = find_profile(profile_name or document["device"]["profile"], path)
    _resolve(document, path.absolute().parent)
    _check_rules(document, path)
    return {
        "config": document,
        "profile": _checked(TypeAdapter(Profile), board),
        "profile_path": str(board),
    }


def check_population(document: dict[str, Any]) -> dict[str, Any]:
    """Return a population that a hub asks for, checked and complete.

    Raises
    ------
    ConfigError
        One line: key, what was found, what was expected.
    """
    checked_records()
    try:
        checked = TypeAdapter(PopulationConfig).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise ConfigError(f"config: {problem_line(document, error)}") from error
    population: dict[str, Any] = TypeAdapter(PopulationConfig).dump_python(checked, mode="json")
    _check_text(population, "config")
    check_name(population["name"], "config.name")
    _check_population(population, "config")
    if population["share"]:
        raise ConfigError(f"config.share: found {len(population['share'])} factors, expected none from a hub")
    for key, outlet in (("observe", "source"), ("act", "sink")):
        for index, entry in enumerate(population[key]):
            if entry[outlet] != "mqtt":
                raise ConfigError(
                    f"config.{key}[{index}].{outlet}: found {entry[outlet]!r}, expected 'mqtt' from a hub"
                )
    for index, act in enumerate(population["act"]):
        _check_act(act, f"config.act[{index}]", ())
    check_population_topics(population, population["name"], "config")
    return population


def find_profile(name: str, config: Path) -> Path:
    """Return the file of profile ``name``: one of the shipped ones, or a path seen from ``config``."""
    if name.endswith(".toml"):
        path = config.absolute().parent / name
        if path.is_file():
            return path
        raise ConfigError(f"{config}: device.profile: found {name!r}, and there is no such file")
    shipped: list[str] = []
    for directory in PROFILE_DIRECTORIES:
        if (directory / f"{name}.toml").is_file():
            return directory / f"{name}.toml"
        shipped += sorted(path.stem for path in directory.glob("*.toml"))
    raise ConfigError(f"{config}: device.profile: found {name!r}, expected one of {', '.join(shipped)}")


def _checked(adapter: TypeAdapter[Any], path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        checked = adapter.validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{path}: {problem_line(document, error)}") from error
    return dict(adapter.dump_python(checked, mode="json"))


def _resolve(document: dict[str, Any], base: Path) -> None:
    device, broker = document["device"], document["broker"] or {}
    tables = [(device, ("state_dir", "socket")), (document["recorder"], ("path",))]
    tables += [(broker, ("password_file", "ca_file", "cert_file", "key_file"))]
    for population in document["population"]:
        tables.append((population, ("bundle",)))
        tables += [(item, ("path",)) for item in (*population["observe"], *population["act"])]
    for table, keys in tables:
        for key in keys:
            if table.get(key):
                table[key] = str(base / table[key])
    resolve_peers(document, base)
    resolve_telemetry(document, base)
    for role in ("keys", "release_keys"):
        document["hub"][role] = [str(base / key) for key in document["hub"][role]]


def _check_hub_keys(hub: dict[str, Any]) -> None:
    for role, key in (("keys", "threshold"), ("release_keys", "release_threshold")):
        keys = set(hub[role])
        if keys and hub[key] > len(keys):
            raise ConfigError(f"hub.{key}: found {hub[key]}, expected at most {len(keys)}, the {role}")
    if hub["release_keys"] and not hub["keys"]:
        raise ConfigError("hub.keys: found none, expected the director's keys beside hub.release_keys")


def _check_rules(document: dict[str, Any], path: Path) -> None:
    """Check what no single key can say."""
    try:
        _check_text(document)
        check_name(document["device"]["name"], "device.name")
        check_name(document["device"]["fleet"], "device.fleet")
        _check_announced(document)
        _check_hub_keys(document["hub"])
        names: set[str] = set()
        for number, population in enumerate(document["population"]):
            key = f"population[{number}]"
            if check_name(population["name"], f"{key}.name") in names:
                raise ConfigError(f"{key}.name: found {population['name']!r} twice, expected unique names")
            names.add(population["name"])
            _check_population(population, key)
            if population["home_assistant"] and not (document["broker"] or {}).get("home_assistant"):
                raise ConfigError(
                    f"{key}.home_assistant: found a table, expected none without broker.home_assistant"
                )
            for index, act in enumerate(population["act"]):
                _check_act(act, f"{key}.act[{index}]", document["commands"])
            check_population_topics(population, population["name"], key)
        check_peers(document)
        check_telemetry(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _check_announced(document: dict[str, Any]) -> None:
    """Check that Home Assistant can be told: its topics are narrower than ours."""
    prefix = (document["broker"] or {}).get("home_assistant", "")
    if not prefix:
        return
    if topic_fault(prefix) or not _LEVELS.fullmatch(prefix):
        raise ConfigError(f"broker.home_assistant: found {prefix!r}, expected a topic without '+' and '#'")
    for key in ("name", "fleet"):
        if not _OBJECT.fullmatch(document["device"][key]):
            raise ConfigError(
                f"device.{key}: found {document['device'][key]!r}, "
                "expected letters, digits, '-' and '_' with broker.home_assistant"
            )


def _check_population(population: dict[str, Any], key: str) -> None:
    if population["name"] == POPULATION:
        raise ConfigError(
            f"{key}.name: found {POPULATION!r}, expected another: it is for updates of the daemon"
        )
    agents, size = population["agents"], population["size"]
    if isinstance(agents, str):
        check_fields(agents, f"{key}.agents", {"index", "population"})
        if size == 0:
            raise ConfigError(f"{key}.size: missing, expected the number of agents or a list of agents")
    elif size not in (0, len(agents)):
        raise ConfigError(f"{key}.size: found {size}, expected {len(agents)}, the length of agents")
    elif len(set(agents)) != len(agents):
        raise ConfigError(f"{key}.agents: found a name twice, expected unique names")
    if population["bulk"] and (population["home_assistant"] or {}).get("override_s"):
        raise ConfigError(
            f"{key}.home_assistant.override_s: found {population['home_assistant']['override_s']:g}, "
            "expected 0 with bulk: bulk messages carry the agents' own decisions"
        )
    reduced = {
        entry["modality"]: entry["reduce"] for entry in population["observe"] if entry["reduce"] != "last"
    }
    for index, observe in enumerate(population["observe"]):
        place = f"{key}.observe[{index}]"
        needed = {"mqtt": "topic", "file": "path", "trace": "path", "plugin": "plugin"}[observe["source"]]
        if not observe[needed]:
            raise ConfigError(f"{place}.{needed}: missing, expected a value for source {observe['source']!r}")
        if observe["pointer"] and not observe["pointer"].startswith("/"):
            raise ConfigError(f"{place}.pointer: found {observe['pointer']!r}, expected it to begin with '/'")
        if observe["stamp"] and (observe["source"] != "mqtt" or not observe["stamp"].startswith("/")):
            raise ConfigError(
                f"{place}.stamp: found {observe['stamp']!r}, expected it to begin with '/', and source 'mqtt'"
            )
        if observe["reduce"] != "last" and observe["source"] != "mqtt":
            raise ConfigError(
                f"{place}.reduce: found {observe['reduce']!r}, expected source 'mqtt', "
                f"not {observe['source']!r}"
            )
        check_fields(observe["topic"], f"{place}.topic", {"agent", "index", "population"})
        check_fields(observe["path"], f"{place}.path", {"agent", "index", "population"})
        _check_uncertainty(observe, place, reduced)
        for item, source in enumerate(observe["availability"]):
            where = f"{place}.availability[{item}]"
            if observe["source"] != "mqtt":
                raise ConfigError(f"{where}: found with source {observe['source']!r}, expected source 'mqtt'")
            if source["pointer"] and not source["pointer"].startswith("/"):
                raise ConfigError(
                    f"{where}.pointer: found {source['pointer']!r}, expected it to begin with '/'"
                )
            check_fields(source["topic"], f"{where}.topic", {"agent", "index", "population"})


def _check_uncertainty(observe: dict[str, Any], place: str, reduced: dict[str, str]) -> None:
    """Check what says that observations are distributions over outcomes; ``reduced`` names the modalities of
    which the mean or the largest reading counts.
    """
    keys = ("probabilities", "uncertainty", "uncertainty_pointer")
    stated = [key for key in keys if observe[key]]
    if not stated:
        return
    if observe["source"] != "mqtt":
        raise ConfigError(
            f"{place}.{stated[0]}: found with source {observe['source']!r}, expected source 'mqtt'"
        )
    if observe["modality"] in reduced:
        found = f"found with reduce {reduced[observe['modality']]!r} of modality {observe['modality']}"
        raise ConfigError(f"{place}.{stated[0]}: {found}, expected reduce 'last'")
    others = [*stated[1:], *(k for k in ("scale", "offset", "values") if observe[k] not in (1.0, 0.0, {}))]
    if observe["probabilities"] and others:
        raise ConfigError(f"{place}.probabilities: found with {others[0]}, expected it alone")
    pointer = observe["uncertainty_pointer"]
    if pointer and not pointer.startswith("/"):
        raise ConfigError(f"{place}.uncertainty_pointer: found {pointer!r}, expected it to begin with '/'")


def _check_text(value: Any, key: str = "") -> None:
    """Check that no path, name or host has a NUL, which no system call takes; payloads may."""
    if isinstance(value, str) and "\0" in value and not key.endswith(".template"):
        raise ConfigError(f"{key}: found a NUL character in {value[:80]!r}, expected none")
    if isinstance(value, dict):
        for name, item in value.items():
            _check_text(item, f"{key}.{name}" if key else name)
    if isinstance(value, list):
        for number, item in enumerate(value):
            _check_text(item, f"{key}[{number}]")


def _check_act(act: dict[str, Any], key: str, commands: Sequence[str]) -> None:
    needed = {"mqtt": "topic", "file": "path", "command": "command", "plugin": "plugin"}[act["sink"]]
    if not act[needed]:
        raise ConfigError(f"{key}.{needed}: missing, expected a value for sink {act['sink']!r}")
    places = {"agent", "index", "population"}
    check_fields(act["topic"], f"{key}.topic", places)
    check_fields(act["path"], f"{key}.path", places)
    check_fields(act["template"], f"{key}.template", places | {"value", "action"})
    for word in act["command"]:
        check_fields(word, f"{key}.command", places | {"value"})
    if act["command"] and act["command"][0] not in commands:
        raise ConfigError(f"{key}.command: {act['command'][0]!r} is not listed in commands")


def main(arguments: Sequence[str]) -> int:
    """Print the checked files as JSON, or one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m edge_agent.config.checks", description=__doc__)
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--population", action="store_true")
    parser.add_argument("--profile", default=None)
    parser.add_argument("--remote", action="store_true", help="standard input has what a hub set, as JSON")
    options = parser.parse_args(arguments)
    try:
        if options.population:
            compiled = check_population(json.load(sys.stdin))
        else:
            remote = json.load(sys.stdin) if options.remote else None
            compiled = compile_files(options.config, options.profile, remote)
    except EdgeAgentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    json.dump(compiled, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
