"""A source that cannot give some of its records, and gives little at once: all that can be had is there, what cannot is a
hole in the ledger, and once the source has healed there is none.

Damaged archives answer as PI does where a file is broken (OSIsoft KB "-11002 Record Header Data Mismatch"): with an error
for whatever touches the records.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.table import TableAlterer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine.plan.narrowing import most_asks
from engine.telemetry.report import RunReport
from tests.exactness.expected import Row, assert_same_rows, rows_of, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, SECOND, Plant, run_sync, text_of
from tests.exactness.reading import rows_in
from tests.examples import examples
from tests.variants import crossed
from writers import PI_WATERMARKS
from writers.delta.schema import schema_of

TAGS = 4
SHAPES = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))
FIRST_END = BEGIN + 3 * HOUR
Stretch = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Season:
    """One run: when it is, what is damaged from then on, and what comes late before it."""

    now: int
    damaged: Mapping[int, Sequence[Stretch]] = field(default_factory=dict)
    late: Sequence[tuple[int, int]] = ()  # a tag, an instant


@dataclass(frozen=True, slots=True)
class Story:
    seasons: Sequence[Season]
    switches: Mapping[str, Any]
    extraction: Mapping[str, Any]
    lookback: int


@st.composite
def stretches(draw: st.DrawFn, edges: Sequence[int], start: int, end: int) -> Stretch:
    """Beside something that matters, or anywhere; an instant, a second, or a good while."""
    at = draw(st.sampled_from(edges) | st.integers(start, end)) + draw(st.sampled_from([0, 0, 0, -1, 1, -7 * MINUTE]))
    length = draw(st.sampled_from([1, 1, 1, SECOND, 20 * MINUTE]))
    return max(BEGIN, at), max(BEGIN, at) + length


@st.composite
def stories(draw: st.DrawFn) -> Story:
    plant = plant_of(Path())
    lookback = draw(st.sampled_from([0, 20 * MINUTE, 24 * HOUR]))
    seasons: list[Season] = []
    now = FIRST_END
    for number in range(draw(st.integers(1, 3))):
        before = seasons[-1].now if seasons else BEGIN
        now = before + draw(st.sampled_from([MINUTE, 7 * MINUTE + 1, HOUR])) if number else FIRST_END
        damaged: dict[int, list[Stretch]] = {}
        for index in draw(st.sets(st.integers(0, TAGS - 1), max_size=3)):
            seen = [row[2] for row in plant.rows([index], BEGIN, now)]
            known = [at for at in seen if at < before]
            edges = [before, now, now - 1, before - 1, seen[len(seen) // 2], *seen[-1:], *known[-1:]]
            damaged[index] = draw(st.lists(stretches(edges, BEGIN, now), min_size=1, max_size=2))
        late = []
        if number and lookback:
            earliest = max(BEGIN, before - lookback)
            late = draw(st.lists(st.tuples(st.integers(0, TAGS - 1), st.integers(earliest, before - 1)), max_size=4))
        seasons.append(Season(now, damaged, late))
    switches: dict[str, Any] = {}
    if draw(st.booleans()):
        switches["too_much"] = draw(st.sampled_from([408, 413, 500, 502, 503, 504, "drop"]))
        switches |= draw(st.sampled_from([{"window_max_secs": 1500}, {"values_max": 37}, {"window_max_secs": 7000}]))
    extraction: dict[str, Any] = {
        "request_mode": draw(st.sampled_from(["batch", "streamset", "single"])),
        "max_count_per_tag": draw(st.sampled_from([20, 10_000])),
    }
    if lookback:
        extraction["lookback"] = f"{lookback // SECOND}s"
    return Story(seasons, switches, extraction, lookback)


def plant_of(root: Path) -> Plant:
    return Plant.of(root, tags=TAGS, shapes=SHAPES, interval_secs=60)


class Trial:
    """A story that is played, and held to account after every run."""

    def __init__(self, story: Story, root: Path) -> None:
        self.story = story
        self.plant = plant_of(root)
        self.damaged: dict[int, list[Stretch]] = {}
        self.edits: list[dict[str, Any]] = []

    def run(self, now: int, *, well: bool = False, retry_holes: bool = False) -> RunReport:
        damaged = [
            {"tag": self.plant.name(index), "start": text_of(start), "end": text_of(end)}
            for index, found in self.damaged.items()
            for start, end in found
            if not well
        ]
        faults = {"switches": self.story.switches, "damaged": damaged, "edits": self.edits}
        report = run_sync(self.plant, now, faults=faults, retry_holes=retry_holes, extraction=self.story.extraction)
        failed_or_holes = bool(report.holes or report.tags_failed)
        assert (report.exit_code == 1) is failed_or_holes is (report.status == "incomplete"), report
        assert report.error is None, report.error
        assert report.requests <= self.most_requests(now)
        assert all(reason for _, reason in report.tags_failed)
        assert {(one.hole.tag_webid, one.hole.start) for one in report.holes} == {
            (web_id, hole.start) for web_id, found in self.plant.holes().items() for hole in found
        }
        return report

    def play(self) -> None:
        for season in self.story.seasons:
            for index, found in season.damaged.items():
                self.damaged.setdefault(index, []).extend(found)
            self.edits += [
                {"tag": index, "action": "insert", "at": text_of(at), "value": 5} for index, at in season.late
            ]
            self.run(season.now)
            self.assert_true()
            if self.missing(season.now):
                self.run(season.now, retry_holes=True)
                self.assert_true()
                assert self.missing(season.now) == []
        now = self.story.seasons[-1].now
        report = self.run(now, well=True, retry_holes=True)
        if report.tags_failed or report.holes:
            raise AssertionError(f"it has healed: {report}")
        self.assert_true()
        assert self.missing(now, well=True) == []
        for index in range(TAGS):
            mark = self.plant.mark(index)
            assert (mark.low, mark.high, mark.status) == (BEGIN, now, "ok")

    def most_requests(self, now: int) -> int:
        """Each damaged stretch, and the first window that is too much, costs a search; the rest goes by pages and windows.

        What is compared may be read twice, and a hole that is asked again is searched anew.
        """
        span, switches = now - BEGIN, self.story.switches
        searches = TAGS * (1 + bool(switches)) + 2 * sum(map(len, self.damaged.values()))
        page = min(self.story.extraction["max_count_per_tag"], switches.get("values_max", 10_000)) // 4
        pages = 2 * (span // MINUTE) // page + 2
        windows = 4 * span // int(switches.get("window_max_secs", 1e9) * SECOND) + 2
        return 2 * TAGS * (pages + windows) + 2 * searches * most_asks(span)

    # --- what is so ------------------------------------------------------------

    def truth(self, index: int, start: int, end: int) -> list[Row]:
        simulator = self.plant.requests[-1]
        return rows_of(simulator.point(index), simulator.truth(index, start * 10, end * 10))

    def assert_true(self) -> None:
        """Outside of holes the table is as the source is, up to where each tag is done; holes cover what is damaged."""
        holes, expected, found = self.plant.holes(), list[Row](), list[Row]()
        rows = rows_in(self.plant.timeseries)
        marks = self.plant.marks()
        for index in range(TAGS):
            web_id = web_id_of(index)
            mark = marks.get(web_id)
            if mark is None:
                assert all(row[0] != web_id for row in rows)
                continue
            lost = [(hole.start, hole.end) for hole in holes.get(web_id, ())]
            assert all(mark.low <= start < end <= mark.high for start, end in lost)
            assert all(before[1] <= after[0] for before, after in pairwise(lost))
            for start, end in lost:
                assert any(start < last and first < end for first, last in self.damaged.get(index, ())), (
                    f"{self.plant.name(index)}: there is nothing wrong in [{start}, {end})"
                )
            expected += outside(self.truth(index, mark.low, mark.high), lost)
            found += outside([row for row in rows if row[0] == web_id], lost)
        assert_same_rows(found, expected)

    def missing(self, now: int, *, well: bool = False) -> list[Row]:
        """Rows that the source gives, and the table does not have."""
        have = set(rows_in(self.plant.timeseries))
        return [
            row
            for index in range(TAGS)
            for row in outside(self.truth(index, BEGIN, now), () if well else self.damaged.get(index, ()))
            if row not in have
        ]


def outside(rows: Iterable[Row], stretches: Iterable[Stretch]) -> list[Row]:
    known = list(stretches)
    return [row for row in rows if not any(start <= row[2] < end for start, end in known)]


def play(story: Story) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Trial(story, Path(folder)).play()


ANY = {"suppress_health_check": list(HealthCheck)}


@settings(examples(6), derandomize=True, phases=[Phase.generate], **ANY)
@given(stories())
def test_what_can_be_had_is_there_and_what_heals_is_exact(story: Story) -> None:
    play(story)


@pytest.mark.slow
@settings(examples(30), **ANY)
@given(stories())
def test_what_can_be_had_is_there_and_what_heals_is_exact_at_length(story: Story) -> None:
    play(story)


def test_tags_that_are_damaged_side_by_side_are_no_server_that_is_down() -> None:
    """What is looked for in several tags at once is answered with errors alone, again and again."""
    damaged = {index: [(BEGIN + HOUR + index * MINUTE + 7, BEGIN + HOUR + index * MINUTE + 8)] for index in range(3)}
    seasons = [Season(FIRST_END), Season(FIRST_END + HOUR, damaged)]
    play(Story(seasons, {}, {"request_mode": "batch", "max_count_per_tag": 10_000, "lookback": "86400s"}, 24 * HOUR))


@pytest.mark.parametrize(("mode", "too_much"), crossed(["batch", "single"], ["drop", 413, 504], slow=["413"]))
def test_the_first_window_may_be_too_long_already(mode: str, too_much: str | int) -> None:
    """Nothing has been answered yet, and batches are demanded."""
    switches = {"window_max_secs": 7000, "too_much": too_much}
    play(Story([Season(FIRST_END)], switches, {"request_mode": mode, "max_count_per_tag": 10_000}, 0))


def test_where_holes_cannot_be_written_down_no_watermark_passes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint table of an earlier version, to which nobody may add columns."""

    def refused(*_: object, **__: object) -> None:
        raise DeltaError("a change of the schema is not for you")

    plant = plant_of(tmp_path)
    old = PI_WATERMARKS.without([name for name in PI_WATERMARKS.later_columns if name.startswith("hole_")])
    DeltaTable.create(plant.watermarks, schema_of(old), partition_by=["pipeline"])
    monkeypatch.setattr(TableAlterer, "add_columns", refused)
    at = BEGIN + HOUR + 7
    damaged = [{"tag": plant.name(1), "start": text_of(at), "end": text_of(at + 1)}]
    report = run_sync(plant, FIRST_END, faults={"damaged": damaged})
    assert (report.status, report.holes) == ("incomplete", ())
    [(name, reason)] = report.tags_failed
    assert name == plant.name(1)
    assert "Record Header Data Mismatch" in reason
    assert "docs/upgrade.md" in reason
    assert plant.mark(1).high <= at
    plant.assert_exact_but([1], BEGIN, FIRST_END, report)
    run_sync(plant, FIRST_END)
    plant.assert_exact(BEGIN, FIRST_END)
