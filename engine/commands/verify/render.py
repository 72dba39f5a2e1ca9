"""Prints what `verify` found, as text or JSON: a headline, a chart of the days, what disagrees, and the cost.

Names and reasons that come from a server are made printable, and shortened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from ...datasets.recorded_values import RECORDED
from ...piweb.times import iso_text
from ...plan.count_comparison import CountRule, Disagreement, SuspectWindow
from ...plan.timeline import DAY
from ...telemetry.formats import count, format_duration, reason, size
from ...telemetry.report import corrected
from ..terminal import status_symbols
from ..timeline_chart import span, timeline
from .compute import Uncounted, Verification
from .repair import Repair, VerifyOutcome

_MOST_COLUMNS = 48
_TAGS_NAMED = 3
_LONGEST_REASON = 200
RULES = {
    CountRule.GOOD: "good events alone",
    CountRule.ALL: "good and bad events",
    CountRule.UNKNOWN: "not known, there are too few bad events; either count is accepted",
}


def print_outcome(console: Console, outcome: VerifyOutcome, limit: int) -> None:
    """`limit`: the most disagreements, uncounted tags and failed tags to print."""
    if outcome.found is not None:
        _print_verification(console, outcome.found, limit)
    if outcome.repair is not None:
        _print_repair(console, outcome.repair, limit)
    elif outcome.found is None:
        console.print(Text("Nothing in this range was read yet, so there is nothing to read again."), soft_wrap=True)


def _print_repair(console: Console, repair: Repair, limit: int) -> None:
    report, tags = repair.report, len({tag.web_id for tag, _ in repair.suspects})
    unchanged = "nothing differed" if repair.complete else "nothing was repaired"
    console.print(
        Text.assemble(
            ("Repair: ", "bold"),
            f"{count(len(repair.suspects), 'window')} of {count(tags, 'tag')} read again in ",
            f"{format_duration(report.duration_seconds)}, with {count(report.requests, 'request')}; ",
            corrected(report.corrections) if report.corrections else unchanged,
        ),
        soft_wrap=True,
    )
    for name, why in list(repair.failed.items())[:limit]:
        console.print(Text(f"  {name}: {reason(name, why)}", style="yellow"), soft_wrap=True)
    if report.tags_undone:
        console.print(Text(f"  {count(report.tags_undone, 'tag')} not finished", style="yellow"), soft_wrap=True)
    if report.error is not None:
        console.print(Text(f"  {report.error.message}", style="yellow"), soft_wrap=True)
    if repair.after is not None:
        _print_verification(console, repair.after, limit)


def _print_verification(console: Console, found: Verification, limit: int) -> None:
    well, text = headline(found)
    symbol = status_symbols(console)[0 if well else 1]
    console.print(Text.assemble((f"{symbol} ", "bold green" if well else "bold red"), (text, "bold")), soft_wrap=True)
    if found.by_day:
        start, step, shares = _columns(found)
        console.print(timeline(console, start, step, shares, good=False), soft_wrap=True)
    for each in found.disagreements[:limit]:
        console.print(Text(f"  {day_text(each, found.rules)}"), soft_wrap=True)
    if len(found.disagreements) > limit:
        console.print(Text(f"  {count(len(found.disagreements) - limit)} more disagree", style="dim"), soft_wrap=True)
    if found.holes:
        console.print(Text("Holes, which the runs ask for again", style="bold yellow"))
        for each in found.holes[:limit]:
            console.print(Text(f"  {day_text(each, found.rules)}"), soft_wrap=True)
    _print_uncounted(console, found, limit)
    for name, fact in _facts(found):
        console.print(Text.assemble((f"{name:<12}", "bold"), fact), soft_wrap=True)


def _columns(found: Verification) -> tuple[int, int, list[float | None]]:
    """The days, summed up into columns: the start, the length of a column, and the shares that disagree."""
    first, last = found.by_day[0][0], found.by_day[-1][0]
    size = -(-(last - first + 1) // _MOST_COLUMNS)
    compared: dict[int, int] = defaultdict(int)
    wrong: dict[int, int] = defaultdict(int)
    for day, tags, disagree in found.by_day:
        compared[(day - first) // size] += tags
        wrong[(day - first) // size] += disagree
    columns = range((last - first) // size + 1)
    return first * DAY, size * DAY, [wrong[n] / compared[n] if compared[n] else None for n in columns]


def _print_uncounted(console: Console, found: Verification, limit: int) -> None:
    if not found.uncounted:
        return
    left = f", {count(limit)} shown" if len(found.uncounted) > limit else ""
    console.print(Text(f"Could not be compared ({count(len(found.uncounted))}{left})", style="bold yellow"))
    for each in found.uncounted[:limit]:
        console.print(Text(f"  {uncounted_text(each)}"), soft_wrap=True)


def _facts(found: Verification) -> Iterator[tuple[str, str]]:
    unread = f"; {count(found.unread)} more have nothing to compare" if found.unread else ""
    yield "tags", f"{count(len(found.tags))} compared{unread}"
    if found.left_to_runs:
        several = count(found.left_to_runs, "more tag")
        yield "every run", f"compares {several} completely: nothing of them is old enough, or they have no events"
    if found.ahead:
        yield (
            "forecasts",
            f"of {count(found.ahead, 'tag')} left out where they were ahead of now: every run compares them",
        )
    rules: dict[CountRule, list[str]] = defaultdict(list)
    for kind, rule in found.rules.items():
        rules[rule].append(kind or "unknown type")
    for rule, kinds in rules.items():
        yield "PI counts", f"{RULES[rule]} ({', '.join(kinds)})"
    cost = found.cost
    yield (
        "cost",
        f"{count(cost.requests, 'request')}, {size(cost.bytes_received)} received, {format_duration(cost.seconds)}",
    )


def headline(found: Verification) -> tuple[bool, str]:
    """Whether all agrees, and the result in one sentence."""
    name = f"pipeline {found.pipeline}"
    if not found.tags:
        return True, f"{name}: nothing to compare: nothing in this range is old enough"
    if not found.days:
        return (
            False,
            f"{name}: nothing could be compared: the server counts none of {count(len(found.tags), 'tag')}",
        )
    parts = []
    if found.disagreements:
        tags = len({each.tag.web_id for each in found.disagreements})
        days = f"{count(len(found.disagreements))} of {count(found.days, 'tag-day')}"
        parts.append(f"{days} disagree, of {count(tags, 'tag')}")
    if found.holes:
        parts.append(f"{_tag_days(found.holes)} disagree where something could not be read so far")
    if found.uncounted:
        every = count(found.days + found.days_uncounted, "tag-day")
        some = count(len(found.uncounted), "tag")
        parts.append(f"{count(found.days_uncounted)} of {every} could not be compared, of {some}")
    if not found.disagreements:
        on = f"{count(found.days - len(found.holes), 'tag-day')} with {count(found.events, 'event')}"
        parts.append(f"PI and the table agree on {on}")
    return found.exit_code == 0, f"{name}: {'; '.join(parts)}"


def _tag_days(found: Sequence[Disagreement]) -> str:
    tags = len({each.tag.web_id for each in found})
    return f"{count(len(found), 'tag-day')} of {count(tags, 'tag')}"


def uncounted_text(each: Uncounted) -> str:
    """A tag that could not be compared, or only in part, and why."""
    part = "" if each.days == each.of_days else f"{count(each.days)} of {count(each.of_days, 'day')}, "
    return f"{each.tag.name}: {part}{reason(each.tag.name, each.reason)[:_LONGEST_REASON]}"


def day_text(each: Disagreement, rules: Mapping[str, CountRule]) -> str:
    """A day that disagrees. `rules`: what PI counts of points of each type."""
    bad = each.rows - each.good
    kind = " good" if rules.get(each.tag.point_type) is CountRule.GOOD else ""
    held = f"{count(each.good)} good and {count(bad)} bad" if bad else f"{count(each.good)}{kind}"
    return f"{each.tag.name}: {span(each.start, each.end)}, PI {count(each.counted)}{kind}, table {held}"


def failure(outcome: VerifyOutcome) -> str | None:
    """One sentence on what is wrong; None if the exit code is 0."""
    if outcome.exit_code == 0:
        return None
    if outcome.repair is not None:
        return f"verify: pipeline {outcome.repair.report.pipeline}: {'; '.join(_repair_problems(outcome.repair))}"
    assert outcome.found is not None  # noqa: S101 - what was neither compared nor repaired did not fail
    repair = " (--repair fixes it)" if outcome.found.disagreements else ""
    return f"verify: {_compared(outcome.found)}{repair}"


def _repair_problems(repair: Repair) -> list[str]:
    report = repair.report
    prefix = f"pipeline {report.pipeline}: "
    parts = []
    if repair.failed:
        named = [f"{tag}: {reason(tag, why)[:_LONGEST_REASON]}" for tag, why in repair.failed.items()]
        parts.append(f"{count(len(named), 'tag')} could not be read again: {_listed(named)}")
    if report.tags_undone:
        parts.append(f"{count(report.tags_undone, 'tag')} not finished")
    if report.error is not None:
        parts.append(report.error.message)
    if report.status == "interrupted":
        parts.append("interrupted")
    if repair.after is not None and repair.after.exit_code != 0:
        parts.append(f"after the repair {_compared(repair.after).removeprefix(prefix)}")
    return parts


def _compared(found: Verification) -> str:
    days = [day_text(each, found.rules) for each in (*found.disagreements, *found.holes)]
    days += map(uncounted_text, found.uncounted)
    return f"{headline(found)[1]}{': ' if days else ''}{_listed(days)}"


def _listed(items: list[str]) -> str:
    return "; ".join(items[:_TAGS_NAMED]) + ("; ..." if len(items) > _TAGS_NAMED else "")


def as_dict(outcome: VerifyOutcome) -> dict[str, Any]:
    """As JSON values: the comparison, and the repair with the comparison after it."""
    repaired = None
    if (repair := outcome.repair) is not None:
        repaired = {
            "windows": _windows(repair.suspects),
            "tags_failed": [{"name": name, "reason": why} for name, why in repair.failed.items()],
            "run": repair.report.as_dict(),
            "after": None if repair.after is None else _verification_dict(repair.after),
        }
    compared = {} if outcome.found is None else _verification_dict(outcome.found)
    return {**compared, "repair": repaired, "exit_code": outcome.exit_code}


def _windows(found: Sequence[SuspectWindow]) -> list[dict[str, str]]:
    return [{"tag_webid": tag.web_id, "name": tag.name, **_ends(window.start, window.end)} for tag, window in found]


def _days(found: Sequence[Disagreement]) -> list[dict[str, Any]]:
    return [
        {
            "tag_webid": each.tag.web_id,
            "name": each.tag.name,
            **_ends(each.start, each.end),
            "counted": each.counted,
            "rows": each.rows,
            "good_rows": each.good,
        }
        for each in found
    ]


def _ends(start: int, end: int) -> dict[str, str]:
    return {"start": iso_text(start), "end": iso_text(end)}


def _verification_dict(found: Verification) -> dict[str, Any]:
    return {
        "pipeline": found.pipeline,
        "dataset": RECORDED.name,
        "tags": len(found.tags),
        "tags_nothing_to_compare": found.unread,
        "tags_compared_by_runs": found.left_to_runs,
        "tags_ahead_left_out": found.ahead,
        "tag_days": found.days,
        "tag_days_not_compared": found.days_uncounted,
        "events": found.events,
        "disagreements": _days(found.disagreements),
        "holes": _days(found.holes),
        "suspects": _windows(found.suspects()),
        "days": [
            {"date": iso_text(day * DAY)[:10], "compared": compared, "disagree": wrong}
            for day, compared, wrong in found.by_day
        ],
        "counts": {kind: rule.value for kind, rule in found.rules.items()},
        "not_counted": [
            {
                "tag_webid": each.tag.web_id,
                "name": each.tag.name,
                "reason": each.reason,
                "days": each.days,
                "of_days": each.of_days,
            }
            for each in found.uncounted
        ],
        "cost": asdict(found.cost),
    }
