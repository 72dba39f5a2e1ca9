"""`status --gaps`: which windows of which tags are not done, from the tables of real runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import engine.clock
import engine.run.metrics_rows
from config import from_mapping
from engine.commands import timeline_chart
from engine.commands.selection import KnownTag
from engine.commands.status.gaps import find_gaps
from engine.commands.status.pipeline_progress import LastRun, Shards
from engine.commands.status.render import print_gaps
from engine.piweb.webid import name_matcher
from engine.plan.gap_ledger import GapReason
from engine.plan.shards import Shard
from tests.command_line.conftest import NOW, Called, simulated, written
from tests.servers import free_port
from writers import Watermark

MICROS = 1_709_640_000_000_000  # NOW
HOUR = 3_600_000_000


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock stands where the simulator's does when a run begins, and 5 minutes later after that."""
    monkeypatch.setattr(engine.clock, "wall_micros", lambda: MICROS + 5 * 60_000_000)
    monkeypatch.setattr(engine.run.metrics_rows, "wall_micros", lambda: MICROS)


@pytest.mark.usefixtures("at_noon")
def test_what_is_newer_than_the_last_run_is_no_gap_and_told_apart(called: Called, here: Path, site: str):
    written(here, site)
    called("run", "-c", "plant.yaml")
    done = called("status", "-c", "plant.yaml", "--gaps")
    assert done.code == 0
    assert "Gaps: 50 of 50 tags complete\n" in done.out
    assert "50 tags: 2024-03-05 11:59:30 to 12:04:30, not due yet: newer than what the last run could read" in done.out
    found = called("status", "-c", "plant.yaml", "--gaps", "--json").json["gaps"]
    assert found["windows"] == []
    assert found["not_due"] == {"start": "2024-03-05T11:59:30Z", "end": "2024-03-05T12:04:30Z", "tags": 50}
    assert found["coverage"]["start"] == "2024-03-05T11:00:00Z"
    assert found["coverage"]["shares"][0] == 1
    assert "gaps" not in called("status", "-c", "plant.yaml", "--json").json


@pytest.mark.usefixtures("at_noon")
def test_what_a_run_was_to_read_and_could_not_is_a_gap(
    called: Called, here: Path, site: str, monkeypatch: pytest.MonkeyPatch
):
    written(here, site)
    called("run", "-c", "plant.yaml")
    written(here, f"http://127.0.0.1:{free_port()}/piwebapi")
    for minutes, where in ((5, engine.clock), (4, engine.run.metrics_rows)):
        monkeypatch.setattr(where, "wall_micros", lambda minutes=minutes: MICROS + minutes * 60_000_000)
    assert called("run", "-c", "plant.yaml").code != 0
    done = called("status", "-c", "plant.yaml", "--gaps")
    assert done.code == 1
    assert "the last run failed" in done.out
    assert "Gaps: 0 of 50 tags complete; 3.3 tag-hours are missing" in done.out
    assert "50 tags: 2024-03-05 11:59:30 to 12:03:30, not read yet" in done.out
    found = called("status", "-c", "plant.yaml", "--gaps", "--json").json["gaps"]
    [window] = found["windows"]
    assert (window["reason"], window["tags"], len(set(window["tag_webids"]))) == ("behind", 50, 50)
    assert (window["start"], window["end"]) == ("2024-03-05T11:59:30Z", "2024-03-05T12:03:30Z")
    assert found["not_due"] is None


@pytest.mark.usefixtures("at_noon")
def test_history_that_is_wanted_now_and_tags_that_fail(called: Called, here: Path):
    faults = here / "faults.yaml"
    faults.write_text('tags: [{tag: "*Level.000001", forbidden: 403}]')
    with simulated("--tags", "5", "--now", NOW, "--faults", str(faults)) as url:
        written(here, url)
        called("run", "-c", "plant.yaml")
    written(here, url, extraction={"start_date": "2024-03-04T11:00:00Z", "end_date": "2024-03-05T11:59:30Z"})
    told = called("status", "-c", "plant.yaml", "--gaps").out
    assert "4 tags: 2024-03-04 11:00 to 2024-03-05 11:00, history before what is read" in told
    assert "Level.000001: 2024-03-05 11:00:00 to 11:59:30, failed: " in told
    assert "Gaps: 0 of 5 tags complete; 97 tag-hours are missing" in told


@pytest.mark.usefixtures("at_noon")
def test_a_pipeline_that_has_an_end_has_no_gaps_once_it_is_there(called: Called, here: Path, site: str):
    written(here, site, extraction={"end_date": "2024-03-05T11:30:00Z"})
    assert "Gaps: 0 of 0 tags complete" in called("status", "-c", "plant.yaml", "--gaps").out
    called("run", "-c", "plant.yaml")
    assert "Gaps: 50 of 50 tags complete\n" in called("status", "-c", "plant.yaml", "--gaps").out


@pytest.mark.usefixtures("at_noon")
def test_of_many_windows_the_largest_are_shown_and_the_rest_summed_up(called: Called, here: Path, site: str):
    for end in range(10, 50, 10):
        only = {"tag_name_filter": [f"*0000{end}"], "end_date": f"2024-03-05T11:{end}:00Z"}
        written(here, site, extraction=only)
        called("run", "-c", "plant.yaml")
    written(here, site, extraction={"end_date": "2024-03-05T11:55:00Z"})
    told = called("status", "-c", "plant.yaml", "--gaps", "--limit", "2").out
    assert "1 tag: 2024-03-05 11:10 to 11:40, not read yet" in told
    assert "1 tag: 2024-03-05 11:40 to 11:55, not due yet" in told
    told = called("status", "-c", "plant.yaml", "--gaps", "--limit", "1").out
    assert "2 tags: 2 more windows between 2024-03-05 11:20 to 11:40, not read yet" in told


def find(marks: list[Watermark], known: list[KnownTag], *, runs=(), shards: Shards = Shards(), **extraction):  # noqa: B008
    document = {"pi_web_api": {"url": "https://pi.example/piwebapi"}, "storage": {"root": "/x"}}
    config = from_mapping(
        {**document, "extraction": {"lag": "0s", "start_date": "now-1d", **extraction}}, env={}
    ).config
    return find_gaps(config, {mark.tag_webid: mark for mark in marks}, known, MICROS, runs=runs, shards=shards)


def point(name: str, *, gone: bool = False, server: str = "SIM") -> KnownTag:
    return KnownTag(f"I1DP{name.ljust(28, 'x')}", name, f"\\\\{server}\\{name}", server, MICROS if gone else None)


def mark(of: KnownTag, hours_ago: float) -> Watermark:
    return Watermark(of.web_id, MICROS - 9 * HOUR, MICROS - int(hours_ago * HOUR))


def test_tags_that_were_seen_and_never_read_are_missing_from_the_start():
    known = [point("U1.A"), point("U1.B"), point("U2.A"), point("U1.C", gone=True)]
    found = find([mark(known[0], 0)], known, tag_name_filter=["u1.?"])
    [gap] = found.ledger.gaps
    assert (gap.web_id, gap.reason) == (known[1].web_id, GapReason.NEVER_READ)
    assert (gap.start, gap.end) == (MICROS - 24 * HOUR, MICROS)
    assert (found.ledger.tags, found.ledger.complete) == (2, 1)


def test_tags_that_are_gone_or_not_selected_any_more_are_left_out_and_counted():
    known = [point("A"), point("B", gone=True), point("C")]
    marks = [mark(known[0], 3), mark(known[1], 2), mark(known[2], 2)]
    found = find(marks, known, tag_name_filter=["A", "B"])
    assert [gap.web_id for gap in found.ledger.gaps] == [known[0].web_id]
    assert (found.deleted, found.unselected) == (1, 1)


def test_of_shards_that_run_one_after_the_other_each_has_a_present_of_its_own():
    known = [point(f"T{n}") for n in range(20)]
    halves = [[tag for tag in known if Shard(index, 2).owns(tag.web_id)] for index in (0, 1)]
    assert all(len(half) > 1 for half in halves)
    marks = [mark(tag, hours) for hours, half in zip((1, 2), halves, strict=True) for tag in half]
    assert find(marks, known, tag_name_filter="*", shards=Shards(2)).ledger.complete == 20
    assert find(marks, known, tag_name_filter="*").ledger.complete == len(halves[0])
    late = [mark(halves[1][0], 3), *(each for each in marks if each.tag_webid != halves[1][0].web_id)]
    [gap] = find(late, known, tag_name_filter="*", shards=Shards(2)).ledger.gaps
    assert (gap.web_id, gap.end) == (halves[1][0].web_id, MICROS - 2 * HOUR)


def test_a_tag_that_is_read_more_seldom_than_others_is_due_after_its_own_interval():
    known = [point("OFTEN"), point("SELDOM")]
    classes = [{"name": "seldom", "tags": "SELDOM", "interval": "3h"}]
    for hours, gaps in ((2, 0), (5, 1)):
        found = find([mark(known[0], 1), mark(known[1], hours)], known, tag_name_filter="*", classes=classes)
        assert len(found.ledger.gaps) == gaps
        assert found.not_due is not None


@pytest.mark.parametrize(
    ("status", "command", "events", "end"),
    [
        ("failed", "run", 0, MICROS - HOUR), ("incomplete", "run", 0, MICROS - HOUR), ("succeeded", "run", 0, None),
        ("failed", "run", 7, None), ("failed", "verify", 0, None), ("interrupted", "run", 0, None),
    ],
)  # fmt: skip
def test_a_run_that_failed_shows_up_to_where_it_could_have_read(status: str, command: str, events: int, end):
    known = [point("A")]
    ended = LastRun("r", "0-of-1", MICROS, events, status=status, duration_seconds=3600, command=command)
    gaps = find([mark(known[0], 2)], known, tag_name_filter="*", runs=[ended]).ledger.gaps
    assert [gap.end for gap in gaps] == ([] if end is None else [end])


def test_a_watermark_from_beyond_the_calendar_is_told_of_without_an_error():
    known = [point("A"), point("B")]
    beyond = Watermark(known[0].web_id, MICROS, 253_402_300_800_000_000)
    found = find([beyond, mark(known[1], 2)], known, tag_name_filter="*")
    assert [(gap.web_id, gap.end) for gap in found.ledger.gaps] == [(known[1].web_id, MICROS)]
    console = Console(record=True, width=200)
    print_gaps(console, found, 10)
    assert "1 of 2 tags complete" in console.export_text()


def test_a_tag_is_selected_by_name_path_or_web_id_and_on_its_server_only():
    known = [point("A"), point("B"), point("C"), point("D"), point("A", server="OTHER")]
    named = ["a", "\\\\sim\\b", known[2].web_id]
    found = find([], known[:4], tags=named, data_server="sim")
    assert {gap.web_id for gap in found.ledger.gaps} == {tag.web_id for tag in known[:3]}
    assert find([], known[4:], tags=["a"], data_server="sim").ledger.tags == 0


def test_where_a_web_id_may_name_anything_no_watermark_is_left_out():
    known = [point("A")]
    other = Watermark("I1DPother", MICROS - 9 * HOUR, MICROS)
    found = find([mark(known[0], 2), other], known, tags=["F1DP" + "y" * 40])
    assert [gap.web_id for gap in found.ledger.gaps] == [known[0].web_id]
    unseen = find([Watermark("I1DPunknown", 0, 5)], [], tag_name_filter="*")
    assert unseen.ledger.tags == 1


def test_history_before_a_relative_start_is_wanted_in_full_mode_alone():
    known = [point("A")]
    assert find([mark(known[0], 0)], known, tag_name_filter="*").ledger.complete == 1
    [gap] = find([mark(known[0], 0)], known, tag_name_filter="*", mode="full").ledger.gaps
    assert (gap.reason, gap.end) == (GapReason.HISTORY, MICROS - 9 * HOUR)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [("A*", "abc", True), ("A?", "abc", False), ("A[1]*", "a[1]x", True), ("A[1]", "A1", False), ("", "", True)],
)
def test_patterns_are_those_of_pi(pattern: str, name: str, fits: bool):
    assert name_matcher([pattern])(name) == fits
    assert not name_matcher([])(name)


@pytest.mark.parametrize(("encoding", "signs"), [("utf-8", "·▁▄▇█ "), ("ascii", ".159# ")])
def test_a_column_is_whole_or_empty_only_if_it_is(encoding: str, signs: str):
    import io

    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    shares = (0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, None)
    assert timeline_chart.strip(console, shares, good=True).plain == signs
    assert {span.style for span in timeline_chart.strip(console, shares[:1], good=True).spans} == {"red"}
    assert {span.style for span in timeline_chart.strip(console, shares[:1], good=False).spans} == {"green"}


def test_two_times_share_what_they_can():
    assert timeline_chart.span(0, 60_000_000) == "1970-01-01 00:00 to 00:01"
    assert timeline_chart.span(0, 61_000_000) == "1970-01-01 00:00:00 to 00:01:01"
    assert timeline_chart.span(0, 25 * HOUR) == "1970-01-01 00:00 to 1970-01-02 01:00"
