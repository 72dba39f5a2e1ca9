"""pi_tags follows the source: new, changed, missing and returned points, and nothing rewritten for nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from config.errors import CommitConflictError
from tests.landing.lake import Killed, kill_at
from tests.memory_lakehouse import MemoryLakehouse
from writers import PI_TAGS, SyncReceipt, open_lakehouse, sync_point_attributes, sync_tags

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
    assert found["a"]["attributes"] is None  # those are brought by a dataset of their own
    assert sync_tags(lakehouse, points(a="z"), now=NOON + 7, gone=["b", "c"]) == SyncReceipt(0, 0, 2)
    assert sync_tags(lakehouse, points(a="z"), now=NOON + 8, gone=["b", "never seen", "a"]) == SyncReceipt(0, 0, 0)
    assert {t: r["deleted_at"] for t, r in stored(lakehouse).items()} == {"a": None, "b": NOON + 7, "c": NOON + 7}
    assert sync_tags(lakehouse, points(b="y"), now=NOON + 9) == SyncReceipt(0, 1, 0)
    assert stored(lakehouse)["b"]["deleted_at"] is None
    assert stored(lakehouse)["b"]["first_seen"] == NOON
    assert commits(lakehouse) == 4


def test_last_seen_is_the_day_of_the_run_that_wrote_the_row(lakehouse) -> None:
    sync_tags(lakehouse, points(a="x", b="x"), now=NOON)
    for later in (NOON + 1, NOON + DAY, NOON + 9 * DAY):
        assert sync_tags(lakehouse, points(a="x", b="x"), now=later) == SyncReceipt(0, 0, 0)
    assert commits(lakehouse) == 1
    assert sync_tags(lakehouse, points(a="y", b="x"), now=NOON + 9 * DAY) == SyncReceipt(0, 1, 0)
    assert {tag: row["last_seen"] for tag, row in stored(lakehouse).items()} == {"a": 20_009 * DAY, "b": 20_000 * DAY}
    assert sync_tags(lakehouse, points(a="z", b="x"), now=NOON) == SyncReceipt(0, 1, 0)  # a clock that went back
    assert stored(lakehouse)["a"]["last_seen"] == 20_009 * DAY


def test_a_point_is_linked_to_the_one_before_it_when_that_one_is_found_gone(lakehouse) -> None:
    def at_one_path(web_id: str) -> pa.Table:
        found = points(**{web_id: "x"})
        return found.set_column(found.schema.get_field_index("path"), "path", pa.array([r"\\PIDA\Flow"]))

    sync_tags(lakehouse, at_one_path("old"), now=NOON)
    sync_tags(lakehouse, at_one_path("new"), now=NOON + 1)
    assert stored(lakehouse)["new"]["replaces"] is None
    assert sync_tags(lakehouse, at_one_path("new"), now=NOON + 2, gone=["old"]) == SyncReceipt(0, 0, 1)
    assert {tag: row["replaces"] for tag, row in stored(lakehouse).items()} == {"old": None, "new": "old"}


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
    changed = points(a="x", b="y")
    place = changed.schema.get_field_index("attributes")
    for values, count in (
        ([[("l", "a"), ("k", "v")], [("k", "v"), ("l", "b")]], 0),  # the order of a map is no difference
        ([[("k", "w"), ("l", "a")], [("k", "v"), ("l", "b")]], 1),
        ([None, []], 2),
    ):
        other = changed.set_column(place, "attributes", pa.array(values, pa.map_(pa.string(), pa.string())))
        lakehouse = MemoryLakehouse()
        sync_tags(lakehouse, changed, now=NOON)
        assert sync_point_attributes(lakehouse, _attributes_of(changed), now=NOON) == SyncReceipt(0, 2, 0)
        assert sync_point_attributes(lakehouse, _attributes_of(other), now=NOON) == SyncReceipt(0, count, 0)
        assert sync_tags(lakehouse, changed, now=NOON) == SyncReceipt(0, 0, 0)
        found = stored(lakehouse)
        expected = {tag: sorted(one) if one else one for tag, one in zip("ab", values, strict=True)}
        assert {
            tag: sorted(row["attributes"]) if row["attributes"] else row["attributes"] for tag, row in found.items()
        } == expected


def _attributes_of(rows: pa.Table) -> pa.Table:
    return rows.select(["tag_webid", "attributes"])
