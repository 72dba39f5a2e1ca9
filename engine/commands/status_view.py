"""How `status` looks: well or not at a glance, then the numbers, then the tags in trouble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from writers import Watermark

from ..piweb.times import iso_text
from ..telemetry.freshness import Freshness
from .selection import Away
from .standing import LastRun
from .status import Status
from .terminal import ago, count, lasting, marks, plain, reason, stamp

__all__ = ["print_away", "print_headline", "print_status"]

_BAR = 40


def print_status(console: Console, found: Status, limit: int) -> None:
    """Print the whole of it; of tags in trouble at most `limit`."""
    state = found.standing
    print_headline(console, found)
    if state.tags:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in _facts(found):
            grid.add_row(name, fact)
        console.print(grid)
    if state.freshness is not None:
        _print_histogram(console, state.freshness)
    _print_tags(console, "In trouble", state.troubled, found, limit)
    _print_tags(console, "More than 1 h behind the freshest tag", state.behind, found, limit)
    print_away(console, found.away, limit)
    _print_runs(console, found)


def print_headline(console: Console, found: Status) -> None:
    health, name = found.health, f"pipeline {found.pipeline}"
    mark = marks(console)[0 if health.well else 1]
    style = "bold green" if health.well else "bold yellow"
    line = Text.assemble((f"{mark} ", style), (f"{name}: {plain(health.headline)}", "bold"))
    console.print(line, soft_wrap=True)
    for problem in health.problems[1:]:
        console.print(Text(f"  {plain(problem)}", style="yellow"), soft_wrap=True)


def _facts(found: Status) -> Iterator[tuple[str, str]]:
    state, shards = found.standing, found.shards
    unread = f", of {count(state.unread)} nothing is read yet" if state.unread else ""
    yield "tags", f"{count(state.tags)}: {count(state.tags - len(state.troubled))} ok{unread}"
    yield "events", count(state.rows)
    if state.low is not None and state.high is not None:
        yield "read from", _range(*state.low)
        yield "read up to", _range(*state.high)
    if state.ahead is not None:
        yield "read ahead", f"{count(state.ahead[0], 'tag')} with future data, up to {stamp(state.ahead[1])}"
    if shards.count > 1:
        yield "shards", f"{count(shards.count - len(shards.never))} of {count(shards.count)} have run"
    if found.holes_unknown_before is not None:
        why = "watermarks were rebuilt, or compacted by an older version"
        told = f"what could not be read before {stamp(found.holes_unknown_before)} is not known ({why})"
        yield "holes", f"{told}: `verify` finds it by counts"
    if state.freshness is not None:
        fresh = state.freshness
        yield "freshness", f"half {lasting(fresh.p50)}, 95 % {lasting(fresh.p95)}, worst {lasting(fresh.worst)}"


def _range(first: int, last: int) -> str:
    return stamp(first) if stamp(first) == stamp(last) else f"{stamp(first)} (earliest) to {stamp(last)} (latest)"


def _print_histogram(console: Console, fresh: Freshness) -> None:
    filled = [n for n, (_, tags) in enumerate(fresh.histogram) if tags]
    rows = fresh.histogram[filled[0] : filled[-1] + 1]
    most = max(tags for _, tags in rows)
    bar = "#" if console.options.ascii_only else "█"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right")
    grid.add_column(no_wrap=True)
    for name, tags in rows:
        length = -(-_BAR * tags // most)
        grid.add_row(f"  {name}", Text.assemble((bar * length, "cyan"), f" {count(tags)}" if tags else ""))
    console.print(grid)


def _print_tags(console: Console, title: str, tags: tuple[Watermark, ...], found: Status, limit: int) -> None:
    if not tags:
        return
    left = f", {count(limit)} shown" if len(tags) > limit else ""
    console.print(Text(f"{title} ({count(len(tags))}{left})", style="bold yellow"))
    for mark in tags[:limit]:
        name = found.names.get(mark.tag_webid, mark.tag_webid)
        upto = f"read up to {stamp(mark.present)}" if mark.high > mark.low else "never read"
        why = f": {mark.status}, {reason(name, mark.last_error or 'no reason known')}" if mark.status != "ok" else ""
        console.print(Text(f"  {plain(name)} ({upto}){why}"), soft_wrap=True)


def print_away(console: Console, away: Sequence[Away], limit: int) -> None:
    """Tags that went away: their rows stay, and they count in nothing else that is told."""
    if not away:
        return
    deleted = [tag for tag in away if tag.deleted_at is not None]
    left = [tag for tag in away if tag.deleted_at is None]
    shown = ", ".join(f"{plain(tag.name)} deleted since {iso_text(tag.deleted_at or 0)}" for tag in deleted[:limit])
    more = f"{count(len(deleted) - limit)} more deleted" if len(deleted) > limit else ""
    upto = max((tag.read_up_to for tag in left if tag.read_up_to is not None), default=None)
    since = "" if upto is None else f", last read up to {iso_text(upto)}"
    unselected = f"{count(len(left))} {'is' if len(left) == 1 else 'are'} not selected any more{since}" if left else ""
    told = "; ".join(text for text in (shown, more, unselected) if text)
    console.print(Text(f"{count(len(away), 'tag')} went away: {told}", style="dim"), soft_wrap=True)


def _went(run: LastRun, pipeline: str) -> str:
    why = plain(run.error or "").removeprefix(f"run {run.run_id} of pipeline {pipeline} is {run.status}: ")
    parts = [run.status] if run.status else []
    parts.append(f"{count(run.events, 'event')}{' or more' if run.or_more else ''}")
    if run.duration_seconds is not None:
        parts.append(lasting(run.duration_seconds))
    if run.tags_failed and " failed: " not in why:
        parts.append(f"{count(run.tags_failed, 'tag')} failed")
    return ", ".join(parts) + (f" ({why})" if why else "")


def _print_runs(console: Console, found: Status) -> None:
    if found.runs:
        console.print(Text("Last runs", style="bold"))
    sharded = any(run.shard != "0-of-1" for run in found.runs)
    for run in found.runs:
        shard = f", shard {run.shard}" if sharded else ""
        when = f"{stamp(run.ended_at)} ({ago((found.now - run.ended_at) / 1e6)})"
        console.print(
            Text(f"  {when}  {run.command} {run.run_id}{shard}: {_went(run, found.pipeline)}"), soft_wrap=True
        )
    for shard, holder in found.holders.items():
        console.print(Text(f"At work on shard {shard}: {holder}", style="bold cyan"), soft_wrap=True)
    if found.standing.tags and not found.holders:
        console.print(Text("Nobody is at work on it now.", style="dim"))
