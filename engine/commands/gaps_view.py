"""How `status --gaps` looks: a picture of what is done, then the windows that are not, then tags that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..plan.gap_ledger import GapGroup, OpenGap, Why, grouped
from ..plan.timeline import HOUR, SECOND
from ..telemetry.report_text import window
from .bars import span, timeline
from .gaps import Gaps
from .terminal import count, plain, reason

__all__ = ["print_gaps"]

_WORDS = {
    Why.NEVER_READ: "never read",
    Why.BEHIND: "not read yet",
    Why.HISTORY: "history before what is read; `run --mode full` reads it",
    Why.FAILED: "failed",
    Why.HOLE: "cannot be read",
}
# Of these every tag is told, with its reason.
_BY_TAG = (Why.FAILED, Why.HOLE)


def print_gaps(console: Console, found: Gaps, limit: int) -> None:
    """Print it all; of windows, and of tags that fail, at most `limit`."""
    ledger = found.ledger
    hours = f"; {_hours(ledger.missing / HOUR)} are missing" if ledger.missing else ""
    console.print(
        Text(f"Gaps: {count(ledger.complete)} of {count(ledger.tags, 'tag')} complete{hours}", "bold"), soft_wrap=True
    )
    if (bar := ledger.coverage) is not None:
        console.print(timeline(console, bar.start, bar.step, bar.shares, good=True), soft_wrap=True)
    _print_windows(console, grouped((g for g in ledger.gaps if g.why not in _BY_TAG), to=SECOND), limit)
    for kind in _BY_TAG:
        _print_by_tag(console, [gap for gap in ledger.gaps if gap.why is kind], found, limit)
    if found.not_due is not None:
        start, end, tags = found.not_due
        line = f"  {count(tags, 'tag')}: {span(start, end)}, not due yet: newer than what the last run could read"
        console.print(Text(line, style="dim"), soft_wrap=True)
    for tags, why in ((found.gone, "the point is gone"), (found.unselected, "the configuration selects them no more")):
        if tags:
            console.print(Text(f"  {count(tags, 'tag')} left out: {why}", style="dim"), soft_wrap=True)


def _hours(hours: float) -> str:
    return f"{count(hours)} tag-hours" if hours >= 10 else f"{hours:.2g} tag-hours"


def _print_windows(console: Console, groups: Sequence[GapGroup], limit: int) -> None:
    for group in groups[:limit]:
        line = f"  {count(len(group.web_ids), 'tag')}: {span(group.start, group.end)}, {_WORDS[group.why]}"
        console.print(Text(line), soft_wrap=True)
    for why, windows in Counter(group.why for group in groups[limit:]).items():
        rest = [group for group in groups[limit:] if group.why is why]
        tags = sum(len(group.web_ids) for group in rest)
        between = span(min(group.start for group in rest), max(group.end for group in rest))
        line = f"  {count(tags, 'tag')}: {count(windows)} more windows between {between}, {_WORDS[why]}"
        console.print(Text(line, style="dim"), soft_wrap=True)


def _print_by_tag(console: Console, gaps: Sequence[OpenGap], found: Gaps, limit: int) -> None:
    for gap in gaps[:limit]:
        name = found.names.get(gap.web_id, gap.web_id)
        where = window(gap.start, gap.end) if gap.why is Why.HOLE else span(gap.start, gap.end)
        line = f"  {plain(name)}: {where}, {_WORDS[gap.why]}: {reason(name, gap.error or '')}"
        console.print(Text(line, style="yellow"), soft_wrap=True)
    if len(gaps) > limit:
        console.print(Text(f"  {count(len(gaps) - limit)} more: {_WORDS[gaps[0].why]}", style="dim"), soft_wrap=True)
