"""Histories of records against a dictionary, with runs that die at any step; and processes that are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import FencedError
from tests.crash.process import forked
from tests.examples import examples
from tests.keyed.records import Job, kill_at, land, landing_of, opened, stored
from tests.landing.lake import Killed
from tests.memory_lakehouse import MemoryLakehouse
from tests.variants import slowly
from writers import open_lakehouse
from writers.ports import Lakehouse

STEPS = ("before_staging", "before_correction", "after_staging", "after_data_commit", "after_watermark_commit")

jobs = st.builds(
    Job,
    st.sampled_from("abcdef"),
    st.integers(0, 6),
    st.none() | st.integers(6, 8),
    st.sampled_from(["job", "edited"]),
    st.just("s"),
)
windows = st.lists(st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(2, 7)), max_size=2)
commits = st.tuples(st.lists(jobs, max_size=5), st.lists(st.sampled_from("abcdef"), max_size=2), windows)


def expected(model: dict[str, Job], given_jobs: list[Job], gone: list[str], compared: list) -> dict[str, Job]:
    after = {job.job_id: job for job in given_jobs}
    after = {key: job for key, job in after.items() if key not in gone}
    covered = {
        key
        for key, job in model.items()
        for low, high in compared
        if job.start is not None and (low is None or low <= job.start) and (high is None or job.start < high)
    }
    kept = {key: job for key, job in model.items() if key not in covered and key not in gone}
    return kept | after


@examples(100)
@given(st.lists(st.tuples(commits, st.none() | st.sampled_from(STEPS)), min_size=1, max_size=8), st.booleans())
def test_the_table_is_what_a_dictionary_would_be(rounds: list, reopens: bool) -> None:
    lakehouse, model = MemoryLakehouse(), {}
    landing = opened(lakehouse)
    for n, ((given_jobs, gone, compared), dies_at) in enumerate(rounds, 1):
        after = expected(model, given_jobs, gone, compared)
        if dies_at is not None:
            dying = opened(lakehouse, on_step=kill_at(dies_at))
            try:
                land(dying, *given_jobs, to=n, gone=gone, windows=compared)
            except Killed:
                assert stored(lakehouse) in (model, after)
            landing = opened(lakehouse, run_id=f"run {n}")  # it reads the same again
        elif reopens:
            landing = opened(lakehouse, run_id=f"run {n}")
        receipt = land(landing, *given_jobs, to=n, gone=gone, windows=compared)
        assert stored(lakehouse) == after
        if dies_at is None:
            assert receipt.inserted == len(after.keys() - model.keys())
            assert receipt.deleted == len(model.keys() - after.keys())
            assert receipt.changed == sum(model[key] != after[key] for key in after.keys() & model.keys())
            assert (receipt.data is None) == (model == after)
        model = after
    assert {name: mark.high for name, mark in landing.open().items()} == {"s": len(rounds)}


# --- processes -------------------------------------------------------------------------

MANY = [Job(f"{n:03}", n) for n in range(40)]
CLOSED = [job._replace(end=100) for job in MANY[::2]]


def _killed(root: str, step: str) -> None:
    def on_step(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    land(opened(open_lakehouse(root), on_step=on_step), *CLOSED, to=20, windows=[(30, 40)])


@pytest.mark.parametrize(
    "step",
    ["before_correction", "after_data_commit", *slowly("before_staging", "after_staging", "after_watermark_commit")],
)
def test_killed_at_any_step(tmp_path: Path, step: str) -> None:
    lakehouse = open_lakehouse(tmp_path)
    land(opened(lakehouse), *MANY, to=10)
    process = forked(_killed, str(tmp_path), step)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = {job.job_id: job for job in MANY}
    after = expected(before, CLOSED, [], [(30, 40)])
    landed = step in {"after_data_commit", "after_watermark_commit"}
    assert stored(lakehouse) == (after if landed else before)
    landing = landing_of(lakehouse, run_id="rerun")
    assert landing.open()["s"].high == (20 if landed else 10)
    receipt = land(landing, *CLOSED, to=20, windows=[(30, 40)])
    assert (receipt.data is None) == landed
    assert stored(lakehouse) == after
    assert landing.open()["s"].rows_total == 40


def _shard(root: str, shard: str, turns: int) -> None:
    lakehouse = open_lakehouse(root)
    landing = opened(lakehouse, shard=shard)
    for turn in range(1, turns + 1):
        shown = [Job(f"{shard} {n}", n, turn, source=shard) for n in range(turn, turn + 5)]
        land(landing, *shown, to=turn, source=shard, windows=[(None, None)])


def test_shards_side_by_side(tmp_path: Path) -> None:
    turns, shards = 5, [f"{n}-of-3" for n in range(3)]
    opened(open_lakehouse(tmp_path))
    processes = [forked(_shard, str(tmp_path), shard, turns) for shard in shards]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = stored(open_lakehouse(tmp_path))
    assert found.keys() == {f"{shard} {n}" for shard in shards for n in range(turns, turns + 5)}
    assert {job.end for job in found.values()} == {turns}


def _rival(root: str, name: str) -> None:
    lakehouse: Lakehouse = open_lakehouse(root)
    wins = 0
    while wins < 3:
        try:
            landing = opened(lakehouse, run_id=name)
            high = landing.open()["s"].high
            land(landing, Job("counter", 0, high + 1), Job(f"{name} {wins}", 1), to=high + 1)
        except FencedError:
            continue
        wins += 1


def test_rivals_of_one_shard_count_one_after_the_other(tmp_path: Path) -> None:
    lakehouse = open_lakehouse(tmp_path)
    land(opened(lakehouse), Job("counter", 0, 1), to=1)
    processes = [forked(_rival, str(tmp_path), name) for name in ("red", "blue")]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert opened(lakehouse).open()["s"].high >= 7
    assert {f"{name} {n}" for name in ("red", "blue") for n in range(3)} | {"counter"} == stored(lakehouse).keys()
