"""What a person reads when a run is over: how it went, where the tables are, how to look at them.

Renders a report; counts nothing itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from config import Config

from ..telemetry.report import RunReport
from ..telemetry.report_text import corrected, hole_text, states
from .terminal import count, lasting, plain, program, python, reason, size

__all__ = ["print_summary", "query"]

FAILED_SHOWN = 10
REASONS_SHOWN = 3
_STYLES = {"succeeded": "green", "incomplete": "yellow", "interrupted": "yellow"}
_QUERY = "SELECT tag_name, timestamp, value, value_string, units FROM t ORDER BY timestamp DESC LIMIT 10"
_PANEL_WIDTH = 100


def print_summary(console: Console, report: RunReport, config: Config, *, repeat: Sequence[str]) -> None:
    """Print the whole of it. `repeat` are the arguments that select the same tables again."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _facts(report):
        grid.add_row(name, text)
    style = _STYLES.get(report.status, "red")
    title = Text.assemble((report.status, f"bold {style}"), f"  run {report.run_id} of pipeline {report.pipeline}")
    width = min(console.width, _PANEL_WIDTH)
    console.print(Panel(grid, title=title, title_align="left", border_style=style, width=width))
    _print_failures(console, report)
    _print_holes(console, report)
    _print_tables(console, report, config, repeat)


def _facts(report: RunReport) -> Iterator[tuple[str, str]]:
    done = f"{count(report.tags_extracted)} of {count(report.tags_requested)} read up to {report.until[:19]}Z"
    left = f", {count(report.tags_undone)} not finished" if report.tags_undone else ""
    failed = f", {count(len(report.tags_failed))} failed" if report.tags_failed else ""
    yield "tags", done + left + failed
    secs = report.duration_seconds
    speed = f" ({count(report.records_written / secs)} per second)" if secs > 0 and report.records_written else ""
    yield "events", f"{count(report.records_written)} written in {lasting(secs)}{speed}"
    if report.corrections:
        yield "corrected", corrected(report.corrections)
    if told := states(report.digital_states):
        yield "digital states", plain(told)
    trouble = f", {count(report.retries)} repeated" if report.retries else ""
    trouble += f", {count(report.throttled)} throttled" if report.throttled else ""
    received = f"{count(report.records_read, 'event')} read, {size(report.bytes_fetched)} received"
    yield "requests", f"{count(report.requests)}{trouble}; {received}"
    files = f"{count(report.files_written, 'file')} of {size(report.bytes_written)}"
    yield "commits", f"{count(report.commits)} with {files}; {count(report.watermarks_moved, 'watermark')} moved"
    yield "memory", f"{size(report.peak_rss_bytes)} at most"


def _print_failures(console: Console, report: RunReport) -> None:
    if not report.tags_failed:
        return
    failed = report.tags_failed
    shown = failed[:FAILED_SHOWN]
    console.print(Text(f"Failed tags ({len(shown)} of {count(len(failed))})", style="bold yellow"))
    for tag, why in shown:
        console.print(Text(f"  {plain(tag)}: {reason(tag, why)}"), soft_wrap=True)
    if len(shown) < len(failed):
        for why, tags in Counter(reason(tag, why) for tag, why in failed).most_common(REASONS_SHOWN):
            console.print(Text(f"  {count(tags)} times: {why}", style="dim"), soft_wrap=True)


def _print_holes(console: Console, report: RunReport) -> None:
    if not report.holes:
        return
    shown = report.holes[:FAILED_SHOWN]
    console.print(Text(f"Holes ({len(shown)} of {count(len(report.holes))})", style="bold yellow"))
    for one in shown:
        console.print(Text(f"  {plain(one.tag)} {plain(hole_text(one.hole))}"), soft_wrap=True)


def _print_tables(console: Console, report: RunReport, config: Config, repeat: Sequence[str]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, uri in report.tables.items():
        table.add_row(Text(f"  {name}", no_wrap=True), Text(uri, overflow="fold"))
    console.print(Text("Tables", style="bold"))
    console.print(table)
    console.print(Text("Look at them", style="bold"))
    looks = [program(("status", *repeat))]
    if config.storage.root is None:
        looks.append(f"{_QUERY.replace('FROM t', 'FROM ' + report.tables['pi_timeseries'])};")
    elif not config.storage.options:  # with options, a query would have to spell out credentials
        looks.append(query(report.tables["pi_timeseries"]))
    for line in looks:
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text("Run it again, and only what is new is read.", style="dim"))


def query(uri: str) -> str:
    """A command line that prints the newest events of a table."""
    return python(
        f"from deltalake import DeltaTable, QueryBuilder; t = DeltaTable({json.dumps(uri)}); "
        f'print(QueryBuilder().register("t", t).execute("{_QUERY}").read_all())'
    )
