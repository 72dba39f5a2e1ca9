"""Several answers about one tag move one watermark; what failed is said beside the rows that came before it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from config.errors import TagGoneError
from engine.flow.channel import Channel
from engine.flow.committer import Committer, Delivery
from engine.model import Tag
from engine.plan.chunk_result import ChunkResult, ReplacedWindow, TagFailure
from tests.memory_lakehouse import MemoryLakehouse
from tests.patience import HANGS_AFTER_SECS
from writers import (
    PI_TIMESERIES,
    CorrectionCounts,
    Landing,
    LandingRun,
    Move,
    Moves,
    Watermark,
    open_lakehouse,
)
from writers.tables import TIMESTAMP

A = Tag("a", "A")


def rows(web_id: str, *micros: int) -> pa.RecordBatch:
    schema, n = PI_TIMESERIES.schema, len(micros)
    known = {
        "tag_webid": pa.array([web_id] * n, pa.string()),
        "timestamp": pa.array(micros, pa.int64()).cast(TIMESTAMP),
        "sequence": pa.array([0] * n, pa.int32()),
        "partition_date": pa.array([0] * n, pa.int32()).cast(pa.date32()),
    }
    return pa.RecordBatch.from_arrays([known.get(f.name, pa.nulls(n, f.type)) for f in schema], names=schema.names)


def advanced(move: Move, *micros: int) -> Delivery:
    return Delivery(rows(move.tag_webid, *micros), ChunkResult(moves=(Moves.of([move]),)))


def failed(tag: Tag, high: int) -> Delivery:
    return Delivery(rows(tag.web_id), ChunkResult(failures=(TagFailure(tag, TagGoneError("gone"), 0, high),)))


def parquet_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.parquet"))


async def committed(*deliveries: Delivery, commit_rows: int = 1_000) -> tuple[dict[str, Watermark], list]:
    """Watermarks once these are committed, as the next run reads them, and what was reported of it."""
    lakehouse, told = MemoryLakehouse(), []

    def landing() -> Landing:
        return Landing(lakehouse, PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", run_id="r"))

    ours = landing()
    ours.open()
    channel: Channel[Delivery] = Channel(1 << 20)
    for delivery in deliveries:
        channel.put(delivery, await channel.reserve(1))
    channel.close()
    with ThreadPoolExecutor(1) as writer:
        await Committer(
            ours, channel, dataset="recorded", commit_rows=commit_rows, commit_secs=60, writer=writer, emit=told.append
        ).run()
    return landing().open(), told


async def test_pages_of_a_tag_add_up():
    marks, [told] = await committed(
        advanced(Move("a", 0, 10, 9, 3, last_event_digest=7), 1, 2, 9),
        advanced(Move("b", 0, 5, None, 0)),
        advanced(Move("a", 0, 20, 19, 2, last_event_digest=7), 10, 19),
    )
    assert marks == {"a": Watermark("a", 0, 20, 19, 5, last_event_digest=7), "b": Watermark("b", 0, 5, None, 0)}
    assert (told.rows, told.tags) == (5, 2)


async def test_forward_and_backward_readings_of_a_tag_widen_it_on_both_sides():
    marks, _ = await committed(
        advanced(Move("a", 50, 70, 60, 1, last_event_digest=7), 60),
        advanced(Move("a", 40, 50, 45, 2, last_event_digest=7), 40, 45),
    )
    assert marks == {"a": Watermark("a", 40, 70, 60, 3, last_event_digest=7)}


async def test_a_failure_keeps_what_was_read_before_it():
    marks, [told] = await committed(advanced(Move("a", 0, 10, 9, 3, last_event_digest=7), 1, 2, 9), failed(A, 10))
    assert marks == {"a": Watermark("a", 0, 10, 9, 3, "failed", "gone", last_event_digest=7)}
    assert told.tags == 1


async def test_a_failure_alone_moves_nothing():
    marks, [told] = await committed(failed(A, 10))
    assert (marks["a"].low, marks["a"].high, marks["a"].status) == (10, 10, "failed")
    assert told.tags == 0


async def test_a_tag_that_failed_in_one_gap_stays_failed_when_another_advances():
    marks, _ = await committed(failed(A, 60), advanced(Move("a", 50, 70, 65, 1, last_event_digest=7), 65))
    assert marks == {"a": Watermark("a", 50, 70, 65, 1, "failed", "gone", last_event_digest=7)}


async def test_rows_that_replace_others_are_told_as_corrections_and_not_as_written():
    swap = ChunkResult(replaced=(ReplacedWindow(A, 5, 10),))
    marks, [told] = await committed(
        advanced(Move("a", 0, 10, 9, 1, last_event_digest=7), 9),
        Delivery(rows("a"), swap, replacing=rows("a", 6, 7)),
    )
    assert (told.rows, told.corrections) == (1, CorrectionCounts(inserted=2))
    assert marks["a"].rows_total == 3


@pytest.mark.parametrize(("commit_rows", "most"), [(4, 1_000), (1_000, 4)])
async def test_rows_that_replace_others_wait_in_memory_and_bring_a_commit_about(commit_rows, most, monkeypatch):
    monkeypatch.setattr("engine.flow.committer.MOST_REPLACING", most)
    pages = [
        Delivery(rows("a"), ChunkResult(replaced=(ReplacedWindow(A, at, at + 10),)), replacing=rows("a", at, at + 1))
        for at in (0, 10, 20)
    ]
    _, told = await committed(advanced(Move("a", 0, 30)), *pages, commit_rows=commit_rows)
    assert [commit.corrections.inserted for commit in told] == [4, 2]


async def test_a_commit_that_has_begun_is_seen_through_when_the_run_is_cancelled():
    half_way, go_on = threading.Event(), threading.Event()
    steps: list[str] = []

    def on_step(step: str) -> None:
        steps.append(step)
        if step == "after_data_commit":
            half_way.set()
            go_on.wait(HANGS_AFTER_SECS)

    ours = Landing(
        MemoryLakehouse(), PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", run_id="r", on_step=on_step)
    )
    ours.open()
    channel: Channel[Delivery] = Channel(1 << 20)
    channel.put(advanced(Move("a", 0, 10, 9, 1, last_event_digest=7), 9), await channel.reserve(1))
    channel.close()
    with ThreadPoolExecutor(1) as writer:
        committer = Committer(
            ours, channel, dataset="recorded", commit_rows=1_000, commit_secs=60, writer=writer, emit=lambda _: None
        )
        running = asyncio.create_task(committer.run())
        assert await asyncio.to_thread(half_way.wait, 10)
        running.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        over_too_soon = running.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not over_too_soon
        assert steps[-1] == "after_watermark_commit"


async def test_what_was_staged_for_a_commit_that_never_comes_is_removed(tmp_path: Path):
    ours = Landing(open_lakehouse(tmp_path), PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", run_id="r"))
    ours.open()
    channel: Channel[Delivery] = Channel(1 << 30)
    many = 1 << 19  # so many rows are written out before the commit
    room = await channel.reserve(1)
    channel.put(advanced(Move("a", 0, many, many - 1, many, last_event_digest=7), *range(many)), room)
    with ThreadPoolExecutor(1) as writer:
        committer = Committer(
            ours, channel, dataset="recorded", commit_rows=2 * many, commit_secs=60, writer=writer, emit=lambda _: None
        )
        running = asyncio.create_task(committer.run())
        await channel.reserve(channel.max_bytes)  # all of it: the rows are staged
        assert parquet_files(tmp_path)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not parquet_files(tmp_path)
