"""Prints the status and the gaps of a pipeline: the headline, the numbers, then lists; or all of it as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from writers import Watermark

from ...model import Micros
from ...piweb.times import iso_text
from ...plan.gap_ledger import GapGroup, GapReason, OpenGap, grouped
from ...plan.timeline import HOUR, SECOND
from ...telemetry.formats import count, format_age, format_duration, format_time, reason
from ...telemetry.freshness import Freshness
from ...telemetry.report import window
from ..selection import RetiredTag
from ..terminal import facts_table, status_symbols
from ..timeline_chart import span, timeline
from .compute import Status
from .gaps import Gaps
from .pipeline_progress import LastRun
from .sampled import SampledProgress

REASONS = {
    GapReason.NEVER_READ: "never read",
    GapReason.BEHIND: "not read yet",
    GapReason.HISTORY: "history before what is read; `run --mode full` reads it",
    GapReason.FAILED: "failed",
    GapReason.HOLE: "cannot be read",
}
# Gaps that are listed tag by tag, each with its error.
_BY_TAG = (GapReason.FAILED, GapReason.HOLE)
_BAR = 40


def print_status(console: Console, found: Status, limit: int) -> None:
    """`limit`: the most tags of each list."""
    state = found.progress
    print_headline(console, found)
    facts = [*(_facts(found) if state.tags else ()), *_of_sampled(found.sampled), *_of_frames(found)]
    if facts:
        console.print(facts_table(facts))
    if state.freshness is not None:
        _print_histogram(console, state.freshness)
    _print_tags(console, "Failing", state.failing, found, limit)
    if found.sampled is not None:
        _print_tags(console, "Failing sampled series", found.sampled.progress.failing, found, limit)
    _print_tags(console, "More than 1 h behind the freshest tag", state.behind, found, limit)
    print_retired(console, found.retired, limit)
    _print_runs(console, found)


def print_headline(console: Console, found: Status) -> None:
    health, name = found.health, f"pipeline {found.pipeline}"
    watermark = status_symbols(console)[0 if health.well else 1]
    style = "bold green" if health.well else "bold yellow"
    line = Text.assemble((f"{watermark} ", style), (f"{name}: {health.headline}", "bold"))
    console.print(line, soft_wrap=True)
    for problem in health.problems[1:]:
        console.print(Text(f"  {problem}", style="yellow"), soft_wrap=True)


def _facts(found: Status) -> Iterator[tuple[str, str]]:
    state, shards = found.progress, found.shards
    unread = f", of {count(state.unread)} nothing is read yet" if state.unread else ""
    yield "tags", f"{count(state.tags)}: {count(state.tags - len(state.failing))} ok{unread}"
    yield "events", count(state.rows)
    if state.low is not None and state.high is not None:
        yield "read from", _range(*state.low)
        yield "read up to", _range(*state.high)
    if state.ahead is not None:
        yield "read ahead", f"{count(state.ahead[0], 'tag')} with future data, up to {format_time(state.ahead[1])}"
    if shards.count > 1:
        yield "shards", f"{count(shards.count - len(shards.never))} of {count(shards.count)} have run"
    if found.holes_unknown_before is not None:
        why = "watermarks were rebuilt, or compacted by an older version"
        text = f"what could not be read before {format_time(found.holes_unknown_before)} is not known ({why})"
        yield "holes", f"{text}: `verify` finds it by counts"
    if state.freshness is not None:
        fresh = state.freshness
        yield (
            "freshness",
            f"half {format_duration(fresh.p50)}, 95 % {format_duration(fresh.p95)}, worst {format_duration(fresh.worst)}",
        )


def _of_frames(found: Status) -> Iterator[tuple[str, str]]:
    if found.frames:
        low, high = min(one.low for one in found.frames), min(one.high for one in found.frames)
        yield "event frames", f"read from {format_time(low)} up to {format_time(high)}"
    if (at := found.last_read.get("assets")) is not None:
        yield "assets", f"read {format_age((found.now - at) / 1e6)}"


def _of_sampled(sampled: SampledProgress | None) -> Iterator[tuple[str, str]]:
    if sampled is None:
        return
    state = sampled.progress
    yield "sampled", f"{count(state.tags)} series: {count(state.tags - len(state.failing))} ok"
    if state.low is not None and state.high is not None:
        yield "sampled from", _range(*state.low)
        yield "sampled up to", _range(*state.high)


def _range(first: int, last: int) -> str:
    return (
        format_time(first)
        if format_time(first) == format_time(last)
        else f"{format_time(first)} (earliest) to {format_time(last)} (latest)"
    )


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
    for watermark in tags[:limit]:
        name = found.names.get(watermark.tag_webid, watermark.tag_webid)
        read_up_to = f"read up to {format_time(watermark.present)}" if watermark.high > watermark.low else "never read"
        why = (
            f": {watermark.status}, {reason(name, watermark.last_error or 'no reason known')}"
            if watermark.status != "ok"
            else ""
        )
        console.print(Text(f"  {name} ({read_up_to}){why}"), soft_wrap=True)


def print_retired(console: Console, tags: Sequence[RetiredTag], limit: int) -> None:
    """The tags that are read no longer. Their rows stay; nothing else in the status counts them."""
    if not tags:
        return
    deleted = [tag for tag in tags if tag.deleted_at is not None]
    left = [tag for tag in tags if tag.deleted_at is None]
    shown = ", ".join(f"{tag.name} deleted since {iso_text(tag.deleted_at or 0)}" for tag in deleted[:limit])
    more = f"{count(len(deleted) - limit)} more deleted" if len(deleted) > limit else ""
    read_up_to = max((tag.read_up_to for tag in left if tag.read_up_to is not None), default=None)
    since = "" if read_up_to is None else f", last read up to {iso_text(read_up_to)}"
    unselected = f"{count(len(left))} {'is' if len(left) == 1 else 'are'} not selected any more{since}" if left else ""
    text = "; ".join(part for part in (shown, more, unselected) if part)
    console.print(Text(f"{count(len(tags), 'tag')} went away: {text}", style="dim"), soft_wrap=True)


def _went(run: LastRun, pipeline: str) -> str:
    why = (run.error or "").removeprefix(f"run {run.run_id} of pipeline {pipeline} is {run.status}: ")
    parts = [run.status] if run.status else []
    parts.append(f"{count(run.events, 'event')}{' or more' if run.or_more else ''}")
    if run.duration_seconds is not None:
        parts.append(format_duration(run.duration_seconds))
    if run.tags_failed and " failed: " not in why:
        parts.append(f"{count(run.tags_failed, 'tag')} failed")
    return ", ".join(parts) + (f" ({why})" if why else "")


def _of_shards(shards: Sequence[str]) -> str:
    if len(shards) > 1:
        return f", {count(len(shards))} shards"
    return "" if shards[0] == "0-of-1" else f", shard {shards[0]}"


def _print_runs(console: Console, found: Status) -> None:
    if found.lines:
        console.print(Text("Last runs", style="bold"))
    for line in found.lines:
        run, shard = line.run, _of_shards(line.shards)
        when = f"{format_time(run.ended_at)} ({format_age((found.now - run.ended_at) / 1e6)})"
        console.print(
            Text(f"  {when}  {run.command} {run.run_id}{shard}: {_went(run, found.pipeline)}"), soft_wrap=True
        )
    for shard, holder in found.holders.items():
        console.print(Text(f"At work on shard {shard}: {holder}", style="bold cyan"), soft_wrap=True)
    if found.progress.tags and not found.holders:
        console.print(Text("No run is at work now.", style="dim"))


def print_gaps(console: Console, found: Gaps, limit: int) -> None:
    """`limit`: the most windows, and the most tags of each reason."""
    if found.ledger.tags or found.sampled is None:
        _print_ledger(console, found, limit, ("tag", "tags"))
    if found.sampled is not None:
        _print_ledger(console, found.sampled, limit, ("sampled series", "sampled series"))


def _print_ledger(console: Console, found: Gaps, limit: int, things: tuple[str, str]) -> None:
    ledger = found.ledger
    hours = f"; {_hours(ledger.missing / HOUR)} are missing" if ledger.missing else ""
    console.print(
        Text(f"Gaps: {count(ledger.complete)} of {_of(ledger.tags, things)} complete{hours}", "bold"), soft_wrap=True
    )
    if (coverage := ledger.coverage) is not None:
        console.print(timeline(console, coverage.start, coverage.step, coverage.shares, good=True), soft_wrap=True)
    _print_windows(console, grouped((g for g in ledger.gaps if g.reason not in _BY_TAG), to=SECOND), limit, things)
    for kind in _BY_TAG:
        _print_by_tag(console, [gap for gap in ledger.gaps if gap.reason is kind], found, limit)
    if found.not_due is not None:
        start, end, tags = found.not_due
        line = f"  {count(tags, 'tag')}: {span(start, end)}, not due yet: newer than what the last run could read"
        console.print(Text(line, style="dim"), soft_wrap=True)
    for tags, why in (
        (found.deleted, "the point was deleted"),
        (found.unselected, "the configuration does not select them any more"),
    ):
        if tags:
            console.print(Text(f"  {count(tags, 'tag')} left out: {why}", style="dim"), soft_wrap=True)


def _of(number: int, things: tuple[str, str]) -> str:
    return f"{count(number)} {things[number != 1]}"


def _hours(hours: float) -> str:
    return f"{count(hours)} tag-hours" if hours >= 10 else f"{hours:.2g} tag-hours"


def _print_windows(console: Console, groups: Sequence[GapGroup], limit: int, things: tuple[str, str]) -> None:
    for group in groups[:limit]:
        line = f"  {_of(len(group.web_ids), things)}: {span(group.start, group.end)}, {REASONS[group.reason]}"
        console.print(Text(line), soft_wrap=True)
    for why, windows in Counter(group.reason for group in groups[limit:]).items():
        rest = [group for group in groups[limit:] if group.reason is why]
        tags = sum(len(group.web_ids) for group in rest)
        between = span(min(group.start for group in rest), max(group.end for group in rest))
        line = f"  {_of(tags, things)}: {count(windows)} more windows between {between}, {REASONS[why]}"
        console.print(Text(line, style="dim"), soft_wrap=True)


def _print_by_tag(console: Console, gaps: Sequence[OpenGap], found: Gaps, limit: int) -> None:
    for gap in gaps[:limit]:
        name = found.names.get(gap.web_id, gap.web_id)
        where = window(gap.start, gap.end) if gap.reason is GapReason.HOLE else span(gap.start, gap.end)
        line = f"  {name}: {where}, {REASONS[gap.reason]}: {reason(name, gap.error or '')}"
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if len(gaps) > limit:
        console.print(
            Text(f"  {count(len(gaps) - limit)} more: {REASONS[gaps[0].reason]}", style="dim"), soft_wrap=True
        )


def _sampled_dict(
    sampled: SampledProgress,
    times: Callable[[tuple[Micros, Micros] | None], dict[str, str] | None],
    names: Mapping[str, str],
) -> dict[str, Any]:
    state = sampled.progress
    return {
        "series": state.tags,
        "series_failing": len(state.failing),
        "series_unread": sampled.unread,
        "low": times(state.low),
        "high": times(state.high),
        "overdue_seconds": None if sampled.overdue is None else asdict(sampled.overdue),
        "troubled": [_trouble(one, names) | {"series_id": one.tag_webid} for one in state.failing],
    }


def _trouble(watermark: Watermark, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": names.get(watermark.tag_webid),
        "status": watermark.status,
        "reason": watermark.last_error,
        "high": iso_text(watermark.present) if watermark.high > watermark.low else None,
    }


def as_dict(found: Status) -> dict[str, Any]:
    state = found.progress

    def times(ends: tuple[Micros, Micros] | None) -> dict[str, str] | None:
        return None if ends is None else {"min": iso_text(ends[0]), "max": iso_text(ends[1])}

    return {
        "pipeline": found.pipeline,
        "datasets": list(found.datasets),
        "at": iso_text(found.now),
        "well": found.health.well,
        "problems": list(found.health.problems),
        "tags": state.tags,
        "tags_unread": state.unread,
        "tags_never_read": found.never_read,
        "holes_unknown_before": None if found.holes_unknown_before is None else iso_text(found.holes_unknown_before),
        "rows_total": state.rows,
        "low": times(state.low),
        "high": times(state.high),
        **({} if found.sampled is None else {"sampled": _sampled_dict(found.sampled, times, found.names)}),
        "ahead": None if state.ahead is None else {"tags": state.ahead[0], "max": iso_text(state.ahead[1])},
        "event_frames": [
            {"database_webid": one.tag_webid, "low": iso_text(one.low), "high": iso_text(one.high)}
            for one in found.frames
        ],
        "last_read": {name: None if at is None else iso_text(at) for name, at in found.last_read.items()},
        "freshness_seconds": None if state.freshness is None else asdict(state.freshness),
        "shards": {"count": found.shards.count, "never_ran": list(found.shards.never)},
        "went_away": [_retired_as_dict(tag) for tag in found.retired],
        "troubled": [
            {"tag_webid": watermark.tag_webid, **_trouble(watermark, found.names)} for watermark in state.failing
        ],
        "behind": [
            {
                "tag_webid": watermark.tag_webid,
                "name": found.names.get(watermark.tag_webid),
                "high": iso_text(watermark.present),
            }
            for watermark in state.behind
        ],
        "runs": [{**asdict(run), "ended_at": iso_text(run.ended_at)} for run in found.runs],
        "at_work": found.holders,
    }


def _retired_as_dict(tag: RetiredTag) -> dict[str, Any]:
    return {
        "tag_webid": tag.web_id,
        "name": tag.name,
        "why": "not selected" if tag.deleted_at is None else "deleted",
        "deleted_at": None if tag.deleted_at is None else iso_text(tag.deleted_at),
        "read_up_to": None if tag.read_up_to is None else iso_text(tag.read_up_to),
    }


def gaps_as_dict(found: Gaps) -> dict[str, Any]:
    """As JSON values: every window, with the tags that miss it."""
    ledger = found.ledger
    errors = {(gap.web_id, gap.start): gap.error for gap in ledger.gaps if gap.error is not None}
    coverage = ledger.coverage
    return {
        "tags": ledger.tags,
        "tags_complete": ledger.complete,
        "tags_gone": found.deleted,
        "tags_not_selected": found.unselected,
        "not_due": None
        if found.not_due is None
        else {"start": iso_text(found.not_due[0]), "end": iso_text(found.not_due[1]), "tags": found.not_due[2]},
        "tag_hours_missing": ledger.missing / 3.6e9,
        "windows": [
            {
                "reason": group.reason.value,
                "start": iso_text(group.start),
                "end": iso_text(group.end),
                "tags": len(group.web_ids),
                "tag_webids": list(group.web_ids),
                "errors": {w: errors[w, group.start] for w in group.web_ids if (w, group.start) in errors},
            }
            for group in grouped(ledger.gaps)
        ],
        "coverage": None
        if coverage is None
        else {"start": iso_text(coverage.start), "step_seconds": coverage.step / 1e6, "shares": list(coverage.shares)},
        **({} if found.sampled is None else {"sampled": gaps_as_dict(found.sampled)}),
    }
