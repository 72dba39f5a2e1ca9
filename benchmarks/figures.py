"""Write the figures into the documents, from benchmarks/results/*.json. Nobody types a figure.

    python benchmarks/figures.py            README.md and benchmarks/README.md
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

from benchmarks.lab import results  # noqa: E402

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
Result = Mapping[str, Any]


def short_block(found: Sequence[Result]) -> str:
    """A line per scenario: what came out, and whether its bars are met."""
    lines = ["| What | Measured | Bars |", "| --- | --- | --- |"]
    lines += [f"| {r['title']} | {r['shows']} | {_bars(r)} |" for r in found]
    return "\n".join(
        [*lines, "", f"{_where(found)} Made by `python benchmarks/run.py all`; the files are in benchmarks/results."]
    )


def long_block(found: Sequence[Result]) -> str:
    """A section per scenario: what it is, the bars, and the figures behind them."""
    return "\n\n".join([_where(found), *map(_section, found)])


def _section(result: Result) -> str:
    lines = [f"### {result['title']} (`{result['scenario']}`)", "", result["about"], "", f"**{result['shows']}**", ""]
    if result["bars"]:
        lines += ["| Bar | Measured | |", "| --- | ---: | --- |"]
        lines += [
            f"| {bar['relation']} {bar['bar']:g} {bar['says']} | {bar['measured']:,g} | {_mark(bar)} |"
            for bar in result["bars"]
        ]
        lines.append("")
    figures = ", ".join(f"{name} {number(value)}" for name, value in result["figures"].items())
    return "\n".join([*lines, f"Figures: {figures}."])


def number(value: float) -> str:
    """A figure as a person writes it."""
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
    packages = ", ".join(f"{name} {versions[name]}" for name in ("deltalake", "pyarrow", "msgspec", "aiohttp"))
    return (
        f"Measured on {when}: {machine['cores_used']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']:g} GiB, {machine['system']}, Python {versions['python']}, {packages}; "
        "simulator and engine on the same cores, in processes of their own."
    )


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
        after = updated(before, block(found))
        if BEGIN not in before:
            print(f"{name}: no figures wanted there", file=sys.stderr)
        elif after != before:
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
