"""Spark reads the simulated plant by the data source `pi_web_api`: exact as a batch, and as a stream that is killed."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.simulator import Simulator
from tests.exactness.expected import COLUMNS, Row, assert_same_rows, exact_double, rows_of, web_id_of
from tests.exactness.plant import BEGIN, BEGIN_TEXT, HOUR, MINUTE, Plant, text_of
from tests.spark.served import served
from tests.spark.session import SourceSpark, SparkError, started_with_source, table
from writers import PI_TIMESERIES

pytestmark = pytest.mark.spark

TAGS = 5
FIRST = BEGIN + 2 * HOUR
VALUE = COLUMNS.index("value")


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceSpark]:
    with started_with_source(tmp_path_factory.mktemp("spark")) as session:
        yield session


class Site:
    """The plant, its server, and the options that lead there."""

    def __init__(self, plant: Plant, simulator: Simulator, url: str) -> None:
        self.plant = plant
        self.simulator = simulator
        self.now = FIRST
        self.options = {
            "pi_web_api.url": url,
            "pi_web_api.auth_type": "anonymous",
            "pi_web_api.max_requests_per_second": "10000",
            "extraction.tag_name_filter": '"*"',
            "extraction.start_date": BEGIN_TEXT,
            "extraction.lag": "0s",
            "extraction.interval": "1s",
            "extraction.discovery_interval": "1us",
            "retry.max_attempts": "1",
            "numPartitions": "2",
        }

    def at(self, now: int) -> None:
        """Move the clock of the server."""
        self.now = now
        self.simulator.set_clock(now * 10)

    def truth(self, tag: int | str, start: int = BEGIN, end: int | None = None) -> list[Row]:
        """What the archive shows of a tag now."""
        until = self.now if end is None else end
        return rows_of(self.simulator.point(tag), self.simulator.truth(tag, start * 10, until * 10))

    def all(self, start: int = BEGIN, end: int | None = None) -> list[Row]:
        return [row for index in range(TAGS) for row in self.truth(index, start, end)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    plant = Plant.of(tmp_path, tags=TAGS, bad=0.1)
    simulator = plant.simulator(FIRST)
    with served(simulator) as url:
        yield Site(plant, simulator, url)


def eventually(holds: Callable[[], bool], secs: float = 300) -> None:
    until = time.monotonic() + secs
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def newest(spark: SourceSpark, path: Path) -> list[Row]:
    """What AUTO CDC makes of change rows: of each key the row of the latest micro-batch."""
    best = "ROW_NUMBER() OVER (PARTITION BY tag_webid, timestamp, sequence ORDER BY _sequence DESC) AS place"
    found = spark.sql(f"SELECT {', '.join(COLUMNS)} FROM (SELECT *, {best} FROM {table(path)}) WHERE place = 1")
    return [(*row[:VALUE], exact_double(row[VALUE]), *row[VALUE + 1 :]) for row in found]


def test_a_batch_is_exact_and_has_the_columns_of_the_table(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    columns = spark.read(site.options, tmp_path / "batch")
    assert_same_rows(spark.events(tmp_path / "batch"), site.all())
    assert [each.split()[0] for each in columns] == PI_TIMESERIES.schema.names
    end = text_of(BEGIN + HOUR)
    spark.read({**site.options, "extraction.end_date": end, "numPartitions": "5"}, tmp_path / "part")
    assert_same_rows(spark.events(tmp_path / "part"), site.all(end=BEGIN + HOUR))
    spark.read({**site.options, "dataset": "tags"}, tmp_path / "tags")
    named = spark.sql(f"SELECT tag_webid, name FROM {table(tmp_path / 'tags')}")
    assert sorted(named) == sorted((web_id_of(n), site.plant.name(n)) for n in range(TAGS))


def test_credentials_are_in_no_plan_and_mistakes_are_told(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hunter2")
    options = {**site.options, "pi_web_api.auth_type": "bearer", "pi_web_api.token": f"${{file:{secret}}}"}
    assert "hunter2" not in spark.plan(options)
    spark.read(options, tmp_path / "batch")
    assert_same_rows(spark.events(tmp_path / "batch"), site.all())
    with pytest.raises(SparkError, match=r"pi_web_api\.token is written in full"):
        spark.plan({**options, "pi_web_api.token": "hunter2"})
    with pytest.raises(SparkError, match="Nowhere"):
        spark.read({**site.options, "extraction.tags": "Nowhere"}, tmp_path / "none")


def test_a_stream_gives_each_event_once_over_starts(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    for now in (FIRST, FIRST, FIRST + 7 * MINUTE, FIRST + HOUR):
        site.at(now)
        spark.follow(site.options, seen)
        assert_same_rows(spark.events(seen), site.all())


def test_a_replay_reads_the_same_windows_of_the_same_tags(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    """The clock has moved on since, and there is a tag more."""
    seen, again = tmp_path / "seen", tmp_path / "again"
    spark.follow(site.options, seen)
    second = FIRST + HOUR
    site.at(second)
    spark.follow(site.options, seen)
    shutil.copytree(tmp_path / "seen.checkpoint", tmp_path / "again.checkpoint")
    for each in ("1", ".1.crc"):
        (tmp_path / "again.checkpoint" / "commits" / each).unlink(missing_ok=True)
    site.at(second + HOUR)
    site.simulator.change({"action": "create_point", "tag": "New.Tag", "type": "Float64", "at": text_of(BEGIN + HOUR)})
    spark.follow(site.options, again)
    assert_same_rows(spark.events(again), site.all(FIRST, second))
    spark.follow(site.options, again)  # Spark 4.0 ends after a replay, though there is more
    offsets = [
        json.loads((tmp_path / "again.checkpoint" / "offsets" / str(n)).read_text().splitlines()[-1]) for n in (0, 1, 2)
    ]
    assert [each["end"] for each in offsets] == [
        "2024-03-05T02:00:00Z", "2024-03-05T03:00:00Z", "2024-03-05T04:00:00Z",
    ]  # fmt: skip
    assert_same_rows(spark.events(again), [*site.all(start=FIRST), *site.truth("New.Tag")])


def test_tags_come_and_go_and_come_back_across_starts(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    seen, options = tmp_path / "seen", {**site.options, "stateLocation": str(tmp_path / "state")}
    spark.follow(options, seen)
    site.simulator.change({"action": "create_point", "tag": "New.Tag", "type": "Float64", "at": text_of(BEGIN + HOUR)})
    site.at(FIRST + HOUR)
    spark.follow(options, seen)
    assert_same_rows(spark.events(seen), [*site.all(), *site.truth("New.Tag")])
    gone = site.truth(0)
    site.simulator.change({"action": "delete_point", "tag": 0})
    site.at(FIRST + 2 * HOUR)
    spark.follow(options, seen)
    others = [row for index in range(1, TAGS) for row in site.truth(index)]
    assert_same_rows(spark.events(seen), [*others, *gone, *site.truth("New.Tag")])
    site.simulator.change({"action": "restore_point", "tag": site.plant.name(0)})
    site.at(FIRST + 3 * HOUR)
    spark.follow(options, seen)
    assert_same_rows(spark.events(seen), [*site.all(), *site.truth("New.Tag")])


def test_late_and_edited_events_come_as_change_rows(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    options = {**site.options, "changeRows": "true", "extraction.lookback": "90m"}
    spark.follow(options, seen)
    at = site.truth(1)[-3][2]
    site.simulator.change(
        {"action": "insert", "tag": 1, "at": text_of(FIRST - 10 * MINUTE + 1), "value": 5.0},
        {"action": "replace", "tag": 1, "at": text_of(at), "value": 7.0},
    )
    site.at(FIRST + HOUR)
    spark.follow(options, seen)
    assert_same_rows(newest(spark, seen), site.all())
    kinds = dict(spark.sql(f"SELECT _change_type, COUNT(*) FROM {table(seen)} GROUP BY ALL"))
    assert kinds["insert"] == len(site.all()) - 1
    assert kinds["upsert"] == len(site.all(start=FIRST - 90 * MINUTE, end=FIRST))
    ends = spark.sql(f"SELECT DISTINCT _sequence FROM {table(seen)} ORDER BY 1")
    assert ends == [(FIRST,), (FIRST + HOUR,)]


def test_a_tag_that_cannot_be_read_fails_its_micro_batch_until_it_can(
    spark: SourceSpark, site: Site, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    at = site.truth(2)[4][2]
    site.simulator.change({"action": "damage", "tag": 2, "at": text_of(at)})
    with pytest.raises(SparkError, match="STREAM_FAILED"):
        spark.follow(site.options, seen)
    # What a task says is the cause of what Spark says, and in its log.
    assert f"1 window cannot be read: {site.plant.name(2)}" in spark.log.read_text()
    assert not list((seen / "_delta_log").glob("*.json"))  # nothing is committed
    site.simulator.change({"action": "heal", "tag": 2, "at": text_of(at)})
    spark.follow(site.options, seen)
    assert_same_rows(spark.events(seen), site.all())


def test_what_is_left_out_is_written_down(spark: SourceSpark, site: Site, tmp_path: Path) -> None:
    seen, state = tmp_path / "seen", tmp_path / "state"
    at = site.truth(2)[4][2]
    site.simulator.change({"action": "damage", "tag": 2, "at": text_of(at)})
    spark.follow({**site.options, "failOnTagError": "false", "stateLocation": str(state)}, seen)
    missing = {(web_id_of(2), at)}
    assert_same_rows(spark.events(seen), [row for row in site.all() if (row[0], row[2]) not in missing])
    [file] = (state / "left_out").iterdir()
    [left_out] = map(json.loads, file.read_text().splitlines())
    assert (left_out["tag_webid"], left_out["tag_name"]) == (web_id_of(2), site.plant.name(2))


@contextmanager
def own_spark(folder: Path) -> Iterator[SourceSpark]:
    with started_with_source(folder) as session:
        try:
            yield session
        finally:
            session.kill()


def test_a_stream_that_is_killed_in_a_micro_batch_loses_and_doubles_nothing(site: Site, tmp_path: Path) -> None:
    """The clock moves on before it is started again, and there is a tag more."""
    seen, checkpoint = tmp_path / "seen", tmp_path / "seen.checkpoint"
    options = {**site.options, "stateLocation": str(tmp_path / "state")}
    with own_spark(tmp_path / "spark") as session:
        session.follow(options, seen, every="0 seconds")
        eventually((checkpoint / "commits" / "0").exists)
        site.at(FIRST + HOUR)
        eventually((checkpoint / "offsets" / "1").exists)
        time.sleep(random.random())
    site.at(FIRST + 2 * HOUR)
    site.simulator.change({"action": "create_point", "tag": "New.Tag", "type": "Float64", "at": text_of(BEGIN + HOUR)})
    with started_with_source(tmp_path / "spark") as session:
        for _ in range(2):  # Spark 4.0 ends after a replay
            session.follow(options, seen)
        assert_same_rows(session.events(seen), [*site.all(), *site.truth("New.Tag")])
