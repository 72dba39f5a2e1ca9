"""Rows of an answer that the table holds already: how they are summed up, and where they go."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.recorded_values import with_digests
from engine.flow.pipeline import split_rows
from engine.model import Ask, AskOutcome, AskOutcomes, DecodedAnswer, Tag, Window
from engine.piweb.decode import ROWS_SCHEMA
from engine.plan.chunk_result import RowDisposition
from engine.plan.overlap import DIGEST_MASK
from tests.corrections.events import TRUTH, row_hashes
from writers.tables import TIMESTAMP

END = 50


def batch(times_by_tag: list[list[int]]) -> pa.RecordBatch:
    """Rows of several tags; of some, two share a microsecond."""
    times = [t for times in times_by_tag for t in times]
    owners = [f"tag-{n}" for n, times in enumerate(times_by_tag) for _ in times]
    known = {
        "tag_webid": pa.array(owners, pa.string()).dictionary_encode(),
        "timestamp": pa.array(times, pa.int64()).cast(TIMESTAMP),
        "sequence": pa.array([n % 2 for n in range(len(times))], pa.int32()),
        "value": pa.array([t / 7 for t in times], pa.float64()),
    }
    return pa.RecordBatch.from_arrays(
        [known.get(field.name, pa.nulls(len(times), field.type)).cast(field.type) for field in ROWS_SCHEMA],
        schema=ROWS_SCHEMA,
    )


windows = st.tuples(st.integers(0, END), st.integers(0, END)).map(sorted).map(lambda pair: Window(*pair))
tags = st.lists(st.tuples(st.lists(st.integers(0, END - 1), max_size=8).map(sorted), st.none() | windows), min_size=1)


def answer_of(cases: list[tuple[list[int], Window | None]]) -> DecodedAnswer:
    outcomes = [
        AskOutcome(
            Ask(Tag(f"tag-{n}", f"tag-{n}"), 0, END, 100, overlap), len(times), END, times[-1] if times else None
        )
        for n, (times, overlap) in enumerate(cases)
    ]
    return DecodedAnswer(batch([times for times, _ in cases]), AskOutcomes.of(outcomes), 1)


@given(tags)
def test_digests_are_those_of_the_rows_one_by_one(cases) -> None:
    found = with_digests(answer_of(cases))
    for (times, overlap), outcome, at in zip(cases, found.outcomes, starts(cases), strict=True):
        hashes = row_hashes(found.rows.select(TRUTH)).tolist()[at : at + len(times)]
        pairs = list(zip(times, hashes, strict=True))
        inside = [h for t, h in pairs if overlap and overlap.start <= t < overlap.end]
        assert outcome.overlap_digest == sum(inside) & DIGEST_MASK
        assert outcome.fresh == sum(not overlap or t >= overlap.end for t in times)
        last = [h for t, h in pairs if t == times[-1]] if times else []
        assert outcome.last_digest == (sum(last) & DIGEST_MASK if last else None)


@given(tags, st.data())
def test_each_row_goes_to_one_place_at_most(cases, data) -> None:
    answer = with_digests(answer_of(cases))
    keep = [data.draw(st.sampled_from(RowDisposition)) for _ in cases]
    append, replace = split_rows(answer, np.array(keep, np.int8))
    appended, replacing = pairs_of(append), pairs_of(replace)
    for (times, overlap), kept, outcome in zip(cases, keep, answer.outcomes, strict=True):
        web_id = outcome.ask.tag.web_id
        fresh = [t for t in times if not overlap or t >= overlap.end]
        known = [t for t in times if overlap and overlap.start <= t < overlap.end]
        if kept is RowDisposition.REPLACE and not overlap:
            fresh, known = [], times
        assert appended.get(web_id, []) == (fresh if kept is not RowDisposition.NOTHING else [])
        assert replacing.get(web_id, []) == (known if kept is RowDisposition.REPLACE else [])
        if kept is RowDisposition.FRESH:
            assert len(appended.get(web_id, [])) == outcome.fresh


def starts(cases) -> list[int]:
    found, at = [], 0
    for times, _ in cases:
        found.append(at)
        at += len(times)
    return found


def pairs_of(rows: pa.RecordBatch) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    times = rows.column("timestamp").cast(pa.int64()).to_pylist()
    for web_id, time in zip(rows.column("tag_webid").to_pylist(), times, strict=True):
        found.setdefault(web_id, []).append(time)
    return found
