"""How `status` looks: well or not at a glance, then the numbers, then the tags in trouble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from writers import Watermark

from ..telemetry.freshness import Freshness
from .standing import LastRun, Standing
from .status import Status
from .terminal import ago, count, lasting, marks, plain, reason, stamp

__all__ = ["headline", "print_headline", "print_status"]

_BAR = 40
# A pipeline whose present is a day old is not at work, however seldom it is meant to be.
_STALE_SECS = 86_400


def print_status(console: Console, found: Status, limit: int) -> None:
    """Print the whole of it; of tags in trouble at most `limit`."""
    state = found.standing
    print_headline(console, found)
    if state.tags:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, fact in _facts(state):
            grid.add_row(name, fact)
        console.print(grid)
    if state.freshness is not None:
        _print_histogram(console, state.freshness)
    _print_tags(console, "In trouble", state.troubled, found, limit)
    _print_tags(console, "More than 1 h behind the freshest tag", state.behind, found, limit)
    _print_runs(console, found)


def print_headline(console: Console, found: Status) -> None:
    well, text = headline(found)
    mark = marks(console)[0 if well else 1]
    console.print(Text.assemble((f"{mark} ", "bold green" if well else "bold yellow"), (text, "bold")), soft_wrap=True)


def headline(found: Status) -> tuple[bool, str]:
    """Whether all is well, and the one sentence to know."""
    state, name = found.standing, f"pipeline {found.pipeline}"
    if not state.tags:
        return False, f"{name}: nothing has been read yet; `run` begins"
    if state.troubled:
        return False, f"{name}: {count(len(state.troubled))} of {count(state.tags, 'tag')} in trouble"
    if state.behind:
        return False, f"{name}: {count(len(state.behind))} of {count(state.tags, 'tag')} fell behind"
    if state.high is None:
        return False, f"{name}: nothing of {count(state.tags, 'tag')} has been read yet"
    upto = f"{stamp(state.high[0])}, {ago((found.now - state.high[0]) / 1e6)}"
    if not found.holders and (went_wrong := _went_wrong(found.runs)):
        return False, f"{name}: the last run {went_wrong}; read up to {upto}"
    if found.open_ended and state.freshness is not None and state.freshness.p50 > _STALE_SECS:
        return False, f"{name}: nothing newer than {upto}; do runs still take place?"
    return True, f"{name}: all of {count(state.tags, 'tag')} read up to {upto}"


def _went_wrong(runs: Sequence[LastRun]) -> str:
    """What there is to say against the newest run, or the newest of any shard beside it."""
    newest: dict[str, LastRun] = {}
    for run in runs:
        if run.command == "run":
            newest.setdefault(run.shard, run)
    division = {shard.rpartition("-of-")[2] for shard in list(newest)[:1]}  # shards of another one are over
    ended = {run.status for shard, run in newest.items() if shard.rpartition("-of-")[2] in division}
    return "failed" if "failed" in ended else "was incomplete" if "incomplete" in ended else ""


def _facts(state: Standing) -> Iterator[tuple[str, str]]:
    unread = f", of {count(state.unread)} nothing is read yet" if state.unread else ""
    yield "tags", f"{count(state.tags)}: {count(state.tags - len(state.troubled))} ok{unread}"
    yield "events", count(state.rows)
    if state.low is not None and state.high is not None:
        yield "read from", _range(*state.low)
        yield "read up to", _range(*state.high)
    if state.ahead is not None:
        yield "read ahead", f"{count(state.ahead[0], 'tag')} with future data, up to {stamp(state.ahead[1])}"
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
