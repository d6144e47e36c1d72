"""What users read is plain English, and names say a rate with "per".

The tables are the project's style: on the left a phrase or name that is not used, on the right what to write
instead. They are searched in the documentation, the changelog, the reference (the configuration and the REST
interface included), the help of all commands, and in docstrings.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import edge_agent.cli
import edge_convert.cli
import edge_hub.cli

ROOT = Path(__file__).parents[2]
PACKAGES = ("edge_agent/", "tools/edge_convert/", "tools/edge_hub/")

PHRASES = {
    r"words? of presence": "heartbeat, presence message",
    r"in silence: gone": "a device that is silent for 1.5 intervals is considered gone",
    r"takes? the device for gone": "considers the device gone",
    r"certificates to believe": "CA certificate file",
    r"takes the system's": "uses the system's",
    r"will hurt": "check for common problems",
    r"and what helps": "suggest fixes",
    r"nobody foresaw": "unhandled exception",
    r"done in order, nothing before": "ordered effects",
    r"what it rests on": "what it depends on",
    r"who hears": "a device that receives",
    r"the hub's word": "the hub's confirmation",
    r"the broker's word": "the broker's acknowledgement",
    r"what is odd": "invalid input",
    r"anything odd": "an invalid value",
    r"takes? note of": "set, record",
    r"whom (the device|it) obeys": "the keys that it trusts",
    r"obeys nobody": "accepts no commands",
    r"change a mind": "change a belief",
    r"as it must be": "say what is expected",
    r"of no use": "cannot be used",
    r"nobody expected": "unhandled",
    r"word of (presence|mouth)": "heartbeat",
    r"(bytes|steps|ticks|messages|records|readings|actions|µs|kb|mb|kwh|times|once|twice) an? "
    r"(agent|tick|second|minute|hour|day|device|topic|step|message|sample|room)\b": "per",
}
"""Phrase (a regular expression, any case) → what to write instead."""

NAMES = {
    "agenda": "effect_queue",
    "announcing": "home_assistant",
    "follower": "hub_client",
    "following": "hub_driver",
    "fusing": "shared_factors",
    "governing": "governor_driver",
    "intake": "inputs",
    "keeper": "state_store",
    "lending": "loans",
    "linking": "compose_hub",
    "obey": "run_command",
    "obeying": "command_handlers",
    "overhear": "listen_pattern",
    "Holding": "HeldTicks",
    "parcel": "block_buffer, loan_payload",
    "peering": "coordinator",
    "signs": "readings, board_sensors",
    "stepper": "model_port",
    "stepping": "tick",
    "tape": "recording_file",
    "wiring": "compose_io",
    "withheld": "held_back, lazy_imports",
    "workshop": "bundle_worker",
}
"""Name of a module, class, function, variable or attribute → what it is called instead."""

MODULES = {
    "alike": "outcome_classes",
    "commands/composition": "compose",
    "commands/linking": "compose_hub",
    "examination": "doctor_checks",
    "files": "durable_files",
    "fusion": "bayes_fusion",
    "handover": "kernel_args, loan_protocol, loan",
    "holding": "safe_state",
    "link": "mqtt_dispatch",
    "merging": "plan_classes",
    "mixed": "merged_controls",
    "order": "job",
    "protocol/commands": "command_guard",
    "shared": "shared_factors",
    "sharing": "evidence_exchange",
    "state": "durable_files",
    "store": "outbox_store, hub_folder",
    "testing/trio": "three_devices",
    "utils": "the name of its subject",
}
"""Module (the end of its path) → what it is called instead; some of these words are good for variables."""

RATE = re.compile(r"\b\w*_an?_(agent|tick|day|device|topic|second|minute|step|message)s?\b", re.IGNORECASE)


FOLDERS = ("benchmarks", "docs", "edge_agent", "examples", "firmware_profiles", "systemd", "tests", "tools")


def tracked(*patterns: str) -> list[str]:
    """Return the files of the repository that match ``patterns``; a copy has no history to ask."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = [path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts]
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns))


def modules() -> list[str]:
    """Return the Python files of the three distributions."""
    return [path for path in tracked("*.py") if path.startswith(PACKAGES)]


def docstrings(path: str) -> str:
    """Return all strings of a file that stand alone: docstrings of modules, classes, functions and fields."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    texts = (node.value.value for node in nodes if isinstance(node, ast.Expr) and _is_text(node.value))
    return "\n\n".join(str(text) for text in texts)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def names(path: str) -> Iterator[str]:
    """Yield the names that a file defines or uses, without underscores in front."""
    yield Path(path).stem
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value.lstrip("_")


def helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield each command of a program with its help."""
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from helps(command)


def faults(text: str) -> list[str]:
    """Return the phrases of the table in a text, with what to write instead."""
    words = " ".join(text.split())
    return [
        f"{found.group()!r}: write {instead!r}"
        for phrase, instead in PHRASES.items()
        for found in re.finditer(rf"\b{phrase}", words, re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", tracked("*.md", "docs/*.json"))
def test_the_documentation_is_in_plain_english(path: str) -> None:
    assert faults((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    "program", [edge_agent.cli, edge_convert.cli, edge_hub.cli], ids=lambda m: m.__name__
)
def test_the_help_of_every_command_is_in_plain_english(program: object) -> None:
    parser = program.parser()  # type: ignore[attr-defined]
    assert {command: found for command, text in helps(parser) if (found := faults(text))} == {}


def test_docstrings_are_in_plain_english() -> None:
    paths = [path for path in tracked("*.py") if not path.startswith("tests/")]
    found = {path: faults(docstrings(path)) for path in paths}
    assert {path: texts for path, texts in found.items() if texts} == {}


def test_names_are_the_terms_of_the_field() -> None:
    found = {path: sorted(set(names(path)) & set(NAMES)) for path in modules()}
    assert {path: [f"{n}: {NAMES[n]}" for n in used] for path, used in found.items() if used} == {}


def test_modules_are_called_what_a_user_would_search_for() -> None:
    paths = [path.removesuffix(".py") for path in modules()]
    found = {path: MODULES[name] for path in paths for name in MODULES if f"/{path}".endswith(f"/{name}")}
    assert found == {}


def test_identifiers_name_rates_with_per() -> None:
    files = tracked("*.py", "*.pyi", "*.c", "*.h", "*.toml", "*.json", "*.sh", "README.md", "docs/*.md")
    found = {
        path: sorted({m.group() for m in RATE.finditer(text) if not m.group().startswith("test_")})
        for path in files
        if (text := (ROOT / path).read_text(errors="replace"))
    }
    assert {path: used for path, used in found.items() if used} == {}


@pytest.mark.parametrize("text", ["Bytes an agent.", "What is\nodd is counted.", "Steps a second"])
def test_a_phrase_of_the_table_is_found(text: str) -> None:
    assert len(faults(text)) == 1


@pytest.mark.parametrize("text", ["Bytes per agent.", "5 seconds a longer text", "A file is a device."])
def test_other_text_is_not_refused(text: str) -> None:
    assert faults(text) == []
