"""Alert rules and dashboard: every metric and label in them is exposed."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest
import yaml
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from controller.model.expiry import Expiry
from controller.web.alarm_model import Severity
from controller.web.metrics import render_metrics
from controller.web.status_model import ClockReport, StoreHealth
from tests.controller.web.examples import STATUS
from tests.controller.web.large_site import ENERGY
from tests.docs.example_sites import ROOT

RULES = ROOT / "etc" / "prometheus" / "local-controller.rules.yml"
DASHBOARD = ROOT / "etc" / "grafana" / "local-controller.json"
FOREIGN_LABELS = {"instance", "job"}
"""Labels that Prometheus adds itself."""


def exposed() -> dict[str, set[str]]:
    """Return the labels of each exposed metric."""
    status = replace(
        STATUS,
        energy=ENERGY,
        clock=ClockReport(state="unverified"),
        store=StoreHealth(free_mb=90, size_mb=7600, low=True),
        expiries=(Expiry(name="listen.certificate", not_after=2e9),),
    )
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(render_metrics(status).decode()):
        for sample in family.samples:
            labels[sample.name] |= set(sample.labels)
    return labels


def alerts() -> list[dict[str, object]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def expressions() -> Iterator[str]:
    for rule in alerts():
        yield str(rule["expr"])
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    yield from (each["expr"] for each in dashboard["annotations"]["list"])
    yield from (each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query")


@pytest.mark.parametrize("expression", list(expressions()))
def test_expression_uses_exposed_metrics_and_labels(expression: str) -> None:
    known = exposed()
    used = re.findall(r"(local_controller_\w+)(?:\{([^}]*)\})?", expression)
    assert used or expression.startswith("up{")
    for metric, selectors in used:
        assert metric in known
        labels = set(re.findall(r"(\w+)\s*=~?\s*\"", selectors))
        assert labels <= known[metric] | FOREIGN_LABELS
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alert_has_severity_remedy_and_known_labels(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "remedy"}
    known = exposed()
    metrics = re.findall(r"local_controller_\w+", str(rule["expr"]))
    labels = FOREIGN_LABELS.union(*(known[metric] for metric in metrics))
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels


def test_dashboard_can_be_provisioned() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["id"] is None
    assert dashboard["uid"]
    assert "__inputs" not in dashboard
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, f"{panel['title']} covers another panel"
        taken |= cells
        assert place["x"] + place["w"] <= 24
        assert panel["datasource"]["uid"] == "${datasource}"


def test_dashboard_lists_alarms_that_are_present() -> None:
    panels = {panel["title"]: panel for panel in json.loads(DASHBOARD.read_text())["panels"]}
    alarms = panels["Alarms"]
    assert [each["expr"] for each in alarms["targets"]] == [
        'local_controller_alarm{instance="$instance"} == 1'
    ]
    hidden = alarms["transformations"][-1]["options"]["excludeByName"]
    assert not {"kind", "subject", "severity"} & set(hidden)


@pytest.mark.parametrize("severity", [Severity.CRITICAL, Severity.WARNING])
def test_each_alarm_of_the_controller_has_a_rule(severity: Severity) -> None:
    rules = [rule for rule in alerts() if f'severity="{severity}"' in str(rule["expr"])]
    assert [rule["labels"] for rule in rules] == [{"severity": str(severity)}]
