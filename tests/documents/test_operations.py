"""What is shipped for those who keep brokers running names what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from pycmbs.metrics.counting import PREFIX, Histogram
from pycmbs.metrics.table import BY_NAME
from tests.documents.markdown import ROOT

_METRIC = re.compile(rf"{PREFIX}([a-z_]+)(?:\{{([^}}]*)\}})?")
_LABELS = re.compile(r"(\w+)(?:=~|!~|!=|=)\"")
_BY = re.compile(r"by \(([^)]*)\)")
_OF_SCRAPES = {"instance", "job"}


def alerts() -> Iterator[str]:
    """The expressions of doc/alerts.yml."""
    document = yaml.safe_load((ROOT / "doc" / "alerts.yml").read_text(encoding="utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            assert rule["alert"].startswith("Pycmbs")
            assert set(rule["annotations"]) == {"summary", "todo"}
            assert rule["labels"]["severity"] in ("page", "ticket")
            yield rule["expr"]


def panels() -> Iterator[str]:
    """The expressions of doc/grafana.json."""
    document = json.loads((ROOT / "doc" / "grafana.json").read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    for panel in document["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("expression", [*alerts(), *panels()])
def test_alerts_and_panels_ask_for_what_there_is(expression: str) -> None:
    """Every metric in them is one that is counted, and has the labels that are asked for."""
    known = set(_OF_SCRAPES)
    names = []
    for name, selected in _METRIC.findall(expression):
        bare = re.sub("_(bucket|count|sum)$", "", name)
        metric = BY_NAME.get(name) or BY_NAME[bare]
        names.append(name)
        assert isinstance(metric, Histogram) == (name != metric.name), name
        labels = {*metric.labels, *_OF_SCRAPES, *(("le",) if name.endswith("_bucket") else ())}
        assert set(_LABELS.findall(selected)) <= labels, expression
        known |= labels
    assert names or "up{" in expression
    for grouped in _BY.findall(expression):
        assert {one.strip() for one in grouped.split(",")} <= known, expression
    assert expression.count("(") == expression.count(")")


def test_the_files_of_packaging_say_what_is_there() -> None:
    """Unit, image and compose file start the command with settings that there are."""
    from pycmbs.config import SETTINGS

    variables = {one.variable for one in SETTINGS} | {"PYCMBS_CONFIG"}
    folder = ROOT / "packaging"
    compose = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    assert list(compose["services"]) == ["paris", "rome", "oslo"]
    for service in compose["services"].values():
        assert set(service["environment"]) <= variables
        assert (folder / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()
    image = (folder / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"PYCMBS_\w+", image)) <= variables
    unit = (folder / "pycmbs.service").read_text(encoding="utf-8")
    assert "Type=notify\n" in unit
    flags = {one.flag for one in SETTINGS} | {"--config"}
    (start,) = re.findall(r"^ExecStart=\S+/pycmbs serve (.*)$", unit, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", start)) <= flags
