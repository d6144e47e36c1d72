"""Hooks, workflows and issue forms are well-formed, and hooks and workflows run what the Makefile has."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PROGRAMS = Path(sys.executable).parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def workflow(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(path.read_text()).items()}


def test_pre_commit_takes_the_hooks() -> None:
    command = [PROGRAMS / "pre-commit", "validate-config", ROOT / ".pre-commit-config.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_the_programs_of_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"].split() for repository in config["repos"] for hook in repository["hooks"]]
    recipe = (ROOT / "Makefile").read_text().split("\nlint:", 1)[1].split("\n\n", 1)[0]
    linted = re.findall(r"\.venv/bin/([a-z-]+)((?: (?:check|format)\b)?)", recipe)
    assert {(Path(words[0]).name, *words[1:2]) for words in hooks if "ruff" in words[0]} == {
        (name, *verb.split()) for name, verb in linted if name == "ruff"
    }
    assert {Path(words[0]).name for words in hooks} == {name for name, _ in linted}
    assert all((PROGRAMS / Path(words[0]).name).exists() for words in hooks)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_that_there_are(path: Path) -> None:
    found = workflow(path)
    assert found["on"]
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    asked = {name for step in steps for name in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))}
    assert asked
    assert asked <= targets()
    # An action is pinned to a major version at least, never to a branch.
    uses = [step["uses"] for step in steps if "uses" in step]
    assert all(re.search(r"@v\d", action) for action in uses)
    # Jobs get no more rights than they name.
    assert "permissions" in found


def test_there_is_a_workflow_for_each_occasion() -> None:
    assert {path.stem for path in WORKFLOWS} == {"docs", "release", "test", "wheels"}
    assert workflow(ROOT / ".github/workflows/release.yml")["on"]["push"]["tags"] == ["v*"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_well_formed(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert set(form) == {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= form.keys()
    named = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in named}) == len(named)
    assert all(field["attributes"]["label"] for field in named)


def test_mutation_testing_names_modules_that_there_are_and_are_tested() -> None:
    command = ["make", "--no-print-directory", "-f", "Makefile", "--eval=named: ; @echo $(MUTATED)", "named"]
    named = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    chosen = [ROOT / path for path in options["pytest_add_cli_args_test_selection"]]
    tests = "\n".join(
        path.read_text() for it in chosen for path in ([it] if it.is_file() else it.rglob("*.py"))
    )
    assert len(named) > 5
    for pattern in named:
        module = pattern.removesuffix("*")
        path = ROOT / ("tools" if module.startswith("edge_hub.") else "") / module.replace(".", "/")
        modules = [path.with_suffix(".py")] if path.with_suffix(".py").exists() else list(path.glob("*.py"))
        assert modules, pattern
        package, name = module.rsplit(".", 1)
        assert re.search(
            rf"from {re.escape(module)}[. ]|from {re.escape(package)} import .*\b{name}\b", tests
        )
