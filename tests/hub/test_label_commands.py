"""Labels and groups by command, at a running service: what changes, what stays, and who did it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_hub.cli import main
from edge_hub.database import audit
from tests.hub.service import Service
from tests.hub.test_rest import fill, names

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of an operator at the service; return its status and what it said."""
    remote = service.remote("operator", tmp_path)

    def command(*words: str) -> tuple[int, str]:
        status = main([*words, *remote])
        said = capsys.readouterr()
        return status, said.out + said.err

    return command


def test_labels_are_set_and_removed_and_the_others_stay(service: Service, run: Run) -> None:
    fill(service.hub.database, 6)  # labelled floor=0 … floor=4, floor=0
    status, text = run("label", "--to", "label.floor=0", "site=east", "rack=b")
    assert (status, text) == (
        0,
        "home/d000: floor=0 rack=b site=east\nlab/d005: floor=0 rack=b site=east\n",
    )
    status, text = run(
        "label", "--to", "d0*", "--fleet", "lab", "site=west", "--remove", "rack", "missing", "--json"
    )
    found = {row["device"]: row["labels"] for row in map(json.loads, text.splitlines())}
    assert status == 0
    assert found.keys() == {"d001", "d003", "d005"}
    assert found["d005"] == {"floor": "0", "site": "west"}
    answer = service.as_role("viewer").get("/devices", params={"filter": "label.site=east"})
    assert names(answer) == ["d000"]
    entries = [e for e in audit.page(service.hub.database) if e["action"] == "device.labels"]
    assert [entry["object"] for entry in entries[3:]] == ["lab/d005", "home/d000"]
    assert entries[0]["after"] == {"floor": "0", "site": "west"}


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("label", "--to", "d9*", "a=b"), 1, "no device fits\n"),
        (("label", "--to", "d000"), 2, "label: found none, expected KEY=VALUE or --remove KEY"),
        (("label", "--to", "d000", "site="), 2, "label: found 'site=', expected KEY=VALUE"),
        (("label", "--to", "d000", "a b=c"), 2, "--hub: "),
        (("group", "set"), 2, "group set: expected the group's name after it"),
        (("group", "set", "east"), 2, "--filter: found none"),
        (("group", "set", "east", "--filter", "nonsense=1"), 2, "--hub: "),
        (("group", "remove", "east"), 2, "--hub: group east: not known"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    service: Service, run: Run, words: tuple[str, ...], status: int, says: str
) -> None:
    fill(service.hub.database, 3)
    got, text = run(*words)
    assert (got, says in text, text.count("\n")) == (status, True, 1), text
    assert audit.page(service.hub.database) == []


def test_a_group_is_made_listed_and_removed(service: Service, run: Run) -> None:
    fill(service.hub.database, 3)
    assert run("group") == (0, "")
    made = (0, "ground: label.floor=0  (by the door)\n")
    assert run("group", "set", "ground", "--filter", "label.floor=0", "--note", "by the door") == made
    assert run("group") == made
    assert json.loads(run("group", "list", "--json")[1])["filter"] == "label.floor=0"
    assert run("group", "remove", "ground") == (0, "")
    assert run("group") == (0, "")
    actions = [entry["action"] for entry in audit.page(service.hub.database)]
    assert actions == ["group.delete", "group.put"]
