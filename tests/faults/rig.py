"""Runs of one dataset under one fault, and what becomes of its tables.

Each cell begins with the same lake, which a run without a fault has left. The source goes on; then runs meet the fault;
then it is over, and a last run has to make everything whole.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config import from_mapping
from config.errors import ExtractError
from engine.run import run
from engine.simulator import Simulator
from tests.exactness.expected import COLUMNS
from tests.exactness.plant import settings
from tests.exactness.reading import holes_in, marks_in, rows_in
from tests.faults import acts
from tests.faults.chaos import ChaosProxy, Request
from tests.faults.matrix import End, Fault, Rows
from tests.faults.subjects import FIRST, LAST, SUBJECTS, Content, Subject, content, simulator, truth_of_values

__all__ = [
    "Cell",
    "Ended",
    "Prepared",
    "assert_as_said",
    "assert_healed",
    "assert_nothing_wrong",
    "assert_points_right",
    "in_cell",
    "met",
    "prepare",
]

# So many requests meet a fault that passes.
MET = 2
_REFUSED_SECS = 0.001


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code, and all that it said of what it has not done."""

    code: int
    said: str
    bug: str = ""


@dataclass(frozen=True)
class Prepared:
    """A lake after a first run, what it shows of the source then, and what it has to show after the second."""

    lake: Path
    before: Content
    after: Content


@dataclass
class Cell:
    """A source with a proxy before it, and a lake."""

    subject: Subject
    server: Simulator
    proxy: ChaosProxy
    root: Path
    url: str
    sections: dict[str, Any] = field(default_factory=dict)

    def document(self, **sections: Any) -> dict[str, Any]:
        document = settings(self.root, self.url)
        more = [
            {"extraction": {"datasets": [self.subject.name]}, "pi_web_api": {"timeout": "3s"}, "monitoring": {"metrics": False},
             "retry": {"max_attempts": 3, "initial_wait": "2ms", "max_wait": "20ms"}},
            self.subject.sections, self.sections, sections,
        ]  # fmt: skip
        for one in more:
            for section, values in one.items():
                document[section] = {**document.get(section, {}), **values}
        return document

    async def run(self, *, retry_holes: bool = False, **sections: Any) -> Ended:
        try:
            report = await run(from_mapping(self.document(**sections), env={}).config, retry_holes=retry_holes)
        except ExtractError as error:
            return Ended(error.exit_code, f"{type(error).__name__}: {error.message}")
        said = [reason for _, reason in report.tags_failed]
        said += [one.hole.error for one in report.holes]
        said += [f"{part}: {why}" for one in report.datasets.values() for part, why in one.unread]
        said += [one.problem for one in report.datasets.values() if one.problem]
        said += [report.error.message] if report.error else []
        return Ended(report.exit_code, " | ".join(dict.fromkeys(said)))

    def content(self) -> Content:
        return content(self.subject, self.root)


@asynccontextmanager
async def in_cell(subject: Subject, root: Path, *, now: int = FIRST, **proxy: Any) -> AsyncIterator[Cell]:
    server = simulator(now)
    async with server.serve() as behind, ChaosProxy(urlsplit(behind).port or 0, **proxy).serve() as front:
        scheme = "https" if front.tls else "http"
        yield Cell(subject, server, front, root, f"{scheme}://127.0.0.1:{front.port}/piwebapi")


async def prepare(subject: Subject, folder: Path) -> Prepared:
    """Make the lake that each cell of a dataset begins with, and that which it has to end with."""
    lake, whole = folder / "lake", folder / "whole"
    lake.mkdir(parents=True)
    async with in_cell(subject, lake) as cell:
        if not subject.from_nothing:
            first = await cell.run(**subject.first)
            assert first == Ended(0, ""), first
        before = cell.content()
        shutil.copytree(lake, whole)
        subject.change(cell.server)
        cell.root = whole
        second = await cell.run()
        assert second == Ended(0, ""), second
        after = cell.content()
    assert before != after, "nothing has changed at the source"
    return Prepared(lake, before, after)


def own(subject: Subject) -> re.Pattern[str]:
    return re.compile(subject.own, re.IGNORECASE)


@asynccontextmanager
async def met(
    name: str, fault: Fault, lake: Prepared, folder: Path, *, stays: bool
) -> AsyncIterator[tuple[Cell, Ended]]:
    """A run that has met a fault, which is over then."""
    subject, root = SUBJECTS[name], folder / "lake"
    shutil.copytree(lake.lake, root)
    async with in_cell(subject, root) as cell:
        subject.change(cell.server)
        pattern, begun = own(subject), False

        def hits(request: Request) -> bool:
            nonlocal begun
            is_own = bool(pattern.search(request.text))
            begun = begun or is_own
            return begun if fault.whole and stays else is_own

        left = None if stays else MET
        act = fault.act
        if fault.name == "refused":
            act, left = acts.refused(None if stays else _REFUSED_SECS), 1
        cell.proxy.trouble(act, hits, left)
        timeout = fault.timeout if stays else "3s" if not fault.whole else "500ms"
        sections = {"pi_web_api": {"timeout": timeout}, "retry": {"max_attempts": 1} if fault.whole and stays else {}}
        ended = await cell.run(**sections)
        assert cell.proxy.struck, "no request met the fault"
        cell.proxy.trouble(None, lambda _: False, None)
        await cell.proxy.listen()
        yield cell, ended


def assert_as_said(cell: Cell, lake: Prepared, ended: Ended, wanted: End, says: str) -> None:
    """Exit code, message, tables and watermarks are those of the matrix."""
    content = cell.content()
    rows = Rows.ALL if content == lake.after else Rows.NONE if content == lake.before else Rows.SOME
    assert End(ended.code, rows, bool(ended.said)) == wanted, ended
    if ended.said:
        assert re.search(says, ended.said), ended.said
    due = wanted.told or rows is Rows.ALL
    told = ended if due else replace(ended, said="nothing is due")
    if rows is Rows.SOME and cell.subject.name == "point_attributes":
        assert_points_right(content, lake, told)
    else:
        assert_nothing_wrong(content, lake, told)
    if cell.subject.name == "recorded":
        _assert_nothing_is_passed(cell)


def _assert_nothing_is_passed(cell: Cell) -> None:
    """No watermark passes an event that is not in the table, unless it is in a hole."""
    watermarks = cell.root / "main" / "checkpoints" / "pi_watermarks"
    there = Counter(rows_in(cell.root / "main" / "bronze" / "pi_timeseries"))
    marks, holes = marks_in(watermarks), holes_in(watermarks)
    web_id, time = COLUMNS.index("tag_webid"), COLUMNS.index("timestamp")
    for row in Counter(truth_of_values(cell.server, LAST)) - there:
        of, at = row[web_id], row[time]
        in_hole = any(one == of and start <= at < end for one, start, end in holes)
        assert in_hole or at >= marks[of].high, (row, marks[of])


def assert_points_right(found: Content, lake: Prepared, ended: Ended) -> None:
    """The same where the rows of pi_tags hold none, or some, of their attributes yet."""
    # Columns are in the order of their names.
    plain = [
        {table: Counter(row[1:] for row in rows.elements()) for table, rows in one.items()}
        for one in (found, lake.before, lake.after)
    ]
    assert_nothing_wrong(plain[0], Prepared(lake.lake, plain[1], plain[2]), ended)


def assert_nothing_wrong(found: Content, lake: Prepared, ended: Ended) -> None:
    """No row that the source has not, none twice, none lost that was there, and no silence about what is missing."""
    for table, rows in found.items():
        known = lake.before[table] | lake.after[table]
        assert not rows - known, (table, list((rows - known).items())[:2])
        assert max(rows.values(), default=1) <= max(known.values(), default=1)
        lasting = lake.before[table] & lake.after[table]
        assert not lasting - rows, (table, list((lasting - rows).items())[:2])
    if found != lake.after:
        assert ended.said, "something is missing, and nothing is said of it"


async def assert_healed(cell: Cell, lake: Prepared) -> None:
    """The next run makes the tables equal to the source, holes included."""
    healed = await cell.run(retry_holes=True)
    assert healed == Ended(0, ""), healed
    assert cell.content() == lake.after
