"""Every metric that the alerts, the Grafana dashboard and the documentation name is one the proxy has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from sqlproxy.admin.metrics import Metrics
from sqlproxy.topology.model import AdminState, Role, ServerView

from .conftest import Runtime

ROOT = Path(__file__).parents[3]
NAMED_BY = ["config/prometheus/alerts.yml", "config/grafana/sqlproxy.json", "docs/admin.md", "docs/operations.md"]
NO_METRICS = {"sqlproxy_home"}


@pytest.fixture
def exposed(runtime: Runtime) -> str:
    runtime.show("n1", ServerView("n1", Role.PRIMARY, AdminState.ACTIVE, "synced"))
    metrics = Metrics(runtime)
    try:
        return metrics.text().decode()
    finally:
        metrics.close()


@pytest.mark.parametrize("name", [name for name in NAMED_BY if (ROOT / name).exists()])
def test_metrics_named_in_files_exist(exposed: str, name: str) -> None:
    known = set(re.findall(r"^(?:# TYPE )?([a-z_]+)(?:\{.*\})? ", exposed, re.MULTILINE))
    named = set(re.findall(r"\b((?:sqlproxy|process)_[a-z_]+[a-z])\b", (ROOT / name).read_text()))
    assert named
    assert named - known - NO_METRICS == set()


def test_labels_named_by_alerts_exist(exposed: str) -> None:
    rules = [rule for group in yaml.safe_load((ROOT / NAMED_BY[0]).read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        for metric, labels in re.findall(r"(sqlproxy_\w+)\{([^}]*)\}", rule["expr"]):
            for label in re.findall(r"(\w+)=~?\"", labels):
                assert re.search(rf"^{metric}\{{[^}}]*\b{label}=", exposed, re.MULTILINE), (rule["alert"], label)


def test_roles_named_by_alerts_exist() -> None:
    text = (ROOT / NAMED_BY[0]).read_text()
    named = {role for roles in re.findall(r'role=~?"([^"]+)"', text) for role in roles.split("|")}
    assert named <= {role.value for role in Role}


def test_the_dashboards_panels_have_a_place_each() -> None:
    panels = json.loads((ROOT / NAMED_BY[1]).read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert place["x"] + place["w"] <= 24
    assert len({panel["id"] for panel in panels}) == len(panels)
