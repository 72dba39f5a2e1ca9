"""Rows of a table by tag and day, against counting them one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.plan.timeline import DAY, HOUR
from tests.examples import examples
from tests.memory_lakehouse import MemoryLakehouse
from writers import PI_TIMESERIES, Commit, CommitKey, CommitTable, open_lakehouse
from writers.corrections import day_counts as counting
from writers.corrections.day_counts import count_days

FIRST = 19_787  # 2024-03-05
WEB_IDS = ["a", "b", "c"]


def landed(table: CommitTable, rows: list[tuple[str, int, bool | None]]) -> CommitTable:
    opened = table.open()
    stage = opened.stage()
    if rows:
        at = pa.array([r[1] for r in rows], pa.int64()).cast(PI_TIMESERIES.schema.field("timestamp").type)
        given_columns = {
            "tag_webid": pa.array([r[0] for r in rows]),
            "timestamp": at,
            "good": pa.array([r[2] for r in rows], pa.bool_()),
            "partition_date": at.cast(pa.date32()),
        }
        columns = [
            given_columns[field.name].cast(field.type)
            if field.name in given_columns
            else pa.nulls(len(rows), field.type)
            for field in PI_TIMESERIES.schema
        ]
        stage.write(pa.RecordBatch.from_arrays(columns, schema=PI_TIMESERIES.schema))
    opened.commit(Commit(CommitKey("test", 1), stage.close()))
    return table


events = st.tuples(
    st.sampled_from(["a", "b", "c", "stranger"]), st.integers(-30, 30 + 4 * 24), st.sampled_from([True, False, None])
)
hours = st.integers(0, 4 * 24)


@given(st.lists(events, max_size=60), st.lists(st.tuples(hours, hours), min_size=3, max_size=3), st.integers(1, 50))
@examples(60)
def test_every_row_in_its_tags_window_is_counted_once(rows, windows, most: int):
    begin = FIRST * DAY
    table = landed(
        MemoryLakehouse().table(PI_TIMESERIES), [(tag, begin + hour * HOUR, good) for tag, hour, good in rows]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_LOOK_UP_ROWS", most)
        starts, ends = (np.array([begin + w[end] * HOUR for w in windows], np.int64) for end in (0, 1))
        found = count_days(table, WEB_IDS, starts=starts, ends=ends, first_day=FIRST, days=4)
    for place, web_id in enumerate(WEB_IDS):
        for day in range(4):
            mine = [
                good
                for tag, hour, good in rows
                if tag == web_id and hour // 24 == day and windows[place][0] <= hour < windows[place][1]
            ]
            assert found.rows[place, day] == len(mine)
            assert found.good[place, day] == len(mine) - mine.count(False)


def test_a_delta_table_is_counted_alike_and_one_that_does_not_exist_is_not_made(tmp_path: Path):
    lakehouse = open_lakehouse(tmp_path)
    starts, ends = np.array([FIRST * DAY] * 3), np.array([(FIRST + 2) * DAY] * 3)
    nothing = count_days(lakehouse.table(PI_TIMESERIES), WEB_IDS, starts=starts, ends=ends, first_day=FIRST, days=2)
    assert not nothing.rows.any()
    assert list(tmp_path.iterdir()) == []
    noon = FIRST * DAY + DAY // 2
    landed(lakehouse.table(PI_TIMESERIES), [("a", noon, True), ("a", noon, False), ("b", noon + DAY, None)])
    found = count_days(lakehouse.table(PI_TIMESERIES), WEB_IDS, starts=starts, ends=ends, first_day=FIRST, days=2)
    assert found.rows.tolist() == [[2, 0], [0, 1], [0, 0]]
    assert found.good.tolist() == [[1, 0], [0, 1], [0, 0]]
