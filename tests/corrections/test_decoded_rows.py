"""Rows as the engine decodes them have the digests of the rows that come back from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from engine.piweb.decode import decode
from engine.piweb.wire import Shape
from tests.corrections.events import digests, row_hashes
from tests.memory_lakehouse import MemoryLakehouse
from tests.piweb_protocol.piweb_answers import INGESTED_AT, ask, batch, event, stream
from tests.unity.places import stand_in_lakehouse
from writers import PI_TIMESERIES, Commit, CommitKey, open_lakehouse, window_digests

VALUES = [
    *(1.5, -0.0, 3, True, "text", "", None, "NaN", "Infinity", 1e-310, 2**60),
    *({"Name": "On", "Value": 1}, {"Name": "Bad Input", "Value": 255, "IsSystem": True}),
]
ALWAYS = -(1 << 62), 1 << 62


@pytest.mark.parametrize("kind", ["memory", "folder", "managed"])
def test_digests_of_decoded_rows_are_those_of_stored_rows(kind: str, tmp_path: Path) -> None:
    asks = [ask(0), ask(1, units="bar"), ask(2, point_type="Digital")]
    contents = [
        stream(*(event(f"10:00:{n:02}", value, Good=n % 2 == 0) for n, value in enumerate(values)))
        for values in (VALUES, VALUES[::-1], [1.0] * 20)
    ]
    rows = decode(batch(*contents), asks, Shape.BATCH, ingested_at=INGESTED_AT).rows
    tags = sorted(set(rows["tag_webid"].to_pylist()))
    codes = np.array([tags.index(t) for t in rows["tag_webid"].to_pylist()])
    expected = dict(zip(tags, digests(rows, codes, len(tags)), strict=True))
    assert [d.rows for d in expected.values()] == [13, 13, 20]
    assert row_hashes(rows.cast(PI_TIMESERIES.schema)).tolist() == row_hashes(rows).tolist()
    with stand_in_lakehouse("managed", str(tmp_path), None) as managed:
        lakehouse = {"memory": MemoryLakehouse, "folder": lambda: open_lakehouse(tmp_path), "managed": managed}[kind]()
        table = lakehouse.table(PI_TIMESERIES).open()
        stage = table.stage()
        stage.write(rows)
        table.commit(Commit(CommitKey("me", 1), stage.close()))
        assert window_digests(table, dict.fromkeys(tags, ALWAYS)) == expected
        read = pa.Table.from_batches(table.read()).combine_chunks().to_batches()
        assert sorted(h for b in read for h in row_hashes(b).tolist()) == sorted(row_hashes(rows).tolist())
