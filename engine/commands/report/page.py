"""The report as one page of HTML that loads nothing: no script, no font, no picture from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files

from ...plan.gap_ledger import GapReason, grouped
from ...plan.timeline import DAY, HOUR, SECOND
from ...telemetry.formats import count, format_duration, format_time, reason, size
from ...telemetry.report import window
from ..status.pipeline_progress import LastRun
from ..status.render import REASONS
from ..timeline_chart import span
from ..verify.render import RULES
from .charts import Series, ceiling, columns, rows, strip, time_ceiling
from .compute import DayFigures, DayVerdict, Report, TagDay, TagReport
from .markup import Html, element, joined

# Of each list so many are shown; how many more there are is said.
_MOST = 50
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The whole page."""
    status = report.status
    title = f"Pipeline {status.pipeline}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(files(__package__).joinpath("style.css").read_text("utf-8"))),
    )
    parts = [*_tag(report.tag), *_gaps(report), *_failing(report), *_freshness(report), *_charts(report.days)]
    parts += [*_tables(report), *_figures(report.days), *_runs(report)]
    body = element(
        "body",
        element("header", element("h1", title), element("p", _subtitle(report), class_="soft"), _state(report)),
        element("main", _tiles(report), element("div", joined(parts), class_="cards")),
        element("footer", element("p", "Times are UTC. Made by osipi-connector from the tables of the pipeline.")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _subtitle(report: Report) -> str:
    status = report.status
    return f"{report.target}, as of {format_time(status.now)}; datasets: {', '.join(status.datasets)}"


def _state(report: Report) -> Html:
    health = report.status.health
    sentences = health.problems or (health.summary,)
    return element("div", *(element("p", one) for one in sentences), class_="state" if health.well else "state unwell")


def _tiles(report: Report) -> Html:
    state, ledger = report.status.progress, report.gaps.ledger
    holes = sum(gap.reason is GapReason.HOLE for gap in ledger.gaps)
    worst = "none" if state.freshness is None else format_duration(state.freshness.worst)
    days = count(len(report.days), "day")
    facts = (
        ("tags", count(state.tags)),
        ("tags that fail", count(len(state.failing))),
        ("events read, ever", count(state.rows)),
        ("behind, the worst tag", worst),
        ("tags complete", f"{count(ledger.complete)} of {count(ledger.tags)}"),
        ("holes", count(holes)),
        (f"events in {days}", count(sum(day.events for day in report.days))),
        (f"requests in {days}", count(sum(day.requests for day in report.days))),
    )
    return element(
        "div", *(element("div", element("b", value), element("span", name), class_="tile") for name, value in facts),
        class_="tiles",
    )  # fmt: skip


def _freshness(report: Report) -> Iterator[Html]:
    fresh = report.status.progress.freshness
    if fresh is not None:
        names, tags = zip(*fresh.histogram, strict=True)
        yield _card(
            "Freshness",
            element(
                "p",
                f"Half of the tags are at most {format_duration(fresh.p50)} behind, 95 % at most "
                f"{format_duration(fresh.p95)}, the worst {format_duration(fresh.worst)}.",
            ),
            rows("How many tags are how far behind", names, tags, shown=count),
        )
    if any(day.worst_secs for day in report.days):
        yield _chart(
            "Freshness by day",
            "How far the worst tag was behind at the end of a run, at most",
            report.days,
            [("behind", "c1", lambda day: day.worst_secs)],
            shown=_seconds,
        )


def _gaps(report: Report) -> Iterator[Html]:
    gaps, ledger = report.gaps, report.gaps.ledger
    missing = f"; {count(ledger.missing / HOUR)} tag-hours are missing" if ledger.missing >= HOUR else ""
    parts = [element("p", f"{count(ledger.complete)} of {count(ledger.tags, 'tag')} are complete{missing}.")]
    if (coverage := ledger.coverage) is not None:
        starts = [coverage.start + coverage.step * n for n in range(len(coverage.shares))]
        names = [
            f"{span(at, at + coverage.step)}: {_percent(share)} done"
            for at, share in zip(starts, coverage.shares, strict=True)
        ]
        ends = format_time(coverage.start)[:16], format_time(coverage.end)[:16]
        parts.append(strip("What is done of all tags over time", coverage.shares, ends, names=names))
        each = f"Each column is {format_duration(coverage.step / SECOND)}."
        parts.append(_legend(("all done", "good"), ("in part", "part"), ("not done", "rest"), more=each))
    by_window = [group for group in grouped(ledger.gaps, to=SECOND) if group.reason not in _WITH_ERROR]
    if by_window:
        parts.append(
            _table(
                ("tags|n", "window", "why|w"),
                [(count(len(one.web_ids)), span(one.start, one.end), REASONS[one.reason]) for one in by_window],
            )
        )
    if gaps.not_due is not None:
        start, end, tags = gaps.not_due
        parts.append(
            element(
                "p",
                f"{count(tags, 'tag')}: {span(start, end)} is not due yet, newer than what the last run could read.",
                class_="soft",
            )
        )
    yield _card("Gaps", *parts, wide=True)
    holes = [gap for gap in ledger.gaps if gap.reason is GapReason.HOLE]
    if holes:
        listed = [
            (name, window(hole.start, hole.end), reason(name, hole.error or ""))
            for hole in holes
            for name in [gaps.names.get(hole.web_id, hole.web_id)]
        ]
        yield _card(
            "Holes",
            element("p", "The source could not give these windows. Runs ask for them again."),
            _table(("tag", "window", "why|w"), listed),
            wide=True,
        )


_WITH_ERROR = (GapReason.HOLE, GapReason.FAILED)


def _failing(report: Report) -> Iterator[Html]:
    status = report.status
    for title, tags in (
        ("Tags that fail", status.progress.failing),
        ("Tags more than 1 h behind the freshest", status.progress.behind),
    ):
        if tags:
            listed = []
            for tag in tags:
                name = status.names.get(tag.tag_webid, tag.tag_webid)
                read = format_time(tag.present) if tag.high > tag.low else "never"
                listed.append((name, read, "" if tag.status == "ok" else reason(name, tag.last_error or tag.status)))
            yield _card(title, _table(("tag", "read up to|t", "why|w"), listed), wide=True)
    if status.retired:
        gone = [
            (tag.name, "not selected any more" if tag.deleted_at is None else f"deleted {format_time(tag.deleted_at)}")
            for tag in status.retired
        ]
        yield _card("Tags that went away", _table(("tag", "why|w"), gone))


def _charts(days: Sequence[DayFigures]) -> Iterator[Html]:
    """Throughput, corrections and cost. Charts of which every column is 0 are left out."""
    charts: tuple[
        tuple[str, str, list[tuple[str, str, Callable[[DayFigures], float]]], Callable[[float], str]], ...
    ] = (
        ("Throughput", "Events read by day", [("events", "c1", lambda day: day.events)], _short),
        (
            "Corrections",
            "Events corrected by day",
            [
                ("inserted", "c1", lambda day: day.inserted),
                ("changed", "c2", lambda day: day.changed),
                ("deleted", "c3", lambda day: day.deleted),
            ],
            _short,
        ),
        (
            "Requests",
            "Requests to PI by day",
            [
                ("first tries", "c1", lambda day: day.requests - day.retries),
                ("repetitions", "c2", lambda day: day.retries),
            ],
            _short,
        ),
        ("Bytes", "Bytes received from PI by day", [("received", "c1", lambda day: day.bytes_fetched)], size),
        (
            "Runs",
            "Runs and verifications by day",
            [
                ("well", "good", lambda day: day.runs - day.not_well),
                ("failed or incomplete", "bad", lambda day: day.not_well),
            ],
            _short,
        ),
    )
    for title, words, series, shown in charts:
        if any(value(day) for day in days for _, _, value in series):
            yield _chart(title, words, days, series, shown=shown)


def _figures(days: Sequence[DayFigures]) -> Iterator[Html]:
    """The days on which there were runs, the newest first."""
    busy = [day for day in reversed(days) if day.runs]
    if busy:
        listed = [
            (
                _date(day.day), count(day.runs), count(day.not_well), count(day.events), count(day.inserted),
                count(day.changed), count(day.deleted), count(day.requests), count(day.retries), count(day.throttled),
                size(day.bytes_fetched),
            )
            for day in busy
        ]  # fmt: skip
        head = (
            "day|t", "runs|n", "not well|n", "events|n", "inserted|n", "changed|n", "deleted|n", "requests|n",
            "repeated|n", "refused|n", "received|n",
        )  # fmt: skip
        yield _card("Days in figures", _table(head, listed, most=len(listed)), wide=True)


def _runs(report: Report) -> Iterator[Html]:
    status = report.status
    if status.runs:
        head = ("ended|t", "command", "run", "shard", "status", "took|n", "events|n", "failed tags|n", "why|w")
        yield _card("Last runs", _table(head, [_run(run, status.pipeline) for run in status.runs]), wide=True)
    if status.holders:
        at_work = [f"shard {shard}: {holder}" for shard, holder in status.holders.items()]
        yield _card("At work now", *(element("p", one) for one in at_work))


def _run(run: LastRun, pipeline: str) -> tuple[str, ...]:
    took = "" if run.duration_seconds is None else format_duration(run.duration_seconds)
    why = (run.error or "").removeprefix(f"run {run.run_id} of pipeline {pipeline} is {run.status}: ")
    events = f"{count(run.events)}{' or more' if run.or_more else ''}"
    failed = count(run.tags_failed) if run.tags_failed else ""
    state = run.status or "no row: at work, or killed"
    return format_time(run.ended_at), run.command, run.run_id, run.shard, state, took, events, failed, why


def _tables(report: Report) -> Iterator[Html]:
    if report.tables:
        listed = [(one.name, count(one.existing), count(one.deleted)) for one in report.tables]
        read = [
            element("p", f"Event frames are read from {format_time(one.low)} up to {format_time(one.high)}.")
            for one in report.status.frames
        ]
        yield _card(
            "Tags, assets and event frames",
            _table(("table", "rows|n", "gone at the source|n"), listed),
            *read,
            wide=True,
        )


def _tag(found: TagReport | None) -> Iterator[Html]:
    if found is None:
        return
    tag, mark = found.tag, found.watermark
    facts = [tag.path or tag.name, f"WebID {tag.web_id}"]
    if tag.deleted_at is not None:
        facts.append(f"The point was deleted at the source; found missing {format_time(tag.deleted_at)}.")
    if mark is None or mark.low >= mark.high:
        facts.append("Nothing of it has been read yet by this pipeline.")
    else:
        read = f"Read from {format_time(mark.low)} up to {format_time(mark.present)}"
        facts.append(f"{read}; {count(mark.rows_total, 'event')}.")
    if mark is not None and mark.status != "ok":
        facts.append(f"It fails: {reason(tag.name, mark.last_error or mark.status)}")
    parts = [element("p", fact) for fact in facts]
    if found.days:
        parts += _tag_chart(found)
    if found.compared_to is not None:
        parts.append(
            element(
                "p",
                f"Compared up to {format_time(found.compared_to)}. The table has {count(found.newer, 'event')} behind "
                "that, which every run compares itself.",
                class_="soft",
            )
        )
    elif mark is not None and found.newer:
        parts.append(
            element("p", f"The table has {count(found.newer, 'event')} of these days; PI was not asked for counts.")
        )
    if found.uncounted is not None:
        parts.append(element("p", f"{count(found.uncounted.days, 'day')} not compared: {found.uncounted.reason}"))
    if found.gaps:
        listed = [
            (window(gap.start, gap.end), REASONS[gap.reason], reason(tag.name, gap.error or "")) for gap in found.gaps
        ]
        parts.append(_table(("gap", "what", "why|w"), listed))
    elif mark is not None and not tag.deleted:
        parts.append(element("p", "It has no gaps."))
    yield _card(f"Tag {tag.name}", *parts, wide=True)


def _tag_chart(found: TagReport) -> list[Html]:
    days = found.days
    series = [
        Series("in PI", [day.counted or 0 for day in days], "c2"),
        Series("in the table, counted alike", [day.alike for day in days], "c1"),
    ]
    title = f"Events of {found.tag.name} by day"
    listed = [_tag_day(day) for day in reversed(days)]
    head = ("day|t", "PI counts|n", "in the table|n", "of them good|n", "verdict")
    differ = sum(day.verdict is DayVerdict.DIFFERS for day in days)
    words = f"{count(differ, 'day')} differ{'s' if differ == 1 else ''}" if differ else "no day differs"
    rules = "; ".join(RULES[rule] for rule in found.rules)
    return [
        element("p", f"Of {count(len(days), 'day')}, {words}. The server counts: {rules}."),
        columns(title, [_date(day.day) for day in days], series, shown=_short, stacked=False),
        _legend(*((each.name, each.colour) for each in series)),
        _table(head, listed, most=len(listed)),
    ]


def _tag_day(day: TagDay) -> tuple[str, ...]:
    counted = "no count" if day.counted is None else count(day.counted)
    return _date(day.day), counted, count(day.rows), count(day.good), day.verdict.value


def _chart(
    title: str,
    words: str,
    days: Sequence[DayFigures],
    series: Sequence[tuple[str, str, Callable[[DayFigures], float]]],
    *,
    shown: Callable[[float], str],
) -> Html:
    drawn = [Series(name, [value(day) for day in days], colour) for name, colour, value in series]
    top = time_ceiling if shown is _seconds else ceiling
    picture = columns(words, [_date(day.day) for day in days], drawn, shown=shown, top_of=top)
    legend = [_legend(*((name, colour) for name, colour, _ in series))] if len(series) > 1 else []
    return _card(title, element("p", words, class_="soft"), picture, *legend)


def _card(title: str, *parts: Html, wide: bool = False) -> Html:
    return element("section", element("h2", title), *parts, class_="wide" if wide else None)


def _legend(*entries: tuple[str, str], more: str = "") -> Html:
    signs = [element("span", element("i", class_=colour), name) for name, colour in entries]
    return element("div", *signs, more, class_="legend")


def _table(head: Sequence[str], listed: Sequence[Sequence[str]], *, most: int = _MOST) -> Html:
    """A table. Cells below a name that ends with `|n` are numbers, `|t` times, `|w` long texts."""
    names, kinds = zip(*(one.partition("|")[::2] for one in head), strict=True)
    top = element("tr", *(element("th", name, class_=kind or None) for name, kind in zip(names, kinds, strict=True)))
    lines = [
        element(
            "tr",
            *(
                element("td", cell, class_=_cell_class(name, kind, cell))
                for name, kind, cell in zip(names, kinds, line, strict=True)
            ),
        )
        for line in listed[:most]
    ]
    drawn = element("div", element("table", element("thead", top), element("tbody", *lines)), class_="scroll")
    if len(listed) <= most:
        return drawn
    return joined([drawn, element("p", f"{count(len(listed) - most)} more.", class_="soft")])


def _cell_class(name: str, kind: str, cell: str) -> str | None:
    if name in {"status", "verdict"} and cell.isalpha():
        return f"{name}-{cell}"
    return kind or None


def _percent(share: float | None) -> str:
    """Full and empty only if they are."""
    if share is None:
        return "nothing is wanted, 0 %"
    return f"{min(99.9, max(0.1, share * 100)):.1f} %" if 0 < share < 1 else f"{share:.0%}".replace("%", " %")


def _short(number: float) -> str:
    """A number for an axis: `1.5 M`."""
    for unit, length in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= length:
            return f"{number / length:.4g} {unit}"
    return f"{number:g}"


def _seconds(secs: float) -> str:
    """A duration for an axis, in one unit."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if secs >= length:
            return f"{secs / length:.3g} {unit}"
    return f"{secs:.3g} s"


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY / 1e6, UTC).strftime("%Y-%m-%d")
