"""Event frames in every destination, and each kind of trouble with them."""

from __future__ import annotations

import pytest

from config import from_mapping
from engine.datasets.request_mode import Mode
from engine.run import run
from tests.contract.conftest import of_whole_runs
from tests.event_frames.plant import DAY, Plant, serving, stored, versions
from tests.exactness.plant import BEGIN, HOUR, settings, text_of
from tests.memory_lakehouse import MemoryLakehouse
from writers import PI_WATERMARKS
from writers.asset_tables import PI_EVENT_FRAME_ATTRIBUTES, PI_EVENT_FRAMES


def in_memory():
    lakehouse = MemoryLakehouse()
    return lambda: lakehouse


def an_open_one(plant: Plant, **edit: object) -> int:
    return plant.change(action="create_frame", name="Stop", start=text_of(plant.now - HOUR), template="Trip", **edit)


@of_whole_runs
async def test_the_life_of_frames(destination) -> None:
    async with serving(destination.lakehouse, days=1, frames_per_day=6) as plant:
        number = an_open_one(plant, elements=["Site 01"])
        assert (await plant.run()).unread == ()
        plant.assert_exact()
        before = versions(destination.lakehouse())
        again = await plant.run()
        assert (again.added, again.changed, again.missing) == (0, 0, 0)
        assert versions(destination.lakehouse())[0] == before[0]

        plant.advance(HOUR)
        plant.change(action="edit_frame", frame=number, end=text_of(plant.now - 60_000_000), severity="Minor")
        plant.change(action="acknowledge_frame", frame=number, by="PLANT\\me", start=text_of(plant.now))
        plant.change(action="annotate_frame", frame=number, name="a bearing", start=text_of(plant.now))
        await plant.run()
        plant.assert_exact()
        [row] = [one for one in stored(destination.lakehouse(), PI_EVENT_FRAMES) if one["event_name"] == "Stop"]
        assert (row["first_seen"], row["last_updated"]) == (plant.now - HOUR, plant.now)

        plant.change(action="delete_frame", frame=number)
        assert (await plant.run()).missing == 1
        plant.assert_exact()
        [gone] = stored(destination.lakehouse(), PI_EVENT_FRAMES, deleted=True)
        assert (gone["event_name"], gone["deleted_at"]) == ("Stop", plant.now)
        before = versions(destination.lakehouse())
        assert (await plant.run()).missing == 0
        assert versions(destination.lakehouse())[0] == before[0]


async def test_nothing_changed_no_commit() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=30) as plant:
        plant.change(action="edit_frame", frame=0, description="first")
        for frame in plant.frames():  # an open frame shows another value each time that it is asked
            if frame.end is None:
                plant.change(action="delete_frame", frame=frame.number)
        await plant.run()
        before = versions(lakehouse())
        for full in (False, True, False):
            await plant.run(full=full) if not full else await plant.run(full_compare_every="1us")
            assert versions(lakehouse()) == before
        plant.assert_exact()


async def test_history_is_read_window_by_window_and_goes_on_where_it_stopped() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=40) as plant:
        commits = 0

        class Stopped(BaseException):
            pass

        def stop(step: str) -> None:
            nonlocal commits
            commits += step == "after_watermark_commit"
            if commits == 2:
                raise Stopped

        with pytest.raises(Stopped):
            await plant.run(on_step=stop)
        done = len(stored(lakehouse(), PI_EVENT_FRAMES))
        assert 0 < done < len(plant.frames())
        asked = plant.request_counts()[1]
        await plant.run(lookback="0s")
        plant.assert_exact()
        assert plant.request_counts()[1] - asked < len(plant.frames()) - done + 50, "what has landed is not read again"


async def test_a_start_that_is_moved_back_brings_what_lies_before() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=60, frames_per_day=3) as plant:
        await plant.run(extraction={"start_date": text_of(BEGIN + 50 * DAY)})
        first = len(stored(lakehouse(), PI_EVENT_FRAMES))
        assert 0 < first < len(plant.frames()) / 2
        await plant.run()
        plant.assert_exact()


async def test_a_frame_that_began_before_and_is_open_is_read_and_looked_up_when_it_closes_long_ago() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=30, frames_per_day=1) as plant:
        number = plant.change(action="create_frame", name="Old", start=text_of(BEGIN + DAY), template="Downtime")
        start = {"start_date": text_of(BEGIN + 20 * DAY)}
        await plant.run(extraction=start)

        def old() -> list[dict]:
            return [one for one in stored(lakehouse(), PI_EVENT_FRAMES) if one["event_name"] == "Old"]

        assert [one["is_open"] for one in old()] == [True]
        plant.change(action="edit_frame", frame=number, end=text_of(BEGIN + 2 * DAY))
        await plant.run(extraction=start, lookback="1h")
        assert [one["end_time"] for one in old()] == [BEGIN + 2 * DAY]
        # Opened again: active now, whenever it began.
        plant.change(action="edit_frame", frame=number, end="open")
        await plant.run(extraction=start, lookback="1h")
        assert [one["is_open"] for one in old()] == [True]
        plant.change(action="delete_frame", frame=number)
        await plant.run(extraction=start, lookback="1h")
        assert old() == []


async def test_old_edits_and_deletions_show_with_the_next_full_comparison() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=30, frames_per_day=3) as plant:
        await plant.run()
        plant.change(action="edit_frame", frame=3, description="edited", locked=True)
        plant.change(action="acknowledge_frame", frame=6, by="PLANT\\me", start=text_of(plant.now))
        plant.change(action="delete_frame", frame=9)
        plant.advance(HOUR)
        recent = await plant.run(lookback="1h")
        assert recent.missing == 0
        plant.advance(HOUR)
        compared = await plant.run(full_compare_every="1h")
        assert compared.missing >= 1
        plant.assert_exact()
        marks = lakehouse().table(PI_WATERMARKS).open().read().read_all().to_pylist()
        assert {one["dataset"] for one in marks} == {"event_frames"}
        assert len({one["tag_webid"] for one in marks}) == 2


async def test_captured_values_stay_unless_everything_is_to_be_compared() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=2) as plant:
        await plant.run()
        batch = next(one for one in plant.frames() if one.template == "Batch" and one.captured)
        plant.change(action="edit_frame_value", frame=batch.number, attribute="Operator", value="somebody else")
        await plant.run(lookback="30d")

        def operator() -> list[str]:
            rows = stored(lakehouse(), PI_EVENT_FRAME_ATTRIBUTES)
            mine = [r for r in rows if r["event_frame_webid"] == plant.web_id(batch)]
            return [r["value_string"] for r in mine if r["attribute_name"] == "Operator"]

        assert operator() != ["somebody else"]
        await plant.run(full=True)
        assert operator() == ["somebody else"]
        plant.assert_exact()


async def test_without_batches(tmp_path) -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=1) as plant:
        assert (await plant.run(mode=Mode.SINGLE)).unread == ()
        plant.assert_exact()


async def test_templates_and_attributes_that_are_chosen() -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=3) as plant:
        await plant.run(templates=["Stop"], attributes=["Re*"])
        rows = stored(lakehouse(), PI_EVENT_FRAMES)
        assert {one["template_name"] for one in rows} == {"Downtime", "Trip"}, "derived ones, too"
        names = {one["attribute_name"] for one in stored(lakehouse(), PI_EVENT_FRAME_ATTRIBUTES)}
        assert names == {"Reason"}
        missing = await plant.run(templates=["Nothing"])
        assert [what for what, _ in missing.unread] == ["event frames of Plant"]


@pytest.mark.parametrize(
    "route", ["assetdatabases/*/eventframes", "assetservers/*/assetdatabases", "streamsets/*/value"]
)
async def test_what_does_not_come_is_said_and_the_tables_stand(route: str) -> None:
    lakehouse = in_memory()
    stop = {"action": "create_frame", "name": "Stop", "start": text_of(BEGIN + HOUR), "template": "Trip"}
    async with serving(lakehouse, days=2, faults={"asset_edits": [stop]}) as plant:
        await plant.run()
        before = {one["event_frame_webid"] for one in stored(lakehouse(), PI_EVENT_FRAMES)}
    rules = [{"match": {"route": route}, "do": {"status": 504}}]
    async with serving(lakehouse, days=2.5, faults={"asset_edits": [stop], "rules": rules}) as broken:
        result = await broken.run()
    assert result.unread
    assert result.missing == 0
    assert before <= {one["event_frame_webid"] for one in stored(lakehouse(), PI_EVENT_FRAMES)}
    async with serving(lakehouse, days=2.5, faults={"asset_edits": [stop]}) as healed:
        assert (await healed.run()).unread == ()
        healed.assert_exact()


async def test_a_month_is_read_in_bulk(capsys: pytest.CaptureFixture[str]) -> None:
    lakehouse = in_memory()
    async with serving(lakehouse, days=30, frames_per_day=50) as plant:
        await plant.run()
        frames = len(plant.frames())
        requests, within = plant.request_counts()
        plant.assert_exact()
        await plant.run()
        again = plant.request_counts()[0] - requests
    with capsys.disabled():
        print(f"\n{frames} frames: {requests} requests, {within} in batches; {again} when nothing had changed")
    assert requests < frames / 30
    assert again < 8


async def test_a_run_that_lacks_a_page_ends_with_1_and_its_report_says_so(tmp_path) -> None:
    frames = {"event_frames": {"enabled": True}, "extraction": {"datasets": ["event_frames"]}}
    rule = {"match": {"route": "assetdatabases/*/eventframes"}, "do": {"status": 504}}
    async with serving(in_memory(), days=1, faults={"rules": [rule]}) as broken:
        report = await run(from_mapping(settings(tmp_path, broken.url, **frames)).config)
    [unread] = report.as_dict()["datasets"]["event_frames"]["unread"]
    assert "event frames of Plant" in str(unread)
    assert ("504" in str(unread), report.exit_code) == (True, 1)
    async with serving(in_memory(), days=1) as healed:
        report = await run(from_mapping(settings(tmp_path, healed.url, **frames)).config)
        assert (report.exit_code, report.status) == (0, "succeeded")
        assert report.as_dict()["datasets"]["event_frames"]["rows_written"] == len(healed.frames())
