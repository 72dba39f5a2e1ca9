"""A run report in words: a line, a table for notebooks, and what to say of a run that fell short. Pure.

Renders; counts nothing itself. Invariant: whatever comes from a server is escaped, and shortened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from ..plan.timeline import instant

if TYPE_CHECKING:
    from writers import CorrectionCounts, Hole

    from ..model import Micros
    from .events import StatesSynced
    from .report import RunReport

__all__ = ["corrected", "failure", "hole_text", "html", "line", "named", "states", "window"]

_TAGS_NAMED = 3
_TAGS_LISTED = 20
_LONGEST_REASON = 200
_COLOURS = {"succeeded": "#1a7f37", "incomplete": "#9a6700", "interrupted": "#9a6700"}


def line(report: RunReport) -> str:
    """What `repr` shows."""
    return (
        f"RunReport({report.status}: run {report.run_id} of pipeline {report.pipeline}, "
        f"{report.tags_extracted:,} of {report.tags_requested:,} tags, {report.records_written:,} events "
        f"in {report.duration_seconds:.1f} s)"
    )


def failure(report: RunReport) -> str:
    """Why a run that is not a success is none: the error that stopped it, the tags it failed, what is left."""
    parts = []
    if report.error is not None:
        parts.append(f"{report.error.message}{f' ({report.error.hint})' if report.error.hint else ''}")
    if report.tags_failed:
        named = "; ".join(f"{tag}: {_short(reason)}" for tag, reason in report.tags_failed[:_TAGS_NAMED])
        more = "; ..." if len(report.tags_failed) > _TAGS_NAMED else ""
        parts.append(f"{_tags(len(report.tags_failed))} failed: {named}{more}")
    if report.holes:
        told = "; ".join(f"{one.tag} {hole_text(one.hole)}" for one in report.holes[:_TAGS_NAMED])
        more = "; ..." if len(report.holes) > _TAGS_NAMED else ""
        parts.append(f"{_holes(len(report.holes))} could not be read: {told}{more}")
    if report.tags_undone:
        parts.append(f"{_tags(report.tags_undone)} not finished")
    if report.status == "interrupted":
        parts.append("what was complete is in the tables, running again continues there")
    return f"run {report.run_id} of pipeline {report.pipeline} is {report.status}: {'. '.join(parts)}"


def html(report: RunReport) -> str:
    """What a notebook shows."""
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in _facts(report)
    )
    colour = _COLOURS.get(report.status, "#cf222e")
    title = (
        f'<b style="color:{colour}">{escape(report.status)}</b> '
        f"run {escape(report.run_id)} of pipeline {escape(report.pipeline)}"
    )
    return f"<div>{title}<table>{rows}</table></div>"


def _facts(report: RunReport) -> Iterator[tuple[str, str]]:
    yield "tags", f"{report.tags_extracted:,} of {report.tags_requested:,} read up to {report.until}"
    yield "events", f"{report.records_written:,} written in {report.duration_seconds:.1f} s"
    if report.corrections:
        yield "corrected", corrected(report.corrections)
    if told := states(report.digital_states):
        yield "digital states", told
    yield "requests", f"{report.requests:,}, {report.retries:,} repeated, {report.throttled:,} refused as too many"
    yield "commits", f"{report.commits:,} with {report.files_written:,} files; {report.watermarks_moved:,} watermarks"
    yield from report.tables.items()
    for warning in report.warnings:
        yield "warning", warning
    if report.error is not None:
        yield "stopped by", report.error.message
        if report.error.hint:
            yield "what to do", report.error.hint
    if report.tags_undone:
        yield "not finished", _tags(report.tags_undone)
    for tag, reason in report.tags_failed[:_TAGS_LISTED]:
        yield "failed", f"{tag}: {_short(reason)}"
    if len(report.tags_failed) > _TAGS_LISTED:
        yield "failed", f"and {len(report.tags_failed) - _TAGS_LISTED:,} more"
    for one in report.holes[:_TAGS_LISTED]:
        yield "hole", f"{one.tag} {hole_text(one.hole)}"
    if len(report.holes) > _TAGS_LISTED:
        yield "hole", f"and {len(report.holes) - _TAGS_LISTED:,} more"


def hole_text(hole: Hole) -> str:
    """Where a hole is, why, and when it is asked for again."""
    asked = "once" if hole.attempts <= 1 else f"{hole.attempts} times"
    reason = _short(hole.error).rstrip(".")
    return f"{window(hole.start, hole.end)}: {reason}; asked {asked}, again from {instant(hole.ask_at)[:19]}Z on"


def window(start: Micros, end: Micros) -> str:
    """A window for people; an instant where it is no longer."""
    if end - start <= 1:
        return f"at {instant(start)}"
    return f"from {instant(start)} to {instant(end)}"


def _holes(number: int) -> str:
    return f"{number:,} hole{'' if number == 1 else 's'}"


def corrected(counts: CorrectionCounts) -> str:
    """What was mended in the past."""
    done = f"{counts.inserted:,} inserted, {counts.changed:,} changed, {counts.deleted:,} deleted"
    return f"{done}; {counts.files_rewritten:,} file{'' if counts.files_rewritten == 1 else 's'} rewritten"


def states(synced: StatesSynced) -> str:
    """What became of digital states; nothing where nothing did."""
    parts = []
    if synced.added or synced.changed or synced.missing:
        parts.append(f"{synced.added:,} new, {synced.changed:,} changed, {synced.missing:,} gone")
    if synced.unread:
        parts.append(f"sets not read: {named(synced.unread)}")
    return "; ".join(parts)


def named(failures: Sequence[tuple[str, str]]) -> str:
    """The first of what failed, each with the reason, and how many there are besides."""
    told = "; ".join(f"{name}: {_short(reason)}" for name, reason in failures[:_TAGS_NAMED])
    more = len(failures) - _TAGS_NAMED
    return told + (f"; and {more:,} more" if more > 0 else "")


def _tags(number: int) -> str:
    return f"{number:,} tag{'' if number == 1 else 's'}"


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
