"""pi_digital_states follows the sets that were read, touches no others, and writes nothing for nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import CommitConflictError
from tests.landing.lake import Killed, kill_at
from tests.memory_lakehouse import MemoryLakehouse
from writers import (
    PI_DIGITAL_STATES,
    PI_WATERMARKS,
    SyncReceipt,
    note_sets_read,
    open_lakehouse,
    sets_seen_today,
    sync_states,
)
from writers.mirrors import digital_states

DAY = 86_400_000_000
NOON = 20_000 * DAY + DAY // 2


def states(*sets: tuple[str, dict[int, str | None]], server: str = "PIDA", **web_ids: str) -> pa.Table:
    rows = [
        {
            "data_server": server,
            "digital_set": name,
            "state_code": code,
            "name": state,
            "set_webid": web_ids.get(name, f"id-{name}"),
        }
        for name, codes in sets
        for code, state in codes.items()
    ]
    fields = [f for f in PI_DIGITAL_STATES.schema if f.name not in {"first_seen", "last_seen", "deleted_at"}]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


PUMP = ("Pump", {0: "Stopped", 1: "Running"})
VALVE = ("Valve", {0: "Closed", 1: "Open"})


@pytest.fixture(params=["memory", "folder"])
def lakehouse(request, tmp_path):
    return MemoryLakehouse() if request.param == "memory" else open_lakehouse(tmp_path)


def stored(lakehouse) -> dict[tuple[str, str, int], tuple]:
    rows = lakehouse.table(PI_DIGITAL_STATES).open().read().read_all()
    times = {name: rows[name].cast(pa.int64()).to_pylist() for name in ("first_seen", "last_seen", "deleted_at")}
    keys = zip(*(rows[name].to_pylist() for name in ("data_server", "digital_set", "state_code")), strict=True)
    return dict(zip(keys, zip(rows["name"].to_pylist(), *times.values(), strict=True), strict=True))


def named(lakehouse, of: str) -> dict[int, tuple[str | None, int | None]]:
    """Name and deleted_at of the states of a set."""
    return {code: (row[0], row[3]) for (_, name, code), row in stored(lakehouse).items() if name == of}


def commits(lakehouse) -> int:
    return lakehouse.table(PI_DIGITAL_STATES).open().last_sequence("osipi/pi_digital_states") or 0


def test_the_life_of_states(lakehouse) -> None:
    assert sync_states(lakehouse, states(PUMP, VALVE), now=NOON) == SyncReceipt(4, 0, 0)
    assert sync_states(lakehouse, states(PUMP, VALVE), now=NOON + 1) == SyncReceipt(0, 0, 0)
    assert commits(lakehouse) == 1
    changed = ("Pump", {0: "Off", 2: "Tripped"})
    assert sync_states(lakehouse, states(changed, VALVE), now=NOON + 2) == SyncReceipt(1, 1, 1)
    assert named(lakehouse, "Pump") == {0: ("Off", None), 1: ("Running", NOON + 2), 2: ("Tripped", None)}
    assert stored(lakehouse)["PIDA", "Pump", 0][1] == NOON
    assert sync_states(lakehouse, states(changed, VALVE), now=NOON + 3) == SyncReceipt(0, 0, 0)
    assert sync_states(lakehouse, states(PUMP), now=NOON + 4) == SyncReceipt(0, 2, 1)
    assert named(lakehouse, "Pump") == {0: ("Stopped", None), 1: ("Running", None), 2: ("Tripped", NOON + 4)}
    assert named(lakehouse, "Valve") == {0: ("Closed", None), 1: ("Open", None)}, "it was not read"
    assert commits(lakehouse) == 3


def test_a_set_of_the_same_name_on_another_server_is_another_set(lakehouse) -> None:
    sync_states(lakehouse, states(PUMP, server="A"), now=NOON)
    other = ("Pump", {1: "An"})
    assert sync_states(lakehouse, states(other, server="B"), now=NOON + 1) == SyncReceipt(1, 0, 0)
    assert {key: row[0] for key, row in stored(lakehouse).items()} == {
        ("A", "Pump", 0): "Stopped",
        ("A", "Pump", 1): "Running",
        ("B", "Pump", 1): "An",
    }
    assert all(row[3] is None for row in stored(lakehouse).values())


def test_a_set_that_was_renamed_is_known_by_its_webid(lakehouse) -> None:
    sync_states(lakehouse, states(PUMP, VALVE), now=NOON)
    renamed = states(("Pumps", PUMP[1]), Pumps="id-Pump")
    assert sync_states(lakehouse, renamed, now=NOON + 1) == SyncReceipt(2, 0, 2)
    assert named(lakehouse, "Pump") == {0: ("Stopped", NOON + 1), 1: ("Running", NOON + 1)}
    assert named(lakehouse, "Pumps") == {0: ("Stopped", None), 1: ("Running", None)}
    assert named(lakehouse, "Valve") == {0: ("Closed", None), 1: ("Open", None)}


def test_names_may_be_anything_and_nothing(lakehouse) -> None:
    odd = ("Störung; #2 日本", {-(2**31): "", 0: None, 2**31 - 1: " 日本 \n'\"", 5: "5\x005"})
    assert sync_states(lakehouse, states(odd), now=NOON) == SyncReceipt(4, 0, 0)
    assert {code: name for code, (name, _) in named(lakehouse, odd[0]).items()} == odd[1]
    assert sync_states(lakehouse, states(odd), now=NOON) == SyncReceipt(0, 0, 0)


def test_what_was_seen_today_is_what_was_read_today(lakehouse) -> None:
    def seen(now: int, pipeline: str = "p") -> frozenset[tuple[str, str]]:
        return sets_seen_today(lakehouse, pipeline=pipeline, now=now)

    def note(now: int, *names: str) -> None:
        sets = [("PIDA", name) for name in names]
        note_sets_read(lakehouse, sets, pipeline="p", run_id="r", now=now)

    assert seen(NOON) == frozenset()
    assert not lakehouse.table(PI_WATERMARKS).exists(), "whoever only looks creates nothing"
    note(NOON, "Pump", "Val\\ve")
    assert seen(NOON + 1) == {("PIDA", "Pump"), ("PIDA", "Val\\ve")}
    assert seen(NOON + 1, "another") == frozenset()
    note(NOON + DAY, "Pump")
    assert seen(NOON + DAY + 1) == {("PIDA", "Pump")}
    assert seen(NOON + 2 * DAY) == frozenset()
    midnight = 20_003 * DAY
    note(midnight, "Pump")
    assert seen(midnight) == {("PIDA", "Pump")}


def test_runs_that_note_sets_at_once_both_do(lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, rivals = digital_states.stage_rows, ["Valve"]

    def note(name: str) -> None:
        note_sets_read(lakehouse, [("PIDA", name)], pipeline="p", run_id="r", now=NOON)

    def stage_after_a_rival(*rows):
        if rivals:
            note(rivals.pop())
        return stage(*rows)

    monkeypatch.setattr(digital_states, "stage_rows", stage_after_a_rival)
    note("Pump")
    assert sets_seen_today(lakehouse, pipeline="p", now=NOON) == {("PIDA", "Pump"), ("PIDA", "Valve")}


def test_last_seen_is_the_day_of_the_run_that_wrote_the_row(lakehouse) -> None:
    sync_states(lakehouse, states(PUMP, VALVE), now=NOON)
    sync_states(lakehouse, states(PUMP), now=NOON + DAY)
    assert commits(lakehouse) == 1
    sync_states(lakehouse, states(("Pump", {0: "Stopped", 1: "On"})), now=NOON + DAY)
    assert {key[1:]: row[2] // DAY for key, row in stored(lakehouse).items()} == {
        ("Pump", 0): 20_000,
        ("Pump", 1): 20_001,
        ("Valve", 0): 20_000,
        ("Valve", 1): 20_000,
    }


def test_pipelines_that_sync_at_once_do_not_lose_each_others_states(lakehouse) -> None:
    interrupted = []

    def other(step: str) -> None:
        if step == "after_states_staging" and len(interrupted) < 2:
            interrupted.append(step)
            sync_states(lakehouse, states((f"Set {len(interrupted)}", {0: "x"})), now=NOON)

    assert sync_states(lakehouse, states(PUMP), now=NOON, on_step=other) == SyncReceipt(2, 0, 0)
    assert {name for _, name, _ in stored(lakehouse)} == {"Pump", "Set 1", "Set 2"}


def test_who_loses_again_and_again_gives_up(lakehouse) -> None:
    seen = iter(range(100))

    def other(step: str) -> None:
        if step == "after_states_staging":
            sync_states(lakehouse, states((f"Set {next(seen)}", {0: "x"})), now=NOON)

    with pytest.raises(CommitConflictError, match="while states were being written"):
        sync_states(lakehouse, states(PUMP), now=NOON, on_step=other)
    assert "Pump" not in {name for _, name, _ in stored(lakehouse)}


@pytest.mark.parametrize("step", ["before_states_staging", "after_states_staging", "after_states_commit"])
def test_a_sync_that_dies_is_repeated(lakehouse, step: str) -> None:
    with pytest.raises(Killed):
        sync_states(lakehouse, states(PUMP), now=NOON, on_step=kill_at(step))
    assert len(stored(lakehouse)) == (2 if step == "after_states_commit" else 0)
    sync_states(lakehouse, states(PUMP, VALVE), now=NOON)
    assert {key[1:]: row[1] for key, row in stored(lakehouse).items()} == {
        ("Pump", 0): NOON,
        ("Pump", 1): NOON,
        ("Valve", 0): NOON,
        ("Valve", 1): NOON,
    }


some_states = st.dictionaries(st.integers(0, 4), st.sampled_from(["a", "b", "", None]), min_size=1, max_size=4)
some_sets = st.dictionaries(st.sampled_from(["Pump", "Valve", "Mode"]), some_states)


@given(st.lists(some_sets, min_size=1, max_size=6))
def test_the_table_is_what_was_last_read_of_each_set(rounds: list[dict[str, dict[int, str | None]]]) -> None:
    """Whatever is read, and in whatever order: what is not deleted is the newest answer of each set."""
    lakehouse = MemoryLakehouse()
    newest: dict[str, dict[int, str | None]] = {}
    ever: set[tuple[str, int]] = set()
    for n, sets in enumerate(rounds):
        before = {(name, code): state for name, codes in newest.items() for code, state in codes.items()}
        newest |= sets
        after = {(name, code): state for name, codes in newest.items() for code, state in codes.items()}
        before_commits = commits(lakehouse)
        receipt = sync_states(lakehouse, states(*sets.items()), now=NOON + n)
        back = (after.keys() - before.keys()) & ever
        renamed = {key for key in after.keys() & before.keys() if after[key] != before[key]}
        assert receipt == SyncReceipt(
            len(after.keys() - before.keys() - ever), len(back) + len(renamed), len(before.keys() - after.keys())
        )
        assert (commits(lakehouse) == before_commits) == (receipt == SyncReceipt())
        ever |= after.keys()
        rows = lakehouse.table(PI_DIGITAL_STATES).open().read().read_all().to_pylist()
        alive = [row for row in rows if row["deleted_at"] is None]
        assert {(row["digital_set"], row["state_code"]): row["name"] for row in alive} == after
        assert {(row["digital_set"], row["state_code"]) for row in rows} == ever
        assert len(rows) == len(ever)
