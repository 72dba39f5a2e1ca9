"""Writes the figures into the documents, from benchmarks/results/*.json.

    python benchmarks/figures.py            README.md, benchmarks/README.md, docs/tuning.md, docs/scale.md
    python benchmarks/figures.py --check    exit code 1 if they do not say what the results say

The figures stand between the lines `<!-- figures:begin -->` and `<!-- figures:end -->`; a document
without these lines is left alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import scale  # noqa: E402
from benchmarks.lab import results  # noqa: E402

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
IN_SHORT = frozenset({"dense", "wide", "incremental", "reconcile", "history", "memory", "assets"})
Result = Mapping[str, Any]


def short_block(found: Sequence[Result]) -> str:
    """A line for each scenario that decides, and for each that misses a bar."""
    lines = ["| What | Measured | Bars |", "| --- | --- | --- |"]
    shown = [r for r in found if r["scenario"] in IN_SHORT or not all(bar["met"] for bar in r["bars"])]
    lines += [f"| {r['title']} | {r['shows']} | {_bars(r)} |" for r in shown]
    return "\n".join([*lines, "", f"{_where(found)} Made by `python benchmarks/run.py all`."])


def long_block(found: Sequence[Result]) -> str:
    """A section per scenario: what it is, the bars, and the figures behind them."""
    return "\n\n".join([_where(found), *map(_section, found)])


# What a reader tunes for, the scenario that measures it, and what its figures say.
TUNED: tuple[tuple[str, str, str], ...] = (
    (
        "many events of few tags",
        "dense",
        "{events_per_second:,.0f} events/s, {peak_mib:.0f} MiB of memory, {bytes_on_disk_per_event:.1f} bytes an event on disk",
    ),
    (
        "few events of many tags",
        "wide",
        "{events_per_second:,.0f} events/s, {peak_mib:.0f} MiB of memory, {bytes_on_disk_per_event:.1f} bytes an event on disk",
    ),
    (
        "many tags every five minutes",
        "incremental",
        "{seconds:.1f} s for {events:,} events, {bytes_on_disk_per_event:.1f} bytes an event on disk: short runs make small files",
    ),
    (
        "years of history",
        "history",
        "{events_per_second:,.0f} events/s, {peak_mib:.0f} MiB of memory, {files_per_day:.1f} files a day of data",
    ),
    (
        "comparing with PI again",
        "reconcile",
        "{ratio_unchanged:.2f} x the time of reading if nothing changed, {ratio_changed:.2f} x if some events did",
    ),
    (
        "a window of 16 times the length",
        "memory",
        "{peak_mib_longest:.0f} MiB of memory, {peak_mib_shortest:.0f} MiB for the short one",
    ),
    (
        "a server that refuses",
        "throttled",
        "{share_of_capacity:.0%} of what it can give is used, {share_refused:.1%} of the requests are refused",
    ),
    ("{tags:,} tags", "planning", "planned in {seconds:.1f} s, with {peak_mib:.0f} MiB of memory"),
)


def tuning_block(found: Sequence[Result]) -> str:
    """A line for each thing that a reader may tune for."""
    by_name = {result["scenario"]: result["figures"] for result in found}
    lines = ["| for | measured | benchmark |", "| --- | --- | --- |"]
    for what, scenario, says in TUNED:
        if scenario in by_name:
            figures = by_name[scenario]
            lines.append(f"| {what.format_map(figures)} | {says.format_map(figures)} | `{scenario}` |")
    return "\n".join([*lines, "", _where(found)])


def scale_block(found: Sequence[Result]) -> str:
    """What scale costs, with the usual assumptions."""
    return f"{scale.block(found)}\n\n{_where(found)}"


def _section(result: Result) -> str:
    lines = [f"### {result['title']} (`{result['scenario']}`)", "", result["about"], "", f"**{result['shows']}**", ""]
    if result["bars"]:
        lines += ["| Bar | Measured | |", "| --- | ---: | --- |"]
        lines += [
            f"| {bar['relation']} {bar['bar']:g} {bar['says']} | {bar['measured']:,g} | {_mark(bar)} |"
            for bar in result["bars"]
        ]
        lines.append("")
    for table in result.get("tables", ()):
        lines += [table["title"], "", _row(table["head"]), _row(["---"] * len(table["head"]))]
        lines += [*map(_row, table["rows"]), ""]
    figures = ", ".join(f"{name} {number(value)}" for name, value in result["figures"].items())
    return "\n".join([*lines, f"Figures: {figures}."])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """A figure with as many digits as are readable."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _bars(result: Result) -> str:
    if not result["bars"]:
        return ""
    met = sum(bar["met"] for bar in result["bars"])
    return "met" if met == len(result["bars"]) else f"{met} of {len(result['bars'])} met"


def _mark(bar: Result) -> str:
    return "met" if bar["met"] else "**missed**"


def _where(found: Sequence[Result]) -> str:
    """Machine, versions and day, once for all results that share them."""
    if not found:
        return "Nothing has been measured yet."
    newest = max(found, key=lambda result: str(result["measured_at"]))
    machine, versions = newest["machine"], newest["versions"]
    days = sorted({str(result["measured_at"])[:10] for result in found})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    processors = " or ".join(sorted({_short(result["machine"]["cpu"]) for result in found}))
    packages = ", ".join(f"{name} {versions[name]}" for name in ("deltalake", "pyarrow", "msgspec", "aiohttp"))
    return (
        f"Measured on {when}: {machine['cores_used']} cores of {processors}, "
        f"{machine['memory_gib']:g} GiB, {machine['system']}; Python {versions['python']}, {packages}; "
        "simulator and engine share the cores."
    )


def _short(processor: str) -> str:
    """Its name as people say it, such as Intel Xeon."""
    return processor.replace("(R)", "").partition(" Processor")[0]


def updated(text: str, block: str) -> str:
    """The document with the block between its markers; as it is, if it has none."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        return text
    return f"{head}{BEGIN}\n{block}\n{END}{tail}"


DOCUMENTS: dict[str, Callable[[Sequence[Result]], str]] = {
    "README.md": short_block,
    "benchmarks/README.md": long_block,
    "docs/tuning.md": tuning_block,
    "docs/scale.md": scale_block,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "benchmarks/figures.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a document is stale")
    parser.add_argument("--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="benchmarks/results")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="FOLDER", help="where the documents are")
    given = parser.parse_args(arguments)
    found = results.read_all(given.results)
    stale = []
    for name, block in DOCUMENTS.items():
        path = given.root / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if BEGIN not in before:
            print(f"{name}: no figures wanted there", file=sys.stderr)
            continue
        after = updated(before, block(found))
        if after != before:
            stale.append(name)
            if not given.check:
                path.write_text(after, encoding="utf-8")
                print(f"{name}: written", file=sys.stderr)
    if given.check and stale:
        print(f"stale: {', '.join(stale)}; run python benchmarks/figures.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
