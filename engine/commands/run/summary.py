"""The summary that a run prints at its end: what it did, where the tables are, how to query them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from config import Config

from ...telemetry.formats import count, reason
from ...telemetry.report import RunReport, facts, hole_text
from ..terminal import command_line, facts_table, python_command_line

FAILED_SHOWN = 10
REASONS_SHOWN = 3
_STYLES = {"succeeded": "green", "incomplete": "yellow", "interrupted": "yellow"}
_QUERY = "SELECT tag_name, timestamp, value, value_string, units FROM t ORDER BY timestamp DESC LIMIT 10"
_PANEL_WIDTH = 100


def print_summary(console: Console, report: RunReport, config: Config, *, repeat: Sequence[str]) -> None:
    """`repeat`: the options with which another command finds the same tables."""
    style = _STYLES.get(report.status, "red")
    title = Text.assemble((report.status, f"bold {style}"), f"  run {report.run_id} of pipeline {report.pipeline}")
    width = min(console.width, _PANEL_WIDTH)
    console.print(Panel(facts_table(facts(report)), title=title, title_align="left", border_style=style, width=width))
    _print_failures(console, report)
    _print_holes(console, report)
    _print_tables(console, report, config, repeat)


def _print_failures(console: Console, report: RunReport) -> None:
    if not report.tags_failed:
        return
    failed = report.tags_failed
    shown = failed[:FAILED_SHOWN]
    console.print(Text(f"Failed tags ({len(shown)} of {count(len(failed))})", style="bold yellow"))
    for tag, why in shown:
        console.print(Text(f"  {tag}: {reason(tag, why)}"), soft_wrap=True)
    if len(shown) < len(failed):
        for why, tags in Counter(reason(tag, why) for tag, why in failed).most_common(REASONS_SHOWN):
            console.print(Text(f"  {count(tags)} times: {why}", style="dim"), soft_wrap=True)


def _print_holes(console: Console, report: RunReport) -> None:
    if not report.holes:
        return
    shown = report.holes[:FAILED_SHOWN]
    console.print(Text(f"Holes ({len(shown)} of {count(len(report.holes))})", style="bold yellow"))
    for one in shown:
        console.print(Text(f"  {one.tag} {hole_text(one.hole)}"), soft_wrap=True)


def _print_tables(console: Console, report: RunReport, config: Config, repeat: Sequence[str]) -> None:
    console.print(Text("Tables", style="bold"))
    width = max(map(len, report.tables), default=0)
    for name, uri in report.tables.items():  # not wrapped: a path is copied
        console.print(Text(f"  {name:{width}}  {uri}"), soft_wrap=True)
    console.print(Text("Look at the data", style="bold"))
    lines = [command_line(("status", *repeat))]
    table_uri = report.tables.get("pi_timeseries")
    if table_uri is None:  # extraction.datasets leaves out recorded values
        pass
    elif config.storage.root is None:
        lines.append(f"{_QUERY.replace('FROM t', f'FROM {table_uri}')};")
    elif not config.storage.options:  # with options, a query would have to spell out credentials
        lines.append(query(table_uri))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text("Run it again: only what is new is read.", style="dim"))


def query(uri: str) -> str:
    """A command line that prints the newest events of the table at `uri`."""
    return python_command_line(
        f"from deltalake import DeltaTable, QueryBuilder; t = DeltaTable({json.dumps(uri)}); "
        f'print(QueryBuilder().register("t", t).execute("{_QUERY}").read_all())'
    )
