"""Every test and make target that docs/hardening.md names exists, and a run of that file's tests finds it."""

import ast
import re

import pytest
from blocks import DOCS, ROOT

PAGE = (DOCS / "hardening.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| (\d+|further) \|", line)]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`(tests/[^`]+)`", row[-1])})


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_lines_are_complete_and_in_order() -> None:
    lines = [row[0] for row in ROWS]
    numbers = [int(line) for line in lines if line != "further"]
    assert [len(row) for row in ROWS] == [4] * len(ROWS)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 27))
    assert lines[len(numbers) :] == ["further"] * (len(lines) - len(numbers))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1][:40]}")
def test_each_line_names_a_test(row: list[str]) -> None:
    assert re.search(r"`tests/", row[3])


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists_and_is_run(named: str) -> None:
    path, _, function = named.partition("::")
    assert (ROOT / path).is_file()
    assert not function or function in functions(path)
    assert path.rsplit("/", 1)[-1].startswith("test_") or f" {path}\n" in MAKEFILE


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([a-z0-9-]+)", PAGE))))
def test_a_named_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
