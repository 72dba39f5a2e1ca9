"""Random histories of frames between runs that die anywhere: the tables equal the source after each run that ends."""

from __future__ import annotations

import random
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.event_frames import spans_of
from engine.plan.run_scope import RunScope
from engine.simulator.replies import Reply
from tests.event_frames.plant import DAY, Plant, serving, stored, versions
from tests.event_frames.test_odd_frames import answered
from tests.exactness.plant import BEGIN, HOUR, text_of
from tests.landing.lake import Killed
from tests.memory_lakehouse import MemoryLakehouse
from tests.variants import first_of
from writers import Watermark, open_lakehouse
from writers.asset_tables import PI_EVENT_FRAMES
from writers.ports import Lakehouse

_STEPS = [
    *(f"{when}_{what}" for when in ("before", "after") for what in ("event_frame_attributes_staging",)),
    *(f"after_event_frame_{what}_commit" for what in ("attributes", "elements", "annotations")),
    *("before_staging", "after_staging", "after_data_commit", "after_watermark_commit"),
]


def change(plant: Plant, chance: random.Random) -> None:
    """One change at the source, of a kind that people make."""
    frames = plant.frames()
    frame = chance.choice(frames)
    moment = text_of(plant.now - chance.randrange(1, 20 * DAY) // 7 * 7)
    match chance.randrange(11):
        case 0 | 1:
            above = {"frame": frame.number} if chance.random() < 0.5 else {}
            plant.change(
                action="create_frame",
                name=chance.choice(["Batch 1", "Stop", "Stop"]),
                start=moment,
                template=chance.choice(["Batch", "Trip", "Phase"]),
                elements=chance.sample(range(30), chance.randrange(3)),
                **above,
            )
        case 2 | 3:
            late = max(frame.start // 10, plant.now - chance.randrange(DAY))
            plant.change(action="edit_frame", frame=frame.number, end=text_of(late))
        case 4:
            plant.change(action="edit_frame", frame=frame.number, end="open")
        case 5:
            plant.change(action="edit_frame", frame=frame.number, description=moment, locked=True, name="renamed")
        case 6:
            plant.change(action="acknowledge_frame", frame=frame.number, by="PLANT\\me", start=moment)
        case 7:
            plant.change(action="annotate_frame", frame=frame.number, name=moment, start=moment)
        case 8 | 9:
            plant.change(action="delete_frame", frame=frame.number)
        case 10:
            chosen: list[Any] = chance.sample(range(30), chance.randrange(1, 4))
            plant.change(action="edit_frame", frame=frame.number, elements=chosen, start=moment, end="open")


async def history(lakehouse: Lakehouse, seed: int, turns: int) -> None:
    chance = random.Random(seed)
    async with serving(lambda: lakehouse, days=20, frames_per_day=2) as plant:
        for _ in range(turns):
            for _ in range(chance.randrange(4)):
                change(plant, chance)
            plant.advance(chance.randrange(1, DAY) // 10 * 10)
            how = chance.choice([{"lookback": "3650d"}, {"full": True}, {"full_compare_every": "1us"}])
            for _ in range(chance.randrange(3)):
                dies_at, after = chance.choice(_STEPS), chance.randrange(3)

                def step(reached: str, dies_at: str = dies_at, left: list[int] = [after]) -> None:  # noqa: B006
                    left[0] -= reached == dies_at
                    if left[0] < 0:
                        raise Killed(reached)

                try:
                    await plant.run(on_step=step, **how)
                except Killed:
                    continue
            assert (await plant.run(**how)).unread == ()
            plant.assert_exact()
        before = versions(lakehouse)
        if not any(one.end is None for one in plant.frames()):
            await plant.run(**how)
            assert versions(lakehouse) == before


@pytest.mark.parametrize("seed", first_of(range(40)))
async def test_random_histories(seed: int) -> None:
    await history(MemoryLakehouse(), seed, turns=6)


async def test_a_history_in_files(tmp_path) -> None:
    await history(open_lakehouse(tmp_path), 99, turns=3)


def renamed(_target: str, reply: Reply) -> Reply:
    """The AF database has another name."""
    body = reply.body().replace(rb"\\\\SIMAF\\Plant", rb"\\\\SIMAF\\Works")
    return Reply(reply.status, [body.replace(b'"Name":"Plant"', b'"Name":"Works"')])


async def test_a_frame_is_opened_again_and_its_database_renamed_while_runs_are_killed() -> None:
    lakehouse = MemoryLakehouse()
    async with serving(lambda: lakehouse, days=3, frames_per_day=2) as plant:
        assert (await plant.run()).unread == ()
        begun = text_of(plant.now - 5 * HOUR)
        number = plant.change(
            action="create_frame", name="Stop", start=begun, end=text_of(plant.now - HOUR), template="Trip"
        )
        for turn, dies_at in enumerate(_STEPS):
            plant.change(action="edit_frame", frame=number, end=text_of(plant.now - HOUR) if turn % 2 else "open")
            plant.advance(10_000_000)

            def step(reached: str, dies_at: str = dies_at) -> None:
                if reached == dies_at:
                    raise Killed(reached)

            with answered(plant, renamed) if turn % 3 == 0 else nullcontext():
                with suppress(Killed):
                    await plant.run(on_step=step)
                assert (await plant.run()).unread == ()
                plant.assert_exact(values=False)
                names = {row["database"] for row in stored(lakehouse, PI_EVENT_FRAMES)}
                assert names == {"Works" if turn % 3 == 0 else "Plant"}, turn


# --- which windows are read ---------------------------------------------------------------


instants = st.integers(0, 60).map(lambda n: BEGIN + n * HOUR)


@given(
    st.none() | st.tuples(instants, instants), instants, instants, st.integers(0, 30), st.booleans(), st.integers(1, 9)
)
def test_a_forward_run_and_a_backfill_share_what_a_run_reads(done, start, end, lookback, full, length) -> None:
    """Together they read all of it, and the backfill leaves alone what the forward run reads."""
    mark = None if done is None or done[0] == done[1] else Watermark("d", min(done), max(done))
    how = {"lookback": lookback * HOUR, "full": full}
    both = [
        spans_of(mark, start, end, scope=RunScope.FORWARD, lookback=lookback * HOUR, full=False),
        spans_of(mark, start, end, scope=RunScope.BACKFILL, **how),
    ]
    if mark is None:
        assert [one.high for one in both[0]] == ([end] if start < end else [])
        assert both[1] == []
        return

    def hours(spans) -> set[int]:
        return {
            at for one in spans for low, high in one.windows(lambda: length * HOUR) for at in range(low, high, HOUR)
        }

    forward, behind = map(hours, both)
    assert forward | behind == hours(spans_of(mark, start, end, **how))
    assert not forward & behind


@given(
    st.none() | st.tuples(instants, instants), instants, instants, st.integers(0, 30), st.booleans(), st.integers(1, 9)
)
def test_each_window_touches_what_is_done(done, start, end, lookback, full, length) -> None:
    mark = None if done is None else Watermark("d", min(done), max(done))
    low, high = (start, start) if mark is None or mark.low == mark.high else (mark.low, mark.high)
    first = True
    for span in spans_of(mark, start, end, lookback=lookback * HOUR, full=full):
        for begin, stop in span.windows(lambda: length * HOUR):
            assert begin < stop <= max(end, high)
            if not (first and low == high):
                assert begin <= high
                assert stop >= low
            else:
                low, high = begin, begin
            low, high, first = min(low, begin), max(high, stop), False
    if start < end:
        assert low <= start
        assert high >= end
