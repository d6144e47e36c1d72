"""The shape of the house: no import circles, one meaning a name, files of one subject, paths that exist."""

from __future__ import annotations

import ast
import re
import statistics
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

from edge_agent.version import __version__

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    "edge_agent": ROOT / "edge_agent",
    "edge_convert": ROOT / "tools" / "edge_convert",
    "edge_hub": ROOT / "tools" / "edge_hub",
}
PROJECTS = (
    ROOT / "pyproject.toml",
    ROOT / "tools" / "edge_convert" / "pyproject.toml",
    ROOT / "tools" / "edge_hub" / "pyproject.toml",
)

SAME_NAME = {
    "edge_agent": {
        "governor": "the package holds the governor's rules, and the driver that carries out what they say",
        "peers": "protocol/peers decides what runtime/peers does",
        "population": "the engine's agents, and the package of what the daemon puts around them",
        "rollout": "protocol's decides what the package runtime/rollout does",
    },
    "edge_hub": {
        **dict.fromkeys(
            (
                "accounts",
                "audit",
                "alerts",
                "bundles",
                "commands",
                "devices",
                "groups",
                "idempotency",
                "enrolments",
                "rejected",
                "releases",
                "rollouts",
            ),
            "database/ has the table, api/ its routes, jobs/ what runs on it",
        ),
        "learning": "database/ has what was sent, api/ its routes, domain/ adds it up",
        "Answer": "what api/answers sends is what database/idempotency stores",
        "Device": "the REST schema of what fleet.Device is; the name is in the OpenAPI document",
        "Rejected": "the REST schema of a message that rejected.Rejected set aside",
    },
}
"""Names of modules and packages that stand twice in a distribution, and why."""
DEVICE_PATHS = {"bundles/", "device.toml"}
"""Paths in the text that are in the state directory."""
RATE = re.compile(r"[A-Za-z]_an?_[A-Za-z]")
"""``messages_per_second``, say."""
LINES_AT_MOST = 450
MEDIAN_AT_MOST = 120
LONGER: frozenset[str] = frozenset()
"""Files of more than `LINES_AT_MOST` lines."""


def files(distribution: str) -> list[Path]:
    found = sorted(DISTRIBUTIONS[distribution].rglob("*.py"))
    return [path for path in found if not {"build", "__pycache__"} & set(path.parts)]


def product() -> list[Path]:
    return [path for distribution in DISTRIBUTIONS for path in files(distribution)]


def length(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def circles(imports: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """Return the strongly connected parts of two modules and more: each reaches each."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for module in imports[waiting.pop()]:
                if module not in seen:
                    seen.add(module)
                    waiting.append(module)
        return seen

    reach = {module: reached(module) for module in imports}
    found: list[set[str]] = []
    for module in sorted(imports):
        if module in reach[module] and not any(module in circle for circle in found):
            found.append({other for other in reach[module] if module in reach[other]})
    return found


def test_circles_are_found() -> None:
    assert circles({"a": "b", "b": "c", "c": "b", "d": "a"}) == [{"b", "c"}]
    assert circles({"a": "b", "b": ""}) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph(*DISTRIBUTIONS, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 250
    assert circles(imports) == []


def test_nobody_in_the_runtime_takes_the_daemon() -> None:
    naming = set()
    for path in (ROOT / "edge_agent" / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
            if name == "Daemon":
                naming.add(path.name)
    assert naming == {"daemon.py"}


def test_a_name_means_one_thing() -> None:
    twice: dict[str, dict[str, list[str]]] = {}
    for distribution, root in DISTRIBUTIONS.items():
        places: dict[str, set[str]] = defaultdict(set)
        for path in files(distribution):
            if "commands" in path.parts:  # a command is called what its subject is called
                continue
            where = str(path.relative_to(root))
            if path.stem != "__main__" and (path.stem != "__init__" or path.parent != root):
                places[path.parent.name if path.stem == "__init__" else path.stem].add(where)
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].add(where)
        twice[distribution] = {name: sorted(at) for name, at in places.items() if len(at) > 1}
    left = {distribution: set(SAME_NAME.get(distribution, {})) for distribution in DISTRIBUTIONS}
    assert {distribution: set(names) for distribution, names in twice.items()} == left, twice


def test_rates_are_named_with_per() -> None:
    found = set()
    for path in product():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for kind in ("id", "attr", "name", "arg"):
                name = getattr(node, kind, None)
                if isinstance(name, str) and RATE.search(name):
                    found.add(name)
    assert not found


def test_files_have_one_subject() -> None:
    lengths = {str(path.relative_to(ROOT)): length(path) for path in product() if path.stem != "__init__"}
    assert statistics.median(lengths.values()) <= MEDIAN_AT_MOST
    assert {name for name, lines in lengths.items() if lines > LINES_AT_MOST} == LONGER


def test_what_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    words = {word for quoted in re.findall(r"`([^`\s]+)`", text) for word in [quoted.strip(",.")]}
    paths = {word for word in words if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", word)}
    paths = {word for word in paths if word.endswith((".py", ".md", ".c", ".toml", ".conf", ".service", "/"))}
    roots = [ROOT, ROOT / "edge_agent", ROOT / "tools", *DISTRIBUTIONS.values()]
    folders = [
        *roots,
        *(path for root in DISTRIBUTIONS.values() for path in root.rglob("*") if path.is_dir()),
    ]
    assert len(paths) > 30
    missing = [
        path
        for path in sorted(paths - DEVICE_PATHS)
        if not any((folder / path).exists() for folder in folders)
    ]
    assert not missing


def section(heading: str) -> str:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def table_rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_the_architecture_has_what_a_newcomer_looks_for() -> None:
    assert len(table_rows(section("I want to change …"))) >= 20
    assert 5 < len(table_rows(section("The path of one observation"))) <= 15
    described = section("Packages")
    inner = [path.parent for path in (ROOT / "edge_agent").glob("*/__init__.py")]
    for folder in [*inner, *(root for root in DISTRIBUTIONS.values() if root.parent.name == "tools")]:
        assert f"**`{folder.relative_to(ROOT)}/`**" in described, folder


def test_the_distributions_have_one_version() -> None:
    for path in PROJECTS:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        assert project["version"] == __version__, path
