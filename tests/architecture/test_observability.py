"""Dashboards and alerts name only metrics that some process exports; every alert is explained."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY

from deploy.local.environment import LocalSettings
from tests.architecture import tree

DEPLOY: Final = tree.ROOT / "deploy"
DASHBOARD: Final = json.loads((DEPLOY / "grafana/fisc.json").read_text("utf-8"))
ALERTS: Final = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
# Prometheus makes it for every target it scrapes.
FROM_PROMETHEUS: Final = frozenset({"up"})
# What follows a name is a call; what stands in braces, brackets or after "by" are no metrics.
NOT_A_METRIC: Final = re.compile(
    r'"[^"]*"|\{[^{}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^()]*\)|\boffset\s+\w+'
)
NAME: Final = re.compile(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()")
KEYWORDS: Final = frozenset({"and", "or", "unless", "bool", "group_left", "group_right", "by"})
SUFFIXES: Final = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}


def _names(expression: str) -> set[str]:
    return set(NAME.findall(NOT_A_METRIC.sub(" ", expression))) - KEYWORDS


def _exported() -> set[str]:
    tree.import_all()
    return {
        f"{family.name}{suffix}"
        for family in REGISTRY.collect()
        for suffix in SUFFIXES.get(family.type, ())
    }


def _targets(panel: dict[str, Any]) -> Iterator[str]:
    for target in panel.get("targets", ()):
        yield target["expr"]


def _dashboard_expressions() -> list[str]:
    panels = [expression for panel in DASHBOARD["panels"] for expression in _targets(panel)]
    marks = [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    variables = [
        re.sub(r"label_values\((\w+), \w+\)", r"\1", one["query"]["query"])
        for one in DASHBOARD["templating"]["list"]
        if one["type"] == "query"
    ]
    return [*panels, *marks, *variables]


def test_names_are_found_in_an_expression() -> None:
    expression = (
        'sum by (le, name) (rate(one_bucket{a="b c"}[5m])) / on (name) two offset 15m > 0.5'
    )
    assert _names(expression) == {"one_bucket", "two"}


def test_every_metric_of_the_dashboard_is_exported() -> None:
    named = set().union(*map(_names, _dashboard_expressions()))
    assert len(named) > 20
    assert named - _exported() == set()


def test_every_metric_of_the_alerts_is_exported() -> None:
    named = set().union(*(_names(rule["expr"]) for rule in ALERTS))
    assert named - _exported() == FROM_PROMETHEUS


def test_panels_lie_beside_one_another_and_have_their_own_numbers() -> None:
    cells = [
        (column, line)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert max(column for column, _ in cells) < 24
    assert len(cells) == len(set(cells))
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_urgent_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (\w+)$", (tree.ROOT / path).read_text("utf-8"), re.MULTILINE)
    assert rule["alert"] in headings
    assert anchor == rule["alert"].lower()


def test_the_local_scrape_configuration_finds_every_process() -> None:
    settings = LocalSettings()
    configuration = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    (job,) = configuration["scrape_configs"]
    scraped = {group["labels"]["service"]: group["targets"] for group in job["static_configs"]}
    assert scraped == {
        service: [f"127.0.0.1:{settings.metrics_port(service)}"] for service in tree.SERVICES
    }
