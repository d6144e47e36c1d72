"""Rules and dashboard of ``deploy/monitoring`` against promtool and the figures that the hub has."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from deploy.scale import stack
from edge_hub.database.engine import Database
from edge_hub.database.migrate import migrate
from edge_hub.domain.alert_rules import Rule
from tests.deploy.test_configuration import check
from tests.hub.service import Service
from tests.hub.test_alerts import T, evaluator, hear, use

FOLDER = Path(stack.__file__).parents[1] / "monitoring"
FIGURE = re.compile(r"\bedge_[a-z_]+")


def test_prometheus_accepts_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    found = check("promtool", "check", "rules", "rules.yml", cwd=FOLDER)
    assert found.returncode == 0, found.stdout + found.stderr
    found = check("promtool", "test", "rules", "rules_test.yml", cwd=FOLDER)
    assert found.returncode == 0, found.stdout + found.stderr
    for file in FOLDER.glob("*.yml"):
        shutil.copy(file, tmp_path)
    rules = tmp_path / "rules.yml"
    rules.write_text(rules.read_text().replace("(edge_fleet_alerts) > 0", "(edge_fleet_alerts) > 1"))
    assert check("promtool", "test", "rules", "rules_test.yml", cwd=tmp_path).returncode != 0


@pytest.fixture
def figures(tmp_path: Path) -> set[str]:
    """What a hub with a device and an alert tells Prometheus; ingest and the evaluator tell theirs too."""
    with Database(str(tmp_path / "hub.db")) as database:
        migrate(database)
        use(database, Rule("a", "rss", 1.0, for_s=0.0, wait_s=0.0))
        hear(database, 1, T)
        evaluator(database).look(T)
        service = Service(database)
        text = service.as_role("viewer").get(service.address + "/metrics").text
        service.close()
    ingest = {"edge_hub_messages_stored_total", "edge_hub_messages_rejected_total"}
    return set(FIGURE.findall(text)) | ingest | {"edge_hub_alert_evaluator", "edge_hub_alert_look_seconds"}


def test_rules_and_dashboard_ask_for_figures_that_the_hub_has(figures: set[str]) -> None:
    rules = (FOLDER / "rules.yml").read_text()
    assert set(FIGURE.findall("\n".join(re.findall(r"expr: (.*)", rules)))) <= figures
    board: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) >= 10
    assert set(FIGURE.findall("\n".join(asked))) <= figures


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = {
        "groups": [{"name": "d", "rules": [{"record": f"d:{n}", "expr": e} for n, e in enumerate(asked)]}]
    }
    (tmp_path / "rules.yml").write_text(json.dumps(rules))  # JSON is YAML
    found = check("promtool", "check", "rules", "rules.yml", cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr


def test_places_of_the_dashboard_do_not_overlap() -> None:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
