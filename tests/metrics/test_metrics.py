"""Counting, the sum over processes, and what is shown of it."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pycmbs.metrics import counting, exposition, reports, table
from pycmbs.occi.layers import LAYERS


@pytest.fixture
def metrics(monkeypatch):
    """Metrics in place of the real ones, which other tests of this process count in."""
    made = (
        counting.Counter("apples_total", "Apples.", ("kind",)),
        counting.Histogram("weight_grams", "Their weight.", (), (100.0, 200.0)),
        counting.Gauge("boxes", "Boxes."),
    )
    for module in (reports, exposition):
        monkeypatch.setattr(module, "METRICS", made)
    monkeypatch.setattr(reports, "BY_NAME", {one.name: one for one in made})
    return made


def samples(counts, accept="text/plain"):
    """What a scraper reads: values by name and labels."""
    body, _ = exposition.exposed(counts, accept)
    families = text_string_to_metric_families(body.decode())
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def test_a_scraper_reads_what_was_counted(metrics):
    """Counters by their labels, and histograms in cumulative buckets with count and sum."""
    apples, weight, _ = metrics
    apples.count("red")
    apples.count("red", by=2)
    for grams in (100, 150, 999):
        weight.observe(grams)

    read = samples(reports.counted())

    assert read["pycmbs_apples_total", ("kind", "red")] == 3
    buckets = [read["pycmbs_weight_grams_bucket", ("le", bound)] for bound in ("100", "200", "+Inf")]
    assert buckets == [1, 2, 3]
    assert (read[("pycmbs_weight_grams_count",)], read[("pycmbs_weight_grams_sum",)]) == (3, 1249)


def test_json_says_the_same(metrics):
    """The document has the values that the text has."""
    apples, weight, _ = metrics
    apples.count("red")
    weight.observe(150)

    document = exposition.as_document(reports.counted())

    assert document["pycmbs_apples_total"]["samples"] == [{"labels": {"kind": "red"}, "value": 1}]
    assert document["pycmbs_weight_grams"]["samples"] == [
        {"labels": {}, "buckets": {"100": 0, "200": 1, "+Inf": 1}, "count": 1, "sum": 150}
    ]


def test_a_report_counts_once(metrics):
    """What was counted meanwhile waits for the next report; one that arrives twice, as its answer was lost, counts once."""
    apples = metrics[0]
    reporter, tally = reports.Reporter(), reports.Tally()
    base = apples.rows.copy()
    apples.count("red")
    first = reporter.report()
    tally.take(first)
    apples.count("red")
    tally.take(reporter.report())
    reporter.taken(first["number"])
    tally.take(reporter.report())

    apples.rows = base

    assert tally.total()["apples_total", ("red",)] == [2]


def test_an_engine_that_is_new_begins_anew(metrics):
    """It gets what is counted from then on: a counter that falls only in part would look as if much had been counted."""
    apples = metrics[0]
    reporter = reports.Reporter()
    apples.count("red", by=1000)
    reporter.taken(reporter.report()["number"])
    apples.count("red")

    after = reports.Tally()
    after.take(reporter.report())

    assert [[name, labels, row] for name, labels, row in reporter.report()["counts"]] == [
        ["apples_total", ("red",), [1]]
    ]


def test_gauges_of_fronts_are_added_while_they_report(metrics, monkeypatch):
    """A front that is gone holds no connections any more."""
    boxes = metrics[2]
    boxes.look = lambda: 3.0
    tally = reports.Tally()
    for reporter in (reports.Reporter(), reports.Reporter()):
        tally.take(reporter.report())
    assert tally.total()["boxes", ()] == [6.0]

    monkeypatch.setattr(reports, "_FRESH_SECONDS", -1.0)

    assert ("boxes", ()) not in tally.total()


def test_every_metric_is_called_as_prometheus_has_it():
    """Counters end in ``_total``, nothing else does; names are unique, and the layers are those that there are."""
    assert len(table.BY_NAME) == len(table.METRICS)
    assert [one.name for one in table.METRICS if one.name.endswith("_total") != (one.kind == "counter")] == []
    assert table.LAYERS == LAYERS
