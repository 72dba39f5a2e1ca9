"""How `verify` looks: the verdict, a picture of the days, what disagrees, what it is based on, what it took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from ..piweb.times import iso_text
from ..plan.agreement import Disagreement, Rule, Suspect
from ..plan.timeline import DAY
from ..telemetry.report_text import corrected
from .bars import timeline
from .mending import Mended, Outcome
from .terminal import count, lasting, marks, plain, reason, size
from .verification import Verification
from .verify_text import headline, told, untold

__all__ = ["as_dict", "print_outcome"]

_MOST_COLUMNS = 48
_RULES = {
    Rule.GOOD: "good events alone",
    Rule.ALL: "good and bad events",
    Rule.UNKNOWN: "not known, too few bad events tell; either count is accepted",
}


def print_outcome(console: Console, done: Outcome, limit: int) -> None:
    """Print it all; of disagreements, of tags that are not counted and of those that failed, at most `limit`."""
    if done.found is not None:
        _print_verification(console, done.found, limit)
    if done.mended is not None:
        _print_mended(console, done.mended, limit)
    elif done.found is None:
        console.print(Text("Nothing that is done falls into this; there is nothing to read again."), soft_wrap=True)


def _print_mended(console: Console, mended: Mended, limit: int) -> None:
    report, tags = mended.report, len({tag.web_id for tag, _ in mended.suspects})
    unchanged = "nothing differed" if mended.whole else "nothing was mended"
    console.print(
        Text.assemble(
            ("Repair: ", "bold"),
            f"{count(len(mended.suspects), 'window')} of {count(tags, 'tag')} read again in ",
            f"{lasting(report.duration_seconds)}, with {count(report.requests, 'request')}; ",
            corrected(report.corrections) if report.corrections else unchanged,
        ),
        soft_wrap=True,
    )
    for name, why in list(mended.failed.items())[:limit]:
        console.print(Text(f"  {plain(name)}: {reason(name, why)}", style="yellow"), soft_wrap=True)
    if report.tags_undone:
        console.print(Text(f"  {count(report.tags_undone, 'tag')} not finished", style="yellow"), soft_wrap=True)
    if report.error is not None:
        console.print(Text(f"  {plain(report.error.message)}", style="yellow"), soft_wrap=True)
    if mended.after is not None:
        _print_verification(console, mended.after, limit)


def _print_verification(console: Console, found: Verification, limit: int) -> None:
    well, text = headline(found)
    mark = marks(console)[0 if well else 1]
    console.print(Text.assemble((f"{mark} ", "bold green" if well else "bold red"), (text, "bold")), soft_wrap=True)
    if found.by_day:
        start, step, shares = _columns(found)
        console.print(timeline(console, start, step, shares, good=False), soft_wrap=True)
    for each in found.disagreements[:limit]:
        console.print(Text(f"  {told(each)}"), soft_wrap=True)
    if len(found.disagreements) > limit:
        console.print(Text(f"  {count(len(found.disagreements) - limit)} more disagree", style="dim"), soft_wrap=True)
    if found.holes:
        console.print(Text("Known not to have been read, and asked for again by the runs", style="bold yellow"))
        for each in found.holes[:limit]:
            console.print(Text(f"  {told(each)}"), soft_wrap=True)
    _print_uncounted(console, found, limit)
    for name, fact in _facts(found):
        console.print(Text.assemble((f"{name:<12}", "bold"), fact), soft_wrap=True)


def _columns(found: Verification) -> tuple[int, int, list[float | None]]:
    """Days put together until they fit: where they start, how long a column is, and the share that disagrees."""
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
        console.print(Text(f"  {untold(each)}"), soft_wrap=True)


def _facts(found: Verification) -> Iterator[tuple[str, str]]:
    unread = f"; of {count(found.unread)} more there is nothing to compare" if found.unread else ""
    yield "tags", f"{count(len(found.tags))} compared{unread}"
    if found.left_to_runs:
        several = count(found.left_to_runs, "more tag")
        yield "every run", f"compares {several} as a whole: nothing in them has settled yet, or they have no events"
    if found.ahead:
        yield (
            "forecasts",
            f"left out where they lay ahead when read, of {count(found.ahead, 'tag')}: every run compares them",
        )
    rules: dict[Rule, list[str]] = defaultdict(list)
    for kind, rule in found.rules.items():
        rules[rule].append(kind or "unknown type")
    for rule, kinds in rules.items():
        yield "PI counts", f"{_RULES[rule]} ({', '.join(kinds)})"
    cost = found.cost
    yield "cost", f"{count(cost.requests, 'request')}, {size(cost.bytes_received)} received, {lasting(cost.seconds)}"


def as_dict(done: Outcome) -> dict[str, Any]:
    """All of it, for scripts: the comparison, and what a repair did with the comparison after it."""
    repair = None
    if (mended := done.mended) is not None:
        repair = {
            "windows": _windows(mended.suspects),
            "tags_failed": [{"name": name, "reason": why} for name, why in mended.failed.items()],
            "run": mended.report.as_dict(),
            "after": None if mended.after is None else _verification_dict(mended.after),
        }
    compared = {} if done.found is None else _verification_dict(done.found)
    return {**compared, "repair": repair, "exit_code": done.exit_code}


def _windows(found: Sequence[Suspect]) -> list[dict[str, str]]:
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
