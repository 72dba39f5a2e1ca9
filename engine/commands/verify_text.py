"""What `verify` came to, in sentences: the verdict, a disagreement, and why a task failed. Pure.

Invariant: names and reasons that come from a server are made plain, and shortened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..plan.agreement import Disagreement
from .bars import span
from .terminal import count, plain, reason

if TYPE_CHECKING:
    from .mending import Mended, Outcome
    from .verification import Uncounted, Verification

__all__ = ["failure", "headline", "told", "untold"]

_NAMED = 3
_LONGEST_REASON = 200


def headline(found: Verification) -> tuple[bool, str]:
    """Whether all is well, and the one sentence to know."""
    name = f"pipeline {found.pipeline}"
    if not found.tags:
        return True, f"{name}: nothing that is settled falls into this; there is nothing to compare"
    if not found.days:
        return (
            False,
            f"{name}: nothing could be compared, for the server counts none of {count(len(found.tags), 'tag')}",
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


def untold(each: Uncounted) -> str:
    """A tag that could not be compared, or could in part, and why."""
    part = "" if each.days == each.of_days else f"{count(each.days)} of {count(each.of_days, 'day')}, "
    return f"{plain(each.tag.name)}: {part}{reason(each.tag.name, each.reason)[:_LONGEST_REASON]}"


def told(each: Disagreement) -> str:
    """One day that disagrees."""
    bad = f", {count(each.rows - each.good)} of them bad" if each.rows != each.good else ""
    between = span(each.start, each.end)
    held = f"the table holds {count(each.rows)}{bad}"
    return f"{plain(each.tag.name)}: {between}, PI counts {count(each.counted)}, {held}"


def failure(done: Outcome) -> str | None:
    """One sentence on what is not as it should be; None where all is well."""
    if done.exit_code == 0:
        return None
    if done.mended is not None:
        return f"verify: pipeline {done.mended.report.pipeline}: {'; '.join(_of_repair(done.mended))}"
    assert done.found is not None  # noqa: S101 - what was neither compared nor mended did not fail
    repair = " (--repair mends it)" if done.found.disagreements else ""
    return f"verify: {_compared(done.found)}{repair}"


def _of_repair(mended: Mended) -> list[str]:
    report = mended.report
    prefix = f"pipeline {report.pipeline}: "
    parts = []
    if mended.failed:
        named = [f"{plain(tag)}: {reason(tag, why)[:_LONGEST_REASON]}" for tag, why in mended.failed.items()]
        parts.append(f"{count(len(named), 'tag')} could not be read again: {_listed(named)}")
    if report.tags_undone:
        parts.append(f"{count(report.tags_undone, 'tag')} not finished")
    if report.error is not None:
        parts.append(plain(report.error.message))
    if report.status == "interrupted":
        parts.append("interrupted")
    if mended.after is not None and mended.after.exit_code != 0:
        parts.append(f"after the repair {_compared(mended.after).removeprefix(prefix)}")
    return parts


def _compared(found: Verification) -> str:
    days = [*map(told, (*found.disagreements, *found.holes)), *map(untold, found.uncounted)]
    return f"{headline(found)[1]}{': ' if days else ''}{_listed(days)}"


def _listed(items: list[str]) -> str:
    return "; ".join(items[:_NAMED]) + ("; ..." if len(items) > _NAMED else "")
