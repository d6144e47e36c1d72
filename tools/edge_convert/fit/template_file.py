"""Reads a template: TOML, checked by pydantic, and then what one key says against what others say.

Unknown keys, wrong types and names that do not exist are refused in one line that names the key.
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edge_agent.config.pydantic_errors import problem_line
from edge_agent.errors import ConfigError
from edge_convert.fit.template import (
    BalanceTemplate,
    FactorTemplate,
    ModalityTemplate,
    Template,
    seconds_since_1970,
)

MAX_BYTES = 1024 * 1024


def load(path: Path) -> Template:
    """Read and check a template.

    Raises
    ------
    ConfigError
        One line: file, key, what was found, what was expected.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: found {len(data)} bytes, expected at most {MAX_BYTES}")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        template = TypeAdapter(Template).validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{path}: {problem_line(document, error)}") from error
    _check(path, template)
    return template


def _check(path: Path, template: Template) -> None:
    """Check what one key says against what others say."""
    for key, entries in (
        ("modality", template.modality),
        ("factor", template.factor),
        ("control", template.control),
        ("join", template.join),
    ):
        names = [entry.name for entry in entries]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ConfigError(f"{path}: {key}[{number}].name: found {name!r} twice, expected one")
    if not template.modality or not template.factor:
        missing = "factor" if template.modality else "modality"
        raise ConfigError(f"{path}: {missing}: found none, expected one or more")
    try:
        if isinstance(template.held_out, str):
            seconds_since_1970(template.held_out)
    except ValueError as error:
        found = template.held_out
        expected = "a share or a time like 2015-02-09T00:00:00"
        raise ConfigError(f"{path}: held_out: found {found!r}, expected {expected}") from error
    for number, factor in enumerate(template.factor):  # before all that asks for a factor's states
        if factor.bands:
            _known(path, f"factor[{number}].of", factor.of, [m.name for m in template.modality])
    for number, modality in enumerate(template.modality):
        _check_modality(path, f"modality[{number}]", modality, template)
    for number, control in enumerate(template.control):
        key = f"control[{number}]"
        _distinct(path, f"{key}.values", control.values, 2)
        if control.default:
            _known(path, f"{key}.default", control.default, control.values)
    for number, factor in enumerate(template.factor):
        _check_factor(path, f"factor[{number}]", factor, template)
    _check_joins(path, template)


def _check_modality(path: Path, key: str, modality: ModalityTemplate, template: Template) -> None:
    factors = [factor.name for factor in template.factor]
    _distinct(path, f"{key}.sees", modality.sees, 1)
    for name in modality.sees:
        _known(path, f"{key}.sees", name, factors)
    _ascending(path, f"{key}.edges", modality.edges)
    if modality.labels:
        _distinct(path, f"{key}.labels", modality.labels, 2)
        if modality.quantiles or modality.reduce != "last":
            expected = "no quantiles, and reduce = 'last'"
            raise ConfigError(f"{path}: {key}.labels: found labels, expected {expected}")
        if modality.edges and len(modality.edges) != len(modality.labels) - 1:
            expected = f"{len(modality.labels) - 1} between {len(modality.labels)} labels"
            raise ConfigError(f"{path}: {key}.edges: found {len(modality.edges)}, expected {expected}")
    fixed = modality.likelihood != "learned"
    if fixed and not (modality.labels or modality.edges):
        raise ConfigError(f"{path}: {key}.likelihood: found no labels or edges for it, expected one of them")
    size = len(modality.labels) or (len(modality.edges) + 1 if modality.quantiles is None else 0)
    if modality.likelihood == "identity":
        states = template.states(template.factor_named(modality.sees[0]))
        if len(modality.sees) != 1 or len(states) != size:
            raise ConfigError(
                f"{path}: {key}.likelihood: found {size} bins for {len(states)} states of "
                f"{', '.join(modality.sees)}, expected one factor with as many states as bins"
            )
    if modality.alike:
        own = template.states(template.factor_named(modality.sees[0])) if len(modality.sees) == 1 else []
        grouped = [state for group in modality.alike for state in group]
        _distinct(path, f"{key}.alike", grouped, 1)
        for state in grouped:
            _known(path, f"{key}.alike", state, own)
    if modality.preference and len(modality.preference) != size:
        expected = f"{size}, one for each bin" if size else "labels or edges for the bins"
        raise ConfigError(f"{path}: {key}.preference: found {len(modality.preference)}, expected {expected}")


def _check_factor(path: Path, key: str, factor: FactorTemplate, template: Template) -> None:
    others = [other.name for other in template.factor if other.name != factor.name]
    if bool(factor.states) == bool(factor.bands):
        found = "both states and bands" if factor.states else "neither states nor bands"
        raise ConfigError(f"{path}: {key}: found {found}, expected one of them")
    _distinct(path, f"{key}.states", factor.states, 2 if factor.states else 0)
    _ascending(path, f"{key}.bands", factor.bands)
    _distinct(path, f"{key}.depends_on", factor.depends_on, 0)
    for name in factor.depends_on:
        _known(path, f"{key}.depends_on", name, others)
    if factor.control:
        _known(path, f"{key}.control", factor.control, [c.name for c in template.control])
    if factor.follows is not None:
        values = len(template.control_named(factor.control).values) if factor.control else 0
        if len(template.states(factor)) != values or factor.depends_on or factor.balance:
            expected = "a control with a value for each state, and no depends_on or balance"
            raise ConfigError(f"{path}: {key}.follows: expected {expected}")
    if factor.balance is not None:
        _check_balance(path, f"{key}.balance", factor, factor.balance, template)


def _check_balance(
    path: Path, key: str, factor: FactorTemplate, balance: BalanceTemplate, template: Template
) -> None:
    if not factor.bands or balance.outside >= factor.bands[0]:
        found = f"outside {balance.outside:g}" if factor.bands else "a factor without bands"
        raise ConfigError(f"{path}: {key}: found {found}, expected bands above outside")
    if factor.depends_on != (balance.source,):
        expected = f"depends_on = [{balance.source!r}]"
        raise ConfigError(
            f"{path}: {key}.source: found depends_on {list(factor.depends_on)}, expected {expected}"
        )
    _each(path, f"{key}.emission", balance.emission, template.states(template.factor_named(balance.source)))
    if factor.control:
        _each(path, f"{key}.rates", balance.rates, template.control_named(factor.control).values)
    elif balance.rates:
        raise ConfigError(f"{path}: {key}.rates: found rates, expected none for a factor without a control")
    if balance.idle is not None:
        _known(path, f"{key}.idle.modality", balance.idle.modality, [m.name for m in template.modality])
    elif balance.rate is None:
        raise ConfigError(f"{path}: {key}.rate: missing, expected a rate, or idle to fit it")


def _check_joins(path: Path, template: Template) -> None:
    joined: list[str] = []
    for number, join in enumerate(template.join):
        key = f"join[{number}]"
        _distinct(path, f"{key}.factors", join.factors, 2)
        for name in join.factors:
            _known(path, f"{key}.factors", name, [factor.name for factor in template.factor])
            if name in joined:
                raise ConfigError(f"{path}: {key}.factors: found {name!r} twice, expected one join")
        joined += join.factors
        controls = {template.factor_named(name).control for name in join.factors} - {""}
        if len(controls) > 1:
            found = ", ".join(sorted(controls))
            raise ConfigError(f"{path}: {key}.factors: found controls {found}, expected one at most")
    for number, factor in enumerate(template.factor):
        groups = {name: join.name for join in template.join for name in join.factors}
        group = groups.get(factor.name)
        if group is None and any(name in groups for name in factor.depends_on):
            expected = "it to be joined with them, or not to depend on joined factors"
            raise ConfigError(f"{path}: factor[{number}].depends_on: expected {expected}")
        if group is not None and any(groups.get(name) != group for name in factor.depends_on):
            expected = f"only factors that are joined in {group}"
            raise ConfigError(f"{path}: factor[{number}].depends_on: expected {expected}")


def _known(path: Path, key: str, name: str, names: Iterable[str]) -> None:
    known = list(names)
    if name not in known:
        raise ConfigError(f"{path}: {key}: found {name!r}, expected one of {', '.join(known) or 'none'}")


def _each(path: Path, key: str, found: Iterable[str], expected: Iterable[str]) -> None:
    if set(found) != set(expected):
        raise ConfigError(f"{path}: {key}: found {', '.join(found)}, expected {', '.join(expected)}")


def _distinct(path: Path, key: str, names: Sequence[str], least: int) -> None:
    if len(names) < least or len(set(names)) != len(names):
        raise ConfigError(f"{path}: {key}: found {list(names)}, expected {least} or more different names")


def _ascending(path: Path, key: str, numbers: Sequence[float]) -> None:
    if any(b <= a for a, b in itertools.pairwise(numbers)):
        raise ConfigError(f"{path}: {key}: found {list(numbers)}, expected ascending numbers")
