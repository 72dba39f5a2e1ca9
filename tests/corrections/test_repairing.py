"""A repair beside a run: whoever is quicker, no row comes twice, and nothing newer gives way to something older."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import CommitConflictError, FencedError
from tests.corrections.events import DAY, Event, batch_of, events_of
from tests.examples import examples
from tests.landing.lake import Killed, Lake, event_rows, kill_at, land
from tests.memory_lakehouse import MemoryLakehouse
from tests.unity.places import stand_in_lakehouse
from tests.variants import slowly
from writers import (
    PI_TIMESERIES,
    PI_WATERMARKS,
    CorrectionCounts,
    Landing,
    LandingReceipt,
    LandingRun,
    MaintenanceOptions,
    Move,
    RepairLanding,
    Replacement,
    open_lakehouse,
    optimize_table,
)
from writers.landing import repair

OLD = [Event(tag, at) for tag in "ab" for at in range(5)]
WHOLE = ("a", 0, 5)


@pytest.fixture(params=["memory", "folder", *slowly("managed", "external")])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param == "memory":
        yield Lake(MemoryLakehouse())
    elif request.param == "folder":
        yield Lake(open_lakehouse(tmp_path))
    else:
        with stand_in_lakehouse(request.param, str(tmp_path), None) as opened:
            yield Lake(opened())


@pytest.fixture
def folder(tmp_path: Path) -> Lake:
    return Lake(open_lakehouse(tmp_path))


def filled(lake: Lake) -> Landing:
    landing = lake.opened()
    batch = landing.begin()
    batch.write(batch_of(OLD))
    batch.commit([Move(tag, 0, 10, 4, 5) for tag in "ab"])
    return landing


def repair_of(lake: Lake, *windows: tuple[str, int, int], **options) -> RepairLanding:
    """One that is about to read these windows."""
    found = RepairLanding(
        lake.lakehouse,
        PI_TIMESERIES,
        LandingRun(pipeline="p", dataset="recorded", shard="repair.0-of-1", run_id="r", **options),
    )
    found.open()
    found.watch(windows)
    return found


def mend(lands: Landing | RepairLanding, events: Sequence[Event], *windows: tuple[str, int, int]) -> LandingReceipt:
    """Make windows hold these events."""
    batch = lands.begin()
    batch.replace([Replacement(*window) for window in windows], batch_of(events))
    return batch.commit([])


def of(lake: Lake, tag: str) -> list[tuple[int, float | None]]:
    rows = events_of(lake.lakehouse.table(PI_TIMESERIES).open().read().read_all())
    return [(e.at, e.value) for e in rows if e.tag == tag]


def plain(*values: float) -> list[tuple[int, float]]:
    return list(enumerate(values))


def as_events(tag: str, *values: float) -> list[Event]:
    return [Event(tag, at, value=value) for at, value in enumerate(values)]


def test_it_corrects_and_leaves_the_watermarks_alone(lake: Lake) -> None:
    landing = filled(lake)
    marks = dict(lake.opened().open())
    checkpoint = lake.lakehouse.table(PI_WATERMARKS)
    rows = checkpoint.open().read().read_all().num_rows
    repairing = repair_of(lake, WHOLE)
    receipt = mend(repairing, as_events("a", 1, 7, 1), WHOLE)
    assert receipt.corrections == CorrectionCounts(changed=1, deleted=2, files_rewritten=1)
    assert receipt.watermarks is None
    repairing.open()
    repairing.watch([WHOLE])
    assert mend(repairing, as_events("a", 1, 7, 1), WHOLE).data is None
    mend(repairing, as_events("a", 1, 7, 1, 1), WHOLE)
    assert of(lake, "a") == plain(1, 7, 1, 1)
    assert of(lake, "b") == plain(1, 1, 1, 1, 1)
    land(landing, "a", 10, 12)  # the run beside it goes on
    assert checkpoint.open().read().read_all().num_rows == rows + 1
    after = dict(lake.opened().open())
    assert after.pop("a").high == 12
    marks.pop("a")
    assert after == marks


@pytest.mark.parametrize("first", ["repair", "run"])
def test_what_both_find_missing_is_put_in_once(lake: Lake, first: str) -> None:
    """Neither takes a file out, so that nothing but the rule about corrections tells them apart."""
    landing = filled(lake)
    late = ("a", 5, 9)
    repairing = repair_of(lake, late)
    pair: list[Landing | RepairLanding] = [repairing, landing] if first == "repair" else [landing, repairing]
    batches = []
    for lands in pair:
        batch = lands.begin()
        batch.replace([Replacement(*late)], batch_of([Event("a", 7)]))
        batches.append(batch)
    counts = [batch.commit([]).corrections.inserted for batch in batches]
    assert counts == [1, 0]
    assert of(lake, "a") == [*plain(1, 1, 1, 1, 1), (7, 1.0)]


def test_what_a_run_has_corrected_since_is_newer_and_stays(lake: Lake) -> None:
    landing = filled(lake)
    repairing = repair_of(lake, WHOLE, ("b", 0, 5))
    seen = [*as_events("a", 1, 2, 1, 1, 1), *as_events("b", 1, 2, 1, 1, 1)]  # and then the source changes again
    mend(landing, as_events("a", 1, 3, 1, 1, 1), WHOLE)
    receipt = mend(repairing, seen, WHOLE, ("b", 0, 5))
    assert receipt.stale == {"a"}
    assert receipt.corrections == CorrectionCounts(changed=1, files_rewritten=1)
    assert of(lake, "a") == plain(1, 3, 1, 1, 1)
    assert of(lake, "b") == plain(1, 2, 1, 1, 1)
    repairing.open()
    repairing.watch([WHOLE])
    assert mend(repairing, as_events("a", 1, 4, 1, 1, 1), WHOLE).stale == frozenset()
    assert of(lake, "a") == plain(1, 4, 1, 1, 1)


def test_what_a_run_corrects_at_the_last_moment_is_newer_too(folder: Lake) -> None:
    """Between the look at the table and the commit."""
    landing = filled(folder)

    def meanwhile(step: str) -> None:
        if step == "after_staging":
            repairing.on_step = lambda _step: None
            mend(landing, as_events("a", 1, 3, 1, 1, 1), WHOLE)

    repairing = repair_of(folder, WHOLE, ("b", 0, 5), on_step=meanwhile)
    seen = [*as_events("a", 1, 2, 1, 1, 1), *as_events("b", 1, 2, 1, 1, 1)]
    assert mend(repairing, seen, WHOLE, ("b", 0, 5)).stale == {"a"}
    assert (of(folder, "a"), of(folder, "b")) == (plain(1, 3, 1, 1, 1), plain(1, 2, 1, 1, 1))
    assert (
        len(list(Path(folder.lakehouse.table(PI_TIMESERIES).uri).rglob("part-*.parquet"))) == 3
    )  # as it was, as the run left it, and now


def test_corrections_of_other_rows_are_passed_without_looking_anew(
    folder: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = filled(folder)
    land(landing, "c", DAY, DAY + 5)
    computed = []
    correct = repair.correct
    monkeypatch.setattr(repair, "correct", lambda *given: computed.append(1) or correct(*given))
    values = iter([2.0, 3.0, 4.0])

    def meanwhile(step: str) -> None:
        if step == "after_staging":
            for value in values:
                mend(landing, [Event("c", DAY, value=value)], ("c", DAY, DAY + 1))

    it = repair_of(folder, WHOLE, on_step=meanwhile)
    assert mend(it, as_events("a", 1, 2, 1, 1, 1), WHOLE).corrections.changed == 1
    assert computed == [1]
    assert of(folder, "a") == plain(1, 2, 1, 1, 1)
    assert (DAY, 4.0) in of(folder, "c")


def test_files_that_others_rewrite_are_no_news(folder: Lake) -> None:
    """Compacted, or corrected for another tag: the rows of the window are the same."""
    landing = filled(folder)
    land(landing, "a", 10, 12)
    it = repair_of(folder, WHOLE)
    mend(landing, as_events("b", 1, 5, 1, 1, 1), ("b", 0, 5))
    optimize_table(folder.lakehouse.table(PI_TIMESERIES), MaintenanceOptions())
    receipt = mend(it, as_events("a", 1, 2, 1, 1, 1), WHOLE)
    assert (receipt.stale, receipt.corrections.changed) == (frozenset(), 1)
    assert of(folder, "b") == plain(1, 5, 1, 1, 1)


def test_a_rival_that_never_rests_ends_it(folder: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = filled(folder)
    monkeypatch.setattr(repair, "_ATTEMPTS", 3)
    values = iter(range(10, 100))

    def meanwhile(step: str) -> None:
        if step == "after_staging":
            mend(landing, as_events("b", next(values), 1, 1, 1, 1), ("b", 0, 5))

    it = repair_of(folder, WHOLE, on_step=meanwhile)
    with pytest.raises(CommitConflictError, match="3 times while it was being repaired"):
        mend(it, as_events("a", 1, 2, 1, 1, 1), WHOLE)
    assert of(folder, "a") == plain(1, 1, 1, 1, 1)
    files = set(Path(folder.lakehouse.table(PI_TIMESERIES).uri).rglob("part-*.parquet"))
    live = folder.lakehouse.table(PI_TIMESERIES).open().live_files(0, 2 * DAY)
    assert len(files) == len(live) + 3  # nothing of it stays but what the rival has replaced


def test_of_two_repairs_the_second_is_fenced(lake: Lake) -> None:
    filled(lake)
    first, second = repair_of(lake, WHOLE), repair_of(lake, WHOLE)
    mend(first, as_events("a", 1, 2, 1, 1, 1), WHOLE)
    with pytest.raises(FencedError):
        mend(second, as_events("a", 1, 3, 1, 1, 1), WHOLE)
    assert of(lake, "a") == plain(1, 2, 1, 1, 1)


@pytest.mark.parametrize("step", ["before_staging", "before_correction", "after_staging", "after_data_commit"])
def test_one_that_dies_leaves_nothing_to_be_finished(folder: Lake, step: str) -> None:
    landing = filled(folder)
    with pytest.raises(Killed):
        mend(repair_of(folder, WHOLE, on_step=kill_at(step)), as_events("a", 1, 2, 1, 1, 1), WHOLE)
    land(landing, "a", 10, 12)
    assert folder.opened().open()["a"].high == 12
    mend(repair_of(folder, WHOLE), as_events("a", 1, 2, 1, 1, 1), WHOLE)
    assert of(folder, "a") == [*plain(1, 2, 1, 1, 1), (10, 10.0), (11, 11.0)]


def test_it_neither_appends_nor_moves(lake: Lake) -> None:
    filled(lake)
    it = repair_of(lake, WHOLE)
    batch = it.begin()
    batch.write(event_rows("a", [5]))
    with pytest.raises(ValueError, match="appends nothing"):
        batch.commit([Move("a", 0, 10, None, 1)])
    with pytest.raises(ValueError, match="moves no watermark"):
        it.begin().commit([Move("a", 10, 12)])
    failed = Move("a", 10, 10, status="failed", last_error="refused")
    assert it.begin().commit([failed]).data is None
    assert lake.opened().open()["a"].status == "ok"


def test_it_has_to_be_opened_and_named_as_one(lake: Lake) -> None:
    it = repair_of(lake, WHOLE)
    it.open()
    with pytest.raises(RuntimeError):
        it.begin()
    with pytest.raises(ValueError, match="repair"):
        RepairLanding(
            lake.lakehouse, PI_TIMESERIES, LandingRun(pipeline="p", dataset="recorded", shard="0-of-1", run_id="r")
        )


# --- any order of reading and landing --------------------------------------------

CELLS = st.tuples(st.sampled_from("ab"), st.integers(0, 3))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), CELLS, st.sampled_from([None, 1.0, 2.0, 3.0])),
        st.tuples(st.sampled_from(["run reads", "run lands", "repair reads", "repair lands", "append"])),
    ),
    max_size=25,
)


def play(lake: Lake, steps: Sequence[tuple]) -> None:
    """Both read the same windows at any time, and land later what they saw."""
    source: dict[tuple[str, int], float] = {(e.tag, e.at): 1.0 for e in OLD if e.at < 4}
    windows = [("a", 0, 4), ("b", 0, 4)]

    def now() -> list[Event]:
        return [Event(tag, at, value=value) for (tag, at), value in sorted(source.items())]

    landing = lake.opened()
    batch = landing.begin()
    batch.write(batch_of(now()))
    batch.commit([Move(tag, 0, 4, 3, 4) for tag in "ab"])
    it = repair_of(lake, *windows)
    seen: dict[str, list[Event] | None] = {"run": None, "repair": None}
    high = 4
    for kind, *more in steps:
        who, _, what = kind.partition(" ")
        if kind == "edit":
            cell, value = more
            source.pop(cell, None)
            source.update({} if value is None else {cell: value})
        elif kind == "append":
            land(landing, "c", high, high + 1)
            high += 1
        elif what == "reads":
            if who == "repair":
                it.open()
                it.watch(windows)
            seen[who] = now()
        elif (events := seen[who]) is not None:
            seen[who] = None
            mend(landing if who == "run" else it, events, *windows)
        rows = events_of(lake.lakehouse.table(PI_TIMESERIES).open().read().read_all())
        assert len({e[:3] for e in rows}) == len(rows), "a key twice"
    # A run that has not looked at the table since a repair landed finds nothing to mend; the next one does.
    mend(lake.opened(), now(), *windows)
    it.open()
    it.watch(windows)
    last = now()
    assert mend(it, last, *windows).data is None
    rows = [e for e in events_of(lake.lakehouse.table(PI_TIMESERIES).open().read().read_all()) if e.tag != "c"]
    assert [e[:4] for e in rows] == [e[:4] for e in last]


@examples(200)
@given(STEPS)
@example([("edit", ("a", 2), None), ("repair reads",), ("edit", ("a", 2), 1.0), ("repair lands",)])
def test_however_they_meet_no_key_is_there_twice(steps) -> None:
    play(Lake(MemoryLakehouse()), steps)


@examples(10)
@given(STEPS)
def test_the_same_on_delta_tables(steps) -> None:
    with tempfile.TemporaryDirectory() as place:
        play(Lake(open_lakehouse(place)), steps)


@examples(200)
@given(st.lists(st.sampled_from(["edit", "run", "repair reads", "repair lands"]), max_size=20))
def test_a_repair_never_puts_back_what_a_run_has_replaced(steps: Sequence[str]) -> None:
    """The value counts up at the source; in the table it never goes down."""
    lake, value = Lake(MemoryLakehouse()), 0
    landing = filled(lake)
    mend(landing, [Event("a", 0, value=0.0)], ("a", 0, 1))
    it = repair_of(lake, ("a", 0, 1))
    seen: int | None = None
    held = 0.0
    acts: dict[str, Callable[[], object]] = {
        "run": lambda: mend(landing, [Event("a", 0, value=float(value))], ("a", 0, 1)),
        "repair lands": lambda: mend(it, [Event("a", 0, value=float(seen or 0))], ("a", 0, 1)),
    }
    for step in steps:
        if step == "edit":
            value += 1
        elif step == "repair reads":
            it.open()
            it.watch([("a", 0, 1)])
            seen = value
        elif step == "run" or seen is not None:
            acts[step]()
            seen = seen if step == "run" else None
        [now] = [worth for at, worth in of(lake, "a") if at == 0]
        assert now is not None
        assert now >= held
        held = now
