"""What pydantic found wrong with a TOML document, in one line: the key, what was found, what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_EXPECTED: Mapping[str, str] = {
    "missing": "a value",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dataclass_type": "a table",
}


def problem_line(document: dict[str, Any], error: ValidationError) -> str:
    """Return the first thing that is wrong: the key in TOML's spelling, what was found and expected."""
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] == "unexpected_keyword_argument"), problems[0])
    key, found = _place(document, problem["loc"])
    kind = problem["type"]
    if kind == "unexpected_keyword_argument":
        return f"{key}: unknown key"
    if kind == "missing":
        return f"{key}: missing, expected a value"
    if len([p for p in problems if p["loc"][:-1] == problem["loc"][:-1]]) > 1 and kind in _EXPECTED:
        alternatives = [
            _EXPECTED[p["type"]]
            for p in problems
            if p["type"] in _EXPECTED and _place(document, p["loc"])[0] == key
        ]
        return f"{key}: found {found}, expected {' or '.join(dict.fromkeys(alternatives))}"
    expected = _EXPECTED.get(kind) or problem["msg"].removeprefix("Input should be ")
    return f"{key}: found {found}, expected {expected}"


def _place(document: Any, location: tuple[int | str, ...]) -> tuple[str, str]:
    """Return the key in TOML's spelling and what stands there; pydantic's own labels are left out."""
    key, node = "", document
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(part, int) and isinstance(node, list):
            key, node = f"{key}[{part}]", node[part] if part < len(node) else None
        elif isinstance(part, str) and isinstance(node, dict) and (part in node or last):
            key, node = f"{key}.{part}" if key else part, node.get(part)
    return key, "nothing" if node is None else json.dumps(node, default=str)[:80]
