"""Holes as rows of the checkpoint table: what was written last counts, and a simple query finds the same."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from writers import HoleChange, WatermarkStore
from writers.tables import PI_WATERMARKS
from writers.watermarks.checkpoint_rows import decode, encode_holes, holes_of, merge, merge_stream
from writers.watermarks.holes import Holes
from writers.watermarks.pending import PendingWatermarks

CHANGES = st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(1, 4), st.sampled_from([None, "why"])).map(
    lambda one: HoleChange(one[0], one[1], one[1] + one[2], one[3])
)
COMMITS = st.lists(st.lists(CHANGES, min_size=1, max_size=3), min_size=1, max_size=6)
# The query of the guide on monitoring, for this table alone.
OPEN = """
SELECT h.tag_webid, epoch_us(h.low), epoch_us(h.hole_end), h.hole_attempts FROM rows AS h
WHERE h.dataset = 'recorded.holes' AND h.status = 'open' AND NOT EXISTS (
  SELECT 1 FROM rows AS n
  WHERE n.dataset = h.dataset AND n.pipeline = h.pipeline AND n.tag_webid = h.tag_webid
    AND n.updated_at > h.updated_at AND n.low < h.hole_end AND h.low < n.hole_end
) ORDER BY 1, 2
"""


def landed(commits: list[list[HoleChange]]) -> tuple[list[pa.RecordBatch], Holes]:
    """The rows that these commits write one after the other, and the holes there are then."""
    marks, batches = WatermarkStore(), []
    for number, changes in enumerate(commits, 1):
        draft = PendingWatermarks(marks)
        draft.note_holes(changes)
        holes, closed, opened = draft.holes(number)
        named = {"pipeline": "p", "dataset": "recorded", "sequence": number, "updated_at": number}
        batches.append(encode_holes(closed, opened, **named))
        draft.apply({}, holes)
    return batches, dict(marks.holes)


@given(COMMITS, st.integers(0, 6), st.randoms())
def test_rows_in_any_order_give_the_holes_there_are_and_so_do_compacted_ones(commits, known, rng) -> None:
    batches, holes = landed(commits)
    compacted = merge_stream(batches[:known]).to_batches()
    for rows in (batches, [*compacted, *batches[known:]]):
        rng.shuffle(rows)
        assert holes_of(merge_stream(rows), "recorded") == holes


@given(COMMITS)
@examples(50)
def test_a_query_that_looks_for_newer_rows_finds_the_same(commits) -> None:
    batches, holes = landed(commits)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("rows", pa.Table.from_batches(batches))
        found = database.execute(OPEN).fetchall()
    assert found == [(h.tag_webid, h.start, h.end, h.attempts) for web_id in sorted(holes) for h in holes[web_id]]


@pytest.mark.parametrize("error", [None, "why"])
def test_what_an_older_version_has_compacted_makes_holes_unknown_and_ends_no_run(error) -> None:
    """It keeps one row of each tag, and knows no column for the end of a hole."""
    batches, _ = landed(
        [[HoleChange("a", 10, 20, "why"), HoleChange("a", 30, 40, "why")], [HoleChange("a", 10, 20, error)]]
    )
    rows = pa.Table.from_batches(batches).slice(0, 1)
    for name in (name for name in PI_WATERMARKS.later_columns if name.startswith("hole_")):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.nulls(rows.num_rows, rows.schema.field(place).type))
    marks = decode(merge(rows), "recorded")
    assert (marks.holes, marks.holes_unknown_before) == ({}, 1)
    again = decode(merge(merge(rows)), "recorded")
    assert (again.holes, again.holes_unknown_before) == ({}, 1)
