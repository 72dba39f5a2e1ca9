"""About how many requests a run makes for assets and event frames, by what their tables hold. Asks no server. Blocks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config import Config
from writers import Lakehouse, TableSpec, Watermark
from writers.asset_tables import PI_ASSET_ATTRIBUTES, PI_ASSET_HIERARCHY, PI_EVENT_FRAMES

from ..model import Micros
from .asset_reader import PAGE_SIZE
from .event_frames import compare_mark, is_compare_due, micros_of, spans_of, wanted_of, windows_about

# Values of so many attributes are asked for at once.
_VALUES_PER_REQUEST = 60
# Requests of every run: the servers and databases; lists of templates, sets, categories and units, and what is in them.
_TO_FIND_DATABASES = 2
_OTHER_LISTS = 12


def asset_requests(config: Config, lakehouse: Lakehouse) -> int:
    """Requests for the tree as it was last seen. Before the first run its size is not known: only the fixed ones."""
    elements = _living(lakehouse, PI_ASSET_HIERARCHY, "element_webid")
    attributes = _living(lakehouse, PI_ASSET_ATTRIBUTES, "data_reference")
    own = int(pc.sum(pc.equal(attributes["data_reference"], "")).as_py() or 0)
    pages = _pages(elements.num_rows) + _pages(attributes.num_rows)
    values = -(-own // (_VALUES_PER_REQUEST * config.extraction.batch_size))
    return _TO_FIND_DATABASES + _OTHER_LISTS + pages + values


def frame_requests(config: Config, lakehouse: Lakehouse, marks: Mapping[str, Watermark], now: Micros) -> int:
    """Requests for event frames, of which `marks` are the watermarks. Values of frames that the table does not hold yet
    are not counted: they take one request more for each `batch_size` of them.
    """
    known = _living(lakehouse, PI_EVENT_FRAMES, "start_time", "end_time", "is_open")
    start = pc.fill_null(known["start_time"].cast(pa.int64()), 0).to_numpy()
    end = pc.fill_null(known["end_time"].cast(pa.int64()), int(np.iinfo(np.int64).max)).to_numpy()
    asked = pc.fill_null(known["is_open"], True).to_numpy()
    begin, until = wanted_of(config, now)
    lookback, every = micros_of(config.event_frames.lookback), config.extraction.mode == "full"
    requests = _TO_FIND_DATABASES
    for database, mark in of_databases(marks).items() or (("", None),):
        full = every or is_compare_due(config, marks.get(compare_mark(database)), now)
        for span in spans_of(mark, begin, until, lookback=lookback, full=full):
            active = (start < span.high) & (end >= span.low)
            requests += max(windows_about(span), _pages(int(active.sum())))
            asked = asked | (active & every)
    return requests + -(-int(asked.sum()) // config.extraction.batch_size)


def of_databases(marks: Mapping[str, Watermark]) -> dict[str, Watermark]:
    """What is done of each AF database, by its WebID."""
    return {one: mark for one, mark in marks.items() if "/" not in one and mark.low < mark.high}


def _living(lakehouse: Lakehouse, spec: TableSpec, *names: str) -> pa.Table:
    """Columns of the rows that are not marked as deleted; none without a table."""
    table = lakehouse.table(spec)
    if not table.exists():
        return pa.schema([spec.schema.field(name) for name in names]).empty_table()
    rows = table.open().read((*names, "deleted_at")).read_all()
    return rows.filter(pc.is_null(rows["deleted_at"]))


def _pages(items: int) -> int:
    return max(1, -(-items // PAGE_SIZE))
