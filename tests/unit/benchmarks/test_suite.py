"""The commands of `make bench`."""

import pytest

from benchmarks import suite


@pytest.mark.parametrize("name", suite.default())
def test_every_benchmark_has_cases_and_a_plan_that_names_them(name: str) -> None:
    cases = suite.cases_of(name)
    assert cases
    assert set(suite.PLAN[name].once) <= set(cases)


def test_what_needs_an_environment_of_its_own_runs_only_when_named() -> None:
    assert "peers" not in suite.default()


def test_each_case_runs_as_often_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(suite.cases, "fresh", lambda *arguments: ran.append(arguments) or [])
    suite.measure("fusion", "cost")
    suite.measure("fusion", "bytes")
    suite.measure("memory", "growth", runs=2)
    assert [(module, case) for module, case, *_ in ran] == [
        *[("benchmarks.fusion", "cost")] * 3,
        ("benchmarks.fusion", "bytes"),
        *[("benchmarks.memory", "growth")] * 2,
    ]
    assert ran[-1][2] == ("--seconds", "60")
