"""pi_tags follows the source: new, changed, missing and returned points, and nothing rewritten for nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from config.errors import CommitConflictError
from writers import PI_TAGS, MemoryLakehouse, SyncReceipt, open_lakehouse, sync_tags
from writers.tags import merge_tags

from .lake import Killed, kill_at

DAY = 86_400_000_000
NOON = 20_000 * DAY + DAY // 2


def points(**descriptors: str | None) -> pa.Table:
    n = len(descriptors)
    columns = {
        "tag_webid": pa.array(list(descriptors), pa.string()),
        "name": pa.array([f"name of {tag}" for tag in descriptors], pa.string()),
        "descriptor": pa.array(list(descriptors.values()), pa.string()),
        "span": pa.array([1.0] * n, pa.float64()),
        "attributes": pa.array([[("k", "v"), ("l", tag)] for tag in descriptors], pa.map_(pa.string(), pa.string())),
    }
    fields = [f for f in PI_TAGS.schema if f.name not in {"first_seen", "last_seen", "deleted_at", "replaces"}]
    return pa.table({f.name: columns.get(f.name, pa.nulls(n, f.type)) for f in fields})


@pytest.fixture(params=["memory", "folder"])
def lakehouse(request, tmp_path):
    return MemoryLakehouse() if request.param == "memory" else open_lakehouse(tmp_path)


def stored(lakehouse) -> dict[str, dict]:
    rows = lakehouse.table(PI_TAGS).open().read().read_all()
    for name in ("first_seen", "last_seen", "deleted_at"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].cast(pa.int64()))
    return {row["tag_webid"]: row for row in rows.to_pylist()}


def commits(lakehouse) -> int:
    return lakehouse.table(PI_TAGS).open().last_sequence("osipi/pi_tags") or 0


def test_the_life_of_points(lakehouse) -> None:
    assert sync_tags(lakehouse, points(a="x", b="y"), now=NOON) == SyncReceipt(2, 0, 0)
    assert sync_tags(lakehouse, points(a="x", b="y"), now=NOON + 5) == SyncReceipt(0, 0, 0)
    assert commits(lakehouse) == 1
    assert sync_tags(lakehouse, points(a="z", c=None), now=NOON + 6) == SyncReceipt(1, 1, 0)
    found = stored(lakehouse)
    assert {t: (r["descriptor"], r["deleted_at"]) for t, r in found.items()} == {
        "a": ("z", None),
        "b": ("y", None),
        "c": (None, None),
    }
    assert found["a"]["first_seen"] == NOON
    assert found["a"]["last_seen"] == 20_000 * DAY
    assert found["a"]["attributes"] == [("k", "v"), ("l", "a")]
    assert sync_tags(lakehouse, points(a="z"), now=NOON + 7, gone=["b", "c"]) == SyncReceipt(0, 0, 2)
    assert sync_tags(lakehouse, points(a="z"), now=NOON + 8, gone=["b", "never seen", "a"]) == SyncReceipt(0, 0, 0)
    assert {t: r["deleted_at"] for t, r in stored(lakehouse).items()} == {"a": None, "b": NOON + 7, "c": NOON + 7}
    assert sync_tags(lakehouse, points(b="y"), now=NOON + 9) == SyncReceipt(0, 1, 0)
    assert stored(lakehouse)["b"]["deleted_at"] is None
    assert stored(lakehouse)["b"]["first_seen"] == NOON
    assert commits(lakehouse) == 4


def test_last_seen_moves_once_a_day(lakehouse) -> None:
    sync_tags(lakehouse, points(a="x"), now=NOON)
    assert sync_tags(lakehouse, points(a="x"), now=NOON + DAY) == SyncReceipt(0, 0, 0)
    assert stored(lakehouse)["a"]["last_seen"] == 20_001 * DAY
    sync_tags(lakehouse, points(a="x"), now=NOON + DAY + 1)
    sync_tags(lakehouse, points(a="x"), now=NOON)  # a clock that went back
    assert commits(lakehouse) == 2
    assert stored(lakehouse)["a"]["last_seen"] == 20_001 * DAY


def test_a_point_found_twice_is_one(lakehouse) -> None:
    twice = pa.concat_tables([points(a="x", b="y"), points(a="other")])
    assert sync_tags(lakehouse, twice, now=NOON) == SyncReceipt(2, 0, 0)
    assert stored(lakehouse)["a"]["descriptor"] == "x"


def test_shards_that_sync_at_once_do_not_lose_each_others_points(lakehouse) -> None:
    interrupted = []

    def other_shard(step: str) -> None:
        if step == "after_tags_staging" and len(interrupted) < 2:
            interrupted.append(step)
            sync_tags(lakehouse, points(**{f"other{len(interrupted)}": "y"}), now=NOON)

    assert sync_tags(lakehouse, points(a="x"), now=NOON, on_step=other_shard) == SyncReceipt(1, 0, 0)
    assert set(stored(lakehouse)) == {"a", "other1", "other2"}


def test_who_loses_again_and_again_gives_up(lakehouse) -> None:
    seen = iter(range(100))

    def other_shard(step: str) -> None:
        if step == "after_tags_staging":
            sync_tags(lakehouse, points(**{f"other{next(seen)}": "y"}), now=NOON)

    with pytest.raises(CommitConflictError):
        sync_tags(lakehouse, points(a="x"), now=NOON, on_step=other_shard)
    assert "a" not in stored(lakehouse)


@pytest.mark.parametrize("step", ["before_tags_staging", "after_tags_staging", "after_tags_commit"])
def test_a_sync_that_dies_is_repeated(lakehouse, step: str) -> None:
    with pytest.raises(Killed):
        sync_tags(lakehouse, points(a="x"), now=NOON, on_step=kill_at(step))
    assert set(stored(lakehouse)) == ({"a"} if step == "after_tags_commit" else set())
    sync_tags(lakehouse, points(a="x", b="y"), now=NOON)
    assert {t: r["first_seen"] for t, r in stored(lakehouse).items()} == {"a": NOON, "b": NOON}


def test_attributes_are_compared_point_by_point() -> None:
    first, _ = merge_tags(PI_TAGS.schema.empty_table(), points(a="x", b="y"), now=NOON)
    changed = points(a="x", b="y")
    place = changed.schema.get_field_index("attributes")
    for values, count in (
        ([[("l", "a"), ("k", "v")], [("k", "v"), ("l", "b")]], 0),  # the order of a map is no difference
        ([[("k", "w"), ("l", "a")], [("k", "v"), ("l", "b")]], 1),
        ([None, []], 2),
    ):
        other = changed.set_column(place, "attributes", pa.array(values, pa.map_(pa.string(), pa.string())))
        assert merge_tags(first, other, now=NOON)[1] == SyncReceipt(0, count, 0)
