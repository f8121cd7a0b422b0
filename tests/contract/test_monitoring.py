"""Dashboard and alerts speak of metrics that there are, and leave none out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from prometheus_client import REGISTRY

from anygpt import metrics
from tests.contract.surface import ROOT
from tests.servers.install import helm_binary

CHART = ROOT / "helm" / "anygpt"
DASHBOARD = json.loads((CHART / "monitoring" / "dashboard.json").read_text())
ALERTS = yaml.safe_load((CHART / "monitoring" / "alerts.yaml").read_text())
SERIES = re.compile(r"\banygpt_\w+")


def families() -> set[str]:
    """The metrics of the one list."""
    return {family.name for family in REGISTRY.collect() if family.name.startswith(metrics.PREFIX)}


def family(series: str) -> str:
    """The metric that a series belongs to."""
    return re.sub(r"_(bucket|sum|count|total|created)$", "", series)


def expressions() -> Iterator[str]:
    """What dashboard and alerts ask for."""
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield from (rule["expr"] for group in ALERTS["groups"] for rule in group["rules"])


@pytest.mark.parametrize("expression", sorted(expressions()))
def test_every_expression_asks_for_metrics_that_there_are(expression: str) -> None:
    asked = {family(series) for series in SERIES.findall(expression)}
    assert asked
    assert asked <= families()


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {
        family(one) for panel in DASHBOARD["panels"] for one in SERIES.findall(panel["targets"][0]["expr"])
    }
    assert shown == families()


def test_the_chart_brings_dashboard_and_alerts_where_it_is_asked_to() -> None:
    def kinds(*options: str) -> dict[str, dict[str, object]]:
        command = [helm_binary(), "template", "demo", str(CHART), "--kube-version", "1.33.0", *options]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {one["kind"]: one for one in yaml.safe_load_all(text) if one}

    assert "PrometheusRule" not in kinds()
    made = kinds("--set", "monitoring=true")
    assert made["PrometheusRule"]["spec"] == ALERTS
    assert json.loads(made["ConfigMap"]["data"]["anygpt.json"]) == DASHBOARD  # type: ignore[index]
