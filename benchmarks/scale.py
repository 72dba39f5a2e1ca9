"""What scale costs: time by the number of tags, cost by the event, tasks of Spark, and a shard on paper and measured.

    python benchmarks/scale.py                                       the tables of docs/scale.md
    python benchmarks/scale.py --price 0.35 --pi-events 50000        with your price, and what your PI gives

All figures come from benchmarks/results/*.json and from what is assumed here; `python benchmarks/figures.py` writes the
tables, with these assumptions, into docs/scale.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.lab import results  # noqa: E402

Result = Mapping[str, Any]
TAGS = (1_000, 10_000, 30_000, 100_000, 500_000, 1_000_000)
_TAGS_A_REQUEST = 1000  # of a page of the list of tags, and of a batch of few values
_EVENTS_IN_A_YEAR = 365 * 24 * 60  # of a tag, at one a minute
_BILLION = 1_000_000_000
# A run that takes more than half of its interval leaves no room for a slow day of PI.
_MOST_OF_INTERVAL = 0.5
# What is measured, and for which use a reader knows it.
_USES = (
    ("history", "years of history"),
    ("backfill", "some days of history"),
    ("dense", "fast tags, an hour at a time"),
    ("wide", "slow tags, an hour at a time"),
    ("incremental", "slow tags, every five minutes"),
)


@dataclass(frozen=True, slots=True)
class Assumed:
    """What no benchmark knows: of the reader's cluster, and of the reader's PI."""

    price: float = 1.0  # of one hour of a node like the measured machine, in any currency
    pi_events: float = 100_000.0  # events a second that PI gives
    pi_requests: float = 20.0  # max_requests_per_second
    interval_secs: float = 300.0


def block(found: Sequence[Result], assumed: Assumed | None = None) -> str:
    """The tables as Markdown. A table whose benchmark has no result says so."""
    assumed = assumed or Assumed()
    figures = {result["scenario"]: {**result["figures"], **_load(result)} for result in found}
    tables = (_new_values, _a_year, _cost, _tasks, _shard)
    return "\n\n".join([_assumptions(assumed), *(table(figures, assumed) for table in tables)])


def _assumptions(assumed: Assumed) -> str:
    return (
        f"Assumed: a node like the measured machine costs {assumed.price:g} an hour; PI gives {assumed.pi_events:,.0f} events "
        f"a second, and {assumed.pi_requests:g} requests a second are allowed; a tag has one event a minute. Change them: "
        f"`python benchmarks/scale.py --price {assumed.price:g} --pi-events {assumed.pi_events:.0f} "
        f"--pi-requests {assumed.pi_requests:g} --interval {assumed.interval_secs:.0f}`."
    )


def _new_values(figures: Mapping[str, Any], assumed: Assumed) -> str:
    title = "### New values, again and again"
    if not {"incremental", "small"} <= figures.keys():
        return _missing(title, "incremental small")
    start = figures["small"]["tiny_wall_seconds"]
    per_tag = figures["incremental"]["seconds"] / _tags_of_incremental(figures["incremental"])
    often = assumed.interval_secs / 5
    lines = []
    for tags in TAGS:
        requests = 2 * math.ceil(tags / _TAGS_A_REQUEST)
        pi, machine = requests / assumed.pi_requests, start + tags * per_tag
        ways = [_way(pi / secs, machine / secs) for secs in (assumed.interval_secs, often)]
        lines.append([f"{tags:,}", f"{requests:,}", _span(pi), _span(machine), *ways])
    header = ["tags", "requests", "PI takes", "the machine takes"]
    header += [f"every {secs:g} s" for secs in (assumed.interval_secs, often)]
    says = (
        f"Requests: a page of the list for each {_TAGS_A_REQUEST:,} tags, and a batch of values for each {_TAGS_A_REQUEST:,}. "
        "`--follow` keeps the list, and asks half. "
        f"The machine: {start:.1f} s to start (benchmark `small`), and {per_tag * 1e6:.0f} millionths of a second a tag (benchmark "
        f"`incremental`). A way is good if it takes {_MOST_OF_INTERVAL:.0%} of the interval or less."
    )
    return _section(title, says, _table(header, lines))


def _way(pi: float, machine: float) -> str:
    """How to run, by what both take of the interval: requests to find tags and to read values, and work."""
    if max(pi, machine) <= _MOST_OF_INTERVAL:
        return "one process"
    if pi / 2 > _MOST_OF_INTERVAL:
        return "a higher ceiling, or less often"
    if machine <= _MOST_OF_INTERVAL:
        return "`--follow`"
    return f"{math.ceil(machine / _MOST_OF_INTERVAL)} shards with `--follow`"


def _a_year(figures: Mapping[str, Any], assumed: Assumed) -> str:
    title = "### A year of history"
    if "history" not in figures:
        return _missing(title, "history")
    rate = figures["history"]["events_per_second"]
    lines = []
    for tags in TAGS:
        events = tags * _EVENTS_IN_A_YEAR
        lines.append(
            [f"{tags:,}", f"{events / 1e9:,.1f} billion", _span(events / rate), _span(events / assumed.pi_events)]
        )
    nodes = assumed.pi_events / rate
    header = ["tags", "events", "one process takes", "PI takes"]
    enough = "So one process is enough." if nodes <= 1 else f"So {math.ceil(nodes)} shards keep up with PI."
    says = (
        f"One process reads {rate:,.0f} events a second (benchmark `history`), {rate / assumed.pi_events:.1f} times what this "
        f"PI gives. {enough} Formula: shards = events a second of PI / events a second of a process, rounded up."
    )
    return _section(title, says, _table(header, lines))


def _cost(figures: Mapping[str, Any], assumed: Assumed) -> str:
    title = "### Cost of a billion events"
    lines = []
    for scenario, use in _USES:
        if scenario in figures:
            rate = figures[scenario]["events_per_second"]
            mine, waiting = (cost_of_billion(each, assumed.price) for each in (rate, min(rate, assumed.pi_events)))
            lines.append([use, f"`{scenario}`", f"{rate:,.0f}", f"{mine:.2f}", f"{waiting:.2f}"])
    if not lines:
        return _missing(title, "history")
    header = ["for", "benchmark", "events a second", "cost", "cost if PI is the limit"]
    says = (
        "Cost = price of a node hour x 1,000,000,000 / events a second / 3,600. A node that waits for PI costs as much."
    )
    return _section(title, says, _table(header, lines))


def cost_of_billion(events_per_second: float, price: float) -> float:
    """What the node costs while it reads a billion events."""
    return price * _BILLION / events_per_second / 3600


def _tasks(figures: Mapping[str, Any], _assumed: Assumed) -> str:
    title = "### Tasks of Spark"
    if "spark" not in figures:
        return _missing(title, "spark")
    found = figures["spark"]
    lines = [
        [
            says,
            f"{found[f'{name}_requests_per_second']:.1f}",
            f"{found[f'{name}_events_per_second']:,.0f}",
            f"{found[f'{name}_of_linear']:.2f}",
            f"{found[f'{name}_most_in_a_second']:g}",
        ]
        for name, says in (("one", "1"), ("two", "2"), ("four", "4"), ("at_ceiling", "4, twice as many in flight"))
    ]
    header = ["tasks", "requests a second", "events a second", "of linear", "most requests in any second"]
    says = (
        f"The server answers after half a second, each task has two requests in flight, and {found['ceiling']:g} a second are "
        "allowed. Requests are counted in the log of the simulator: the rate over the busiest ten seconds, and the most in any "
        "second (benchmark `spark`). On a busy machine requests that were held up arrive together. So one second may have more "
        f"than were allowed to start in it. Before this measurement the load was {found['load']:.0f} on {found['cores']} cores."
    )
    return _section(title, says, _table(header, lines))


def _shard(figures: Mapping[str, Any], assumed: Assumed) -> str:
    if not {"shards", "incremental"} <= figures.keys():
        return _missing("### Very many tags in shards", "shards incremental")
    found, known = figures["shards"], figures["incremental"]
    tags, count = found["tags"], found["shards"]
    title = f"### {tags:,} tags in {count} shards"
    runs = 3600 / assumed.interval_secs
    mine = tags / count
    finding, reading = math.ceil(tags / _TAGS_A_REQUEST), math.ceil(mine / _TAGS_A_REQUEST)
    events = mine * assumed.interval_secs / 60
    per_event = known["bytes_on_disk_per_event"]
    lines = [
        ["tags of the shard", f"{mine:,.0f}", f"{found['tags_of_shard']:,}"],
        ["requests of a run", f"{finding + reading:,}", f"{found['requests']:,} (`plan`: {found['plan_requests']:,})"],
        ["events of a run", f"{events:,.0f}", f"{found['events']:,} (`plan`: {found['plan_values']:,})"],
        [
            "requests an hour, all shards",
            f"{(finding + reading) * runs * count:,.0f}",
            f"{found['requests'] * runs * count:,.0f}",
        ],
        ["commits an hour, all shards", f"{runs * count:,.0f}", f"{found['commits'] * runs * count:,.0f}"],
        [
            "growth of the table a day",
            f"{events * runs * count * 24 * per_event / 2**30:.1f} GiB",
            f"{found['events'] * runs * count * 24 * found['bytes_on_disk_per_event'] / 2**30:.1f} GiB",
        ],
        ["memory of a process", f"{known['peak_mib']:,.0f} MiB", f"{found['peak_mib']:,.0f} MiB"],
    ]
    asked = found["requests"] * runs * count / 3600
    says = (
        "On paper: requests as above, but each shard finds all tags; one commit a run; bytes an event and memory as in the "
        "benchmark `incremental`. Measured: one of the shards, in the benchmark `shards`; all shards are its figures times "
        f"{count}.\n\nTogether the shards ask {asked:.1f} times a second on average. "
        f"{found['plan_finding_requests'] / found['plan_requests']:.0%} of it finds tags: `--on spark` and `--follow` find them "
        "once."
    )
    return _section(title, says, _table(["", "on paper", "measured"], lines))


def _load(result: Result) -> dict[str, float]:
    """How busy the machine was before."""
    machine = result.get("machine", {})
    return {"load": machine.get("load_before", 0.0), "cores": machine.get("cores_used", 0)}


def _tags_of_incremental(figures: Mapping[str, Any]) -> float:
    """Of which each has five new events."""
    return float(figures["events"]) / 5


def _section(title: str, says: str, table: Sequence[str]) -> str:
    return "\n".join([title, "", says, "", *table])


def _missing(title: str, scenario: str) -> str:
    return f"{title}\n\nNot measured here: `python benchmarks/run.py {scenario}` does."


def _span(secs: float) -> str:
    """A time with a unit that a person reads."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if secs < most * size:
            return f"{secs / size:.1f} {unit}" if secs < 10 * size else f"{secs / size:.0f} {unit}"
    return f"{secs / 86_400:,.0f} days"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "benchmarks/scale.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Assumed()
    parser.add_argument("--price", type=_positive, default=usual.price, help="of one node hour, in any currency")
    parser.add_argument("--pi-events", type=_positive, default=usual.pi_events, help="events a second that PI gives")
    parser.add_argument("--pi-requests", type=_positive, default=usual.pi_requests, help="max_requests_per_second")
    parser.add_argument("--interval", type=_positive, default=usual.interval_secs, help="seconds between two runs")
    parser.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="benchmarks/results")
    given = parser.parse_args(arguments)
    assumed = Assumed(given.price, given.pi_events, given.pi_requests, given.interval)
    print(block(results.read_all(given.results), assumed))
    return 0


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


if __name__ == "__main__":
    sys.exit(main())
