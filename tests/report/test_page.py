"""The page holds the figures that the tables and `status` have, loads nothing, and shows every name as text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from engine.telemetry.formats import count, format_duration, one_line, size
from tests.command_line.conftest import Called
from tests.command_line.test_nothing_raw import assert_clean
from tests.exactness.reading import read_table, rows_in
from tests.report.conftest import Lake
from tests.report.sample import DAMAGED, DAY, EVIL, FAILING, NOW_MICROS, READ

KINDS = ("Temperature", "Pressure", "Level")
NAMES = [f"Unit1.{kind}{EVIL}" for kind in KINDS]
SHOWN = [one_line(name) for name in NAMES]
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div", "span", "i", "b",
    "h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "svg", "text", "rect", "line",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "class", "viewbox", "role", "xmlns", "x", "y", "x1", "x2", "y1",
    "y2", "width", "height", "text-anchor",
}  # fmt: skip


class Page:
    """A page as an XML parser reads it, which takes nothing that is not well formed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = ET.fromstring(re.sub(r' xmlns="[^"]+"', "", text.removeprefix("<!DOCTYPE html>\n")))

    def tiles(self) -> dict[str, str]:
        tiles = self.root.iterfind(".//div[@class='tile']")
        return {tile.findtext("span") or "": tile.findtext("b") or "" for tile in tiles}

    def section(self, title: str) -> ET.Element:
        [found] = [one for one in self.root.iter("section") if one.findtext("h2") == title]
        return found

    def rows(self, title: str) -> list[dict[str, str]]:
        """The rows of the table of a section."""
        table = self.section(title).find(".//table")
        assert table is not None
        names = [cell.text or "" for cell in table.iterfind("thead/tr/th")]
        return [dict(zip(names, (cell.text or "" for cell in row), strict=True)) for row in table.iterfind("tbody/tr")]

    def bars(self, title: str) -> list[str]:
        """What the bars of a section say of themselves."""
        return [bar.findtext("title") or "" for bar in self.section(title).iter("rect")]

    def titles(self) -> list[str]:
        return [one.findtext("h2") or "" for one in self.root.iter("section")]


def reported(called: Called, lake: Lake, *options: str) -> Page:
    file = lake.folder / "out/report.html"
    done = called("report", "-c", str(lake.config), "--html", str(file), *options)
    assert done.code == 0, done.err
    assert_clean(done.out)
    assert done.out.startswith(f"{file}: pipeline plant: ")
    return Page(file.read_text("utf-8"))


def metrics(lake: Lake) -> list[dict[str, Any]]:
    return read_table(lake.tables / "monitoring/pi_connector_metrics").to_pylist()


class Tokens(HTMLParser):
    """Elements and attributes as a browser finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes |= {name for name, _ in attrs}


def test_the_page_loads_nothing_and_holds_only_elements_of_ours(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile, "--tag", NAMES[READ])
    found = Tokens()
    found.feed(page.text)
    assert set(found.elements) <= ELEMENTS
    assert found.attributes <= ATTRIBUTES, "no src, href, style or on..."
    style = page.root.findtext("head/style") or ""
    assert not re.search(r"url\(|@import|expression", style)
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style
    policy = page.root.find("head/meta[@http-equiv='Content-Security-Policy']")
    assert policy is not None
    assert policy.get("content") == "default-src 'none'; style-src 'unsafe-inline'"
    assert page.root.find("head/meta[@name='viewport']") is not None
    assert all(line.isprintable() for line in page.text.split("\n"))


def test_hostile_names_and_messages_are_shown_as_text(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile)
    [failing] = page.rows("Tags that fail")
    [hole] = page.rows("Holes")
    assert failing["tag"] == SHOWN[FAILING]
    assert "The archive is offline" in failing["why"]
    assert hole["tag"] == SHOWN[DAMAGED]
    assert "<script>alert" not in page.text
    assert [row["why"] for row in page.rows("Last runs") if row["status"] == "failed"] == [
        one_line(f"the server is away{EVIL}")
    ]


def test_the_tiles_are_the_figures_of_status_and_of_the_tables(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile)
    told = called("status", "-c", str(hostile.config), "--json", "--gaps").json
    runs = [row for row in metrics(hostile) if row["command"] == "run"]
    assert page.tiles() == {
        "tags": "24",
        "tags that fail": str(len(told["troubled"])),
        "events read, ever": count(len(rows_in(hostile.tables / "bronze/pi_timeseries"))),
        "behind, the worst tag": format_duration(told["freshness_seconds"]["worst"]),
        "tags complete": f"{told['gaps']['tags_complete']} of 24",
        "holes": str(sum(window["reason"] == "cannot be read" for window in told["gaps"]["windows"])),
        "events in 30 days": count(sum(row["records_written"] for row in runs)),
        "requests in 30 days": count(sum(row["requests"] for row in metrics(hostile))),
    }
    assert page.tiles()["tags complete"] == "22 of 24"
    problems = [one.text for one in page.root.iterfind("body/header/div/p")]
    assert problems == told["problems"]
    assert page.bars("Freshness") == [f"< 5 min: {told['tags'] - told['tags_unread']}"]
    columns = [name.rpartition(": ")[2] for name in page.bars("Gaps")]
    shares = [share for share in told["gaps"]["coverage"]["shares"] if share is not None]
    assert len(set(page.bars("Gaps"))) == len(shares)
    assert not any(text.startswith("100") for text in columns), "one tag was never read"


def test_the_days_are_those_of_the_metrics_table(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile)
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in metrics(hostile):
        days[f"{row['started_at']:%Y-%m-%d}"].append(row)

    def total(rows: list[dict[str, Any]], name: str) -> int:
        return sum(row[name] or 0 for row in rows)

    assert page.rows("Days in figures") == [
        {
            "day": day,
            "runs": str(len(rows)),
            "not well": str(sum(row["status"] in {"failed", "incomplete"} for row in rows)),
            "events": count(total([row for row in rows if row["command"] == "run"], "records_written")),
            "inserted": count(total(rows, "corrections_inserted")),
            "changed": count(total(rows, "corrections_changed")),
            "deleted": count(total(rows, "corrections_deleted")),
            "requests": count(total(rows, "requests")),
            "repeated": count(total(rows, "retries")),
            "refused": count(total(rows, "throttled")),
            "received": size(total(rows, "bytes_fetched")),
        }
        for day, rows in sorted(days.items(), reverse=True)
    ]
    assert len(days) == 30
    assert {"Throughput", "Corrections", "Requests", "Bytes", "Runs", "Freshness by day"} <= set(page.titles())
    assert "2024-02-25: 1 failed or incomplete" in page.bars("Runs")
    assert "2024-02-29: 40 inserted" in page.bars("Corrections")
    week = reported(called, hostile, "--days", "7")
    assert week.rows("Days in figures") == page.rows("Days in figures")[:7]


def test_the_last_runs_and_the_tables_are_listed(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile)
    runs = page.rows("Last runs")
    newest = sorted(metrics(hostile), key=lambda row: -row["started_at"].timestamp())
    assert len(runs) == 20
    assert {run["run"] for run in runs} <= {row["run_id"] for row in newest[:22]}
    assert runs[0]["failed tags"] == "1"
    for row in page.rows("Tags, assets and event frames"):
        found = read_table(hostile.tables / "bronze" / row["table"])
        assert row["rows"] == count(found["deleted_at"].null_count)
        assert row["gone at the source"] == count(found.num_rows - found["deleted_at"].null_count)
    assert {"pi_asset_hierarchy", "pi_event_frames"} <= {
        row["table"] for row in page.rows("Tags, assets and event frames")
    }


def good_by_day(lake: Lake, name: str, end: int) -> dict[str, tuple[int, int]]:
    """The rows of a tag by day, before an end, and those of them that are good."""
    found = read_table(lake.tables / "bronze/pi_timeseries").filter(
        (pa.compute.field("tag_name") == name)
        & (pa.compute.field("timestamp") < pa.scalar(end, pa.timestamp("us", tz="UTC")))
    )
    days = Counter(f"{at:%Y-%m-%d}" for at in found["timestamp"].to_pylist())
    good = Counter(f"{at:%Y-%m-%d}" for at in found.filter(found["good"])["timestamp"].to_pylist())
    return {day: (rows, good[day]) for day, rows in days.items()}


END = NOW_MICROS - 120_000_000  # up to where verify counts


def test_the_page_of_a_tag_shows_what_pi_and_the_table_have(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile, "--tag", NAMES[READ])
    listed = page.rows(f"Tag {SHOWN[READ]}")
    held = good_by_day(hostile, NAMES[READ], END)
    assert {row["day"]: (row["in the table"], row["of them good"]) for row in listed} == {
        day: (count(rows), count(good)) for day, (rows, good) in held.items()
    }
    assert all(row["PI counts"] in {row["in the table"], row["of them good"]} for row in listed)
    assert [row["verdict"] for row in listed] == ["agrees"] * 3
    text = " ".join(page.section(f"Tag {SHOWN[READ]}").itertext())
    assert "Of 3 days, no day differs." in text
    assert "It has no gaps." in text
    assert page.titles()[0] == f"Tag {SHOWN[READ]}"


def test_the_page_of_a_tag_shows_days_that_differ_and_its_holes(called: Called, copied: Lake) -> None:
    table = DeltaTable(str(copied.tables / "bronze/pi_timeseries"))
    before = {row["day"]: row for row in reported(called, copied, "--tag", NAMES[READ]).rows(f"Tag {SHOWN[READ]}")}
    web_id = {row["name"]: row["tag_webid"] for row in read_table(copied.tables / "bronze/pi_tags").to_pylist()}
    table.delete(
        f"tag_webid = '{web_id[NAMES[READ]]}' AND partition_date = '2024-03-04' AND timestamp < '2024-03-04T00:50:00Z'"
    )
    page = reported(called, copied, "--tag", web_id[NAMES[READ]])
    after = {row["day"]: row for row in page.rows(f"Tag {SHOWN[READ]}")}
    assert {day: row["verdict"] for day, row in after.items()} == {
        "2024-03-03": "agrees", "2024-03-04": "differs", "2024-03-05": "agrees",
    }  # fmt: skip
    assert after["2024-03-04"]["PI counts"] == before["2024-03-04"]["PI counts"]
    assert after["2024-03-04"]["in the table"] == count(good_by_day(copied, NAMES[READ], END)["2024-03-04"][0])

    page = reported(called, copied, "--tag", NAMES[DAMAGED])
    holed = page.section(f"Tag {SHOWN[DAMAGED]}")
    text = " ".join(holed.itertext())
    assert "from 2024-03-05T03:00:00Z to 2024-03-05T03:20:00Z" in text
    assert "cannot be read" in text
    never = " ".join(reported(called, copied, "--tag", NAMES[FAILING]).section(f"Tag {SHOWN[FAILING]}").itertext())
    assert "Nothing of it has been read yet by this pipeline." in never
    assert "It fails: GET /streams/" in never
    assert "PI counts" not in never


def test_the_page_of_a_deleted_tag_asks_nothing_and_one_that_is_not_selected_is_refused(
    called: Called, copied: Lake
) -> None:
    DeltaTable(str(copied.tables / "bronze/pi_tags")).update(
        {"deleted_at": "CAST('2024-03-05T06:00:00Z' AS TIMESTAMP)"}, predicate="name LIKE 'Unit1.Temperature%'"
    )
    tag = reported(called, copied, "--tag", NAMES[READ]).section(f"Tag {SHOWN[READ]}")
    text = " ".join(tag.itertext())
    assert "deleted at the source; found missing 2024-03-05 06:00:00Z" in text
    assert "PI was not asked for counts" in text
    assert "no gaps" not in text
    options = ("--html", str(copied.folder / "none.html"), "--set", 'extraction.tag_name_filter="Unit2.*"')
    refused = called("report", "-c", str(copied.config), *options, "--tag", NAMES[DAMAGED])
    assert refused.code == 2
    assert "the configuration does not select this tag" in refused.err
    assert not (copied.folder / "none.html").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--html", "r.html", "--tag", "NO\x1bTAG"), "--tag NO\N{REPLACEMENT CHARACTER}TAG: pi_tags has no such tag"),
        (("--html", "file/r.html"), "file/r.html: cannot be written: "),
        (("--html", "r.html", "--days", "0"), "Invalid value for '--days'"),
        ((), "Missing option '--html'"),
    ],
)
def test_a_mistake_is_a_sentence(
    called: Called, hostile: Lake, here: Path, options: tuple[str, ...], said: str
) -> None:
    (here / "file").touch()
    done = called("report", "-c", str(hostile.config), *options)
    assert done.code == 2
    assert done.err.startswith(f"error: {said}")
    assert not (here / "r.html").exists()


def test_a_pipeline_that_never_ran_has_a_page_on_standard_output(called: Called, here: Path) -> None:
    done = called("report", "--html", "-", "--set", f"storage.root={here / 'nothing'}")
    page = Page(done.out)
    assert done.code == 0
    assert page.tiles()["tags"] == "0"
    assert page.root.findtext("body/header/div/p") == "it has never run; `run` begins"
    assert not (here / "nothing").exists()


def test_days_without_runs_are_days_of_zero(called: Called, hostile: Lake) -> None:
    page = reported(called, hostile, "--days", "60")
    assert len(page.rows("Days in figures")) == 30
    first = page.section("Throughput").findall("svg/text")
    assert "2024-01-06" in [text.text for text in first], "the axis begins 59 days ago"
    assert NOW_MICROS // DAY == 19787
