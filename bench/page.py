"""``python -m bench.page``: writes doc/performance.md and its plots of the results that are kept in bench/results.

``bench/performance.md`` is the text; a line ``{{table NAME}}``, ``{{value NAME}}`` … in it stands for what was measured.
``--keep FILE`` takes new results of ``make bench``, ``make growth`` or ``make scale`` first. ``--check`` writes nothing and
tells, by 1, that the page is not what the results say.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.growth import DISCOVERY, Curve
from bench.report import costs_table, milliseconds, number, rate, rows_table
from bench.results import Results, Scale, Writing, exponent

KEPT = Path(__file__).parent / "results"
TEXT = Path(__file__).parent / "performance.md"
PAGE = ROOT / "doc" / "performance.md"
PLOTS = ROOT / "doc" / "performance"

_TABLES = {
    "http-1": ("messages", "bare"),
    "http-2": ("messages", "bare"),
    "peers": ("", "the other"),
    "logins": ("", "nobody is asked"),
    "logins-beside": ("", "alone"),
    "tls": ("", "plain"),
    "l1": ("", "bare"),
    "l1-durable": ("", "durable"),
    "l2": ("deliveries", "bare"),
    "l32": ("", "without brokers"),
}
_MARK = re.compile(r"\{\{(\w+)(?: ([^}]+))?\}\}")


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


class Page:
    """The text with what was measured in the place of its marks."""

    def __init__(self, results: Results, curves: Sequence[Curve], plan: str, scale: Scale) -> None:
        self._results = results
        self._scale = scale
        self._curves = curves
        self._plan = plan
        self._marks: dict[str, Callable[[str], str]] = {
            "machine": lambda _: results.machine,
            "plan": lambda _: results.plan,
            "growth_plan": lambda _: plan,
            "table": self._table,
            "value": lambda name: f"{results.values[name]:,.0f}",
            "exact": lambda name: f"{results.values[name]:.2g}",
            "aims": lambda _: self._aims(),
            "skipped": lambda _: "".join(f"\n- not in this run: {one}" for one in results.skipped),
            "curves": lambda _: self._curve_table(),
            "scale_machine": lambda _: scale.machine,
            "over_http": lambda _: _pivoted("Durable `POST` of one message, 1 worker", "connection", scale.over_http),
            "alone": lambda _: _pivoted("Single writes through the group commit", "thread", scale.alone),
            "costs": lambda _: "\n\n".join(self._costs(store) for store in scale.costs),
            "filled": lambda _: self._filled(),
            "plots": lambda _: "\n".join(f"![{one.name}](performance/{one.file}.png)" for one in curves),
        }

    def write(self, text: str) -> str:
        """The page. Raises KeyError for a mark that nothing was measured for."""
        return _MARK.sub(lambda found: self._marks[found[1]](found[2] or ""), text)

    def _table(self, name: str) -> str:
        unit, reference = _TABLES[name]
        return _markdown(*rows_table(self._results.rows(name), unit, reference=reference))

    def _ratio(self, table: str, start: str) -> float:
        return next(row.ratio for row in self._results.rows(table) if row.name.startswith(start))

    def _aims(self) -> str:
        one, two = self._results.rows("http-1"), self._results.rows("http-2")
        values = self._results.values
        peers = {row.name.partition(" ")[0]: row for row in self._results.rows("peers")}
        posted, bulk = one[0], one[1]
        durable, delivered = self._results.rows("l1-durable")[0], self._results.rows("l32")[0]
        rows = [
            ["durable POST against bare eventlet WSGI", "0.45; above 0.6 with a faster parser", number(posted.ratio)],
            ["the same against the stack without a broker", "", number(posted.ratio / one[4].ratio)],
            ["two workers against one", "1.6", number(two[0].ours.rate / posted.ours.rate)],
            ["messages/s, 100 a POST against one a POST", "6", number(bulk.ours.rate * bulk.each / posted.ours.rate)],
            ["L3.2 deliveries/s against the same steps without brokers", "0.5", number(delivered.ratio)],
            ["L1, p50 and p99 against ZeroMQ with the commits it needs", "3x and 10x at most",
             f"{durable.ours.p50 / durable.reference.p50:.1f}x and {durable.ours.p99 / durable.reference.p99:.1f}x"],
            ["idle broker, all processes", "160 MB at most", f"{values['idle_mb']:.0f} MB"],
            [f"{values['undelivered']:,.0f} undelivered messages add", "under 60 MB",
             f"{values['undelivered_after_mb'] - values['undelivered_before_mb']:.0f} MB"],
        ]  # fmt: skip
        rows += [
            [f"POST against {row.name.partition(':')[0]}, 8 connections", "3", number(row.ratio)]
            for name, row in peers.items()
            if name in ("Zaqar", "RabbitMQ,")
        ]
        found = dict(next(one.points for one in self._curves if one.name == DISCOVERY))
        rows.append(
            ["discovery of 100 members on one machine from one neighbour", "10 s at most", f"{found[100]:.2g} s"]
        )
        listed, read = (self._scale.growth("SQLite", call) for call in ("list a page of 20", "read"))
        sizes = self._scale.costs["SQLite"]["read"]
        rows.append(
            [f"list of 20 and read of one at {max(sizes):,} messages against {min(sizes):,}, SQLite", "1.5x at most",
             f"{listed:.1f}x and {read:.1f}x"]
        )  # fmt: skip
        return _markdown(["figure", "aim", "measured"], rows)

    def _costs(self, store: str) -> str:
        heads, rows = costs_table(self._scale, store)
        return _markdown([f"{store[0].upper()}{store[1:]}, messages stored", *heads[1:]], rows)

    def _filled(self) -> str:
        largest = ((store, *max(by_size.items())) for store, by_size in self._scale.filled.items())
        return "; ".join(f"{size:,} messages on {store} in {seconds:.0f} s" for store, size, seconds in largest)

    def _curve_table(self) -> str:
        rows = [
            [
                one.name,
                " ".join(f"{size:,}: {cost:.3g}" for size, cost in one.points),
                one.unit,
                f"{exponent(one.points):.2f}",
            ]
            for one in self._curves
        ]
        return _markdown(["what", "size: cost", "unit", "exponent"], rows)


def _pivoted(head: str, who: str, taken: Sequence[Writing]) -> str:
    """A row for each store, a column for each number of those who write."""
    numbers = sorted({one.writers for one in taken})
    by_store: dict[str, dict[int, Writing]] = {}
    for one in taken:
        by_store.setdefault(one.store, {})[one.writers] = one
    rows = [[store, *(_written(writers[number]) for number in numbers)] for store, writers in by_store.items()]
    return _markdown([head, *(f"{number} {who}{'s' * (number > 1)}" for number in numbers)], rows)


def _written(one: Writing) -> str:
    groups = f", groups of {one.group:.1f} ({one.largest} at most)" if one.largest > 1 else ""
    return f"{rate(one.rate)}, p99 {milliseconds(one.p99)} ms{groups}"


def _pyplot() -> Any:
    import matplotlib as mpl  # an extra: not everybody plots

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def plot_stores(scale: Scale, folder: Path) -> None:
    """A picture of what calls cost the stores, by how much is in them."""
    plt = _pyplot()
    figure, panes = plt.subplots(1, len(scale.costs), figsize=(6 * len(scale.costs), 5.5), squeeze=False)
    for pane, (store, costs) in zip(panes[0], scale.costs.items(), strict=True):
        for call, by_size in costs.items():
            pane.plot(list(by_size), [seconds * 1000 for seconds in by_size.values()], marker="o",
                      label=f"{call}: {scale.exponent(store, call):.2f}")  # fmt: skip
        pane.set(xscale="log", yscale="log", title=store, xlabel="messages stored", ylabel="ms per call (median)")
        pane.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)  # beside no line
        pane.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / "stores.png", dpi=80, metadata={"Software": None})
    plt.close(figure)


def plot_curves(curves: Sequence[Curve], folder: Path) -> None:
    """A picture of each curve."""
    plt = _pyplot()
    for one in curves:
        figure, axes = plt.subplots(figsize=(5, 3.2))
        sizes, costs = [size for size, _ in one.points], [cost for _, cost in one.points]
        axes.loglog(sizes, costs, "o-")
        axes.set_ylim(min(costs) / 5, max(costs) * 5)
        axes.set(xlabel=one.of, ylabel=one.unit, title=f"{one.name}: exponent {exponent(one.points):.2f}")
        axes.grid(visible=True, which="both", alpha=0.3)
        figure.tight_layout()
        figure.savefig(folder / f"{one.file}.png", dpi=90, metadata={"Software": None})
        plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, or check; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--keep", type=Path, action="append", default=[], help="results to keep first")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    for path in options.keep:
        shutil.copy(path, KEPT / path.name)
    curves, plan = Curve.read(KEPT / "growth.json")
    scale = Scale.read(KEPT / "scale.json")
    page = Page(Results.read(KEPT / "bench.json"), curves, plan, scale)
    text = page.write(TEXT.read_text(encoding="utf-8"))
    if options.check:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    PLOTS.mkdir(exist_ok=True)
    plot_stores(scale, PLOTS)
    plot_curves(curves, PLOTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
