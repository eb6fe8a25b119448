"""Renders metrics as Prometheus text or JSON.

prometheus-client is imported when that is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from pycmbs.metrics.counting import PREFIX, Histogram, Metric
from pycmbs.metrics.reports import Counts
from pycmbs.metrics.table import METRICS

Shown = tuple[Metric, list[tuple[dict[str, str], list[float]]]]


def exposed(counts: Counts, accept: str) -> tuple[bytes, str]:
    """The text for a scraper, and its media type: OpenMetrics for one that accepts that, else the older text format."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(counts))
    encode, type = choose_encoder(accept)
    return encode(registry), type


def as_document(counts: Counts) -> dict[str, Any]:
    """The same as JSON: by name, its type and values; for a histogram how many values were at most as large as each bound."""
    found: dict[str, Any] = {}
    for metric, rows in _shown(counts):
        samples = [{"labels": labels, **_sample(metric, row)} for labels, row in rows]
        found[PREFIX + metric.name] = {"type": metric.kind, "help": metric.help, "samples": samples}
    return found


def _shown(counts: Counts) -> Iterator[Shown]:
    """Each metric that has values, with its rows by their labels. A counter without labels is 0 before it counts
    anything."""
    rows: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
    for (name, labels), row in counts.items():
        rows.setdefault(name, []).append((labels, row))
    for metric in METRICS:
        found = sorted(rows.get(metric.name, ()))
        if not found and not metric.labels and metric.kind == "counter":
            found = [((), [0])]
        if found:
            yield metric, [(dict(zip(metric.labels, labels, strict=True)), row) for labels, row in found]


def _sample(metric: Metric, row: list[float]) -> dict[str, Any]:
    if not isinstance(metric, Histogram):
        return {"value": row[0]}
    buckets = _buckets(metric, row)
    return {"buckets": dict(buckets), "count": buckets[-1][1], "sum": row[-1]}


def _buckets(metric: Histogram, row: list[float]) -> list[tuple[str, float]]:
    """By bound, as text, how many values were not above it."""
    bounds = [*(f"{one:g}" for one in metric.bounds), "+Inf"]
    return list(zip(bounds, itertools.accumulate(row[:-1]), strict=True))


class _Collector:
    """The object that prometheus-client asks for families of samples."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Any]:
        """The families."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for metric, rows in _shown(self._counts):
            name = PREFIX + metric.name
            if isinstance(metric, Histogram):
                histogram = HistogramMetricFamily(name, metric.help, labels=metric.labels)
                for labels, row in rows:
                    histogram.add_metric(list(labels.values()), _buckets(metric, row), row[-1])
                yield histogram
                continue
            family: CounterMetricFamily | GaugeMetricFamily
            if metric.kind == "counter":
                family = CounterMetricFamily(name, metric.help, labels=metric.labels)
            else:
                family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
            for labels, row in rows:
                family.add_metric(list(labels.values()), row[0])
            yield family
