"""Staging and committing alone: our Parquet stage beside `write_deltalake`, on the same Arrow data.

Each way runs as a child (`python -m benchmarks.lab.landing WAY SETTINGS`), in turns. The rows are
seeded and look like what the decoder makes of dense answers: packs of tags, each in time order, over
part of a day, dictionary-encoded where it does that. The peer may have them as plain strings instead,
if that is faster for it: its better form counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa

from benchmarks.lab.processes import json_of, run_child
from benchmarks.lab.windows import TimeSpan
from engine.piweb.decode import ROWS_SCHEMA
from engine.piweb.values import KINDS
from writers import Landing, LandingRun, Move, open_lakehouse
from writers.tables import PI_TIMESERIES

__all__ = ["WAYS", "batches", "measure"]

_DAY = 86_400_000_000
# The answers of the last two cross a midnight, so that every batch holds rows of two partitions.
WAYS = ("ours", "delta_rs", "delta_rs_strings", "delta_rs_zstd", "ours_midnight", "delta_rs_midnight")


def measure(settings: Mapping[str, Any], _scale: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every variant in turns; returns the figures and the single runs."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for turn in range(settings["repeats"]):
        for way in WAYS:
            done = run_child(["-m", "benchmarks.lab.landing", way, json.dumps(dict(settings))])
            run = {**json_of(done), "peak_rss_bytes": done.peak_rss_bytes}
            runs.setdefault(way, []).append(run)
            rate = run["rows"] / run["seconds"] / 1e6
            say(f"turn {turn + 1}: {way} {rate:.2f} M rows/s, {run['bytes'] / run['rows']:.1f} B/row on disk")
    best = {way: min(found, key=lambda run: float(run["seconds"])) for way, found in runs.items()}
    peer = min((best["delta_rs"], best["delta_rs_strings"]), key=lambda run: float(run["seconds"]))
    mine = best["ours"]
    across = best["delta_rs_midnight"]["seconds"] / best["ours_midnight"]["seconds"]
    figures = {
        "rows": mine["rows"],
        "rows_per_second": mine["rows"] / mine["seconds"],
        "peer_rows_per_second": peer["rows"] / peer["seconds"],
        "ratio_to_write_deltalake": peer["seconds"] / mine["seconds"],
        "ratio_to_write_deltalake_zstd": best["delta_rs_zstd"]["seconds"] / mine["seconds"],
        "ratio_across_midnights": across,
        "bytes_per_row": mine["bytes"] / mine["rows"],
        "peer_bytes_per_row": peer["bytes"] / peer["rows"],
        "peer_bytes_per_row_zstd": best["delta_rs_zstd"]["bytes"] / peer["rows"],
        "size_ratio": mine["bytes"] / min(peer["bytes"], best["delta_rs_zstd"]["bytes"]),
        "cpu_ns_per_row": mine["cpu_seconds"] / mine["rows"] * 1e9,
        "peer_cpu_ns_per_row": peer["cpu_seconds"] / peer["rows"] * 1e9,
    }
    return {"figures": figures, "runs": runs}


def batches(settings: Mapping[str, Any], *, plain: bool = False) -> Iterator[pa.RecordBatch]:
    """Rows as in answers: `tags_per_answer` tags by `events_per_answer` events, oldest first."""
    rand = np.random.default_rng(settings["seed"])
    span = TimeSpan.of(settings["start"], f"{settings['days']}d")
    packs, each = settings["tags"] // settings["tags_per_answer"], settings["events_per_answer"]
    per_tag = settings["rows"] // settings["tags"]
    step = (span.end - span.start) // per_tag
    for first in range(0, per_tag, each):
        for pack in range(packs):
            batch = _answer(
                rand, pack * settings["tags_per_answer"], settings["tags_per_answer"], span.start, first, step, each
            )
            yield _plain(batch) if plain else batch


def _answer(
    rand: np.random.Generator, first_tag: int, tags: int, start: int, first: int, step: int, each: int
) -> pa.RecordBatch:
    rows = tags * each
    index = np.repeat(np.arange(tags, dtype=np.int32), each)
    jitter = rand.integers(0, step // 2, rows)
    at = start + (first + np.tile(np.arange(each), tags)) * step + jitter
    values = np.round(50 + np.cumsum(rand.normal(0, 0.2, rows)), 5)
    bad = rand.random(rows) < 0.02
    kinds = np.where(bad, KINDS.index("system"), KINDS.index("number")).astype(np.int32)
    columns = {
        "tag_webid": _encoded(index, [f"I1DPcQo8XkQrbk-dEAx74aLzAQ{first_tag + n:06d}" for n in range(tags)]),
        "tag_name": _encoded(index, [f"Unit{(first_tag + n) // 50:04d}.Flow.{first_tag + n:06d}" for n in range(tags)]),
        "timestamp": pa.array(at).cast(pa.timestamp("us", "UTC")),
        "sequence": pa.array(np.zeros(rows, np.int32)),
        "value": pa.array(values, mask=bad),
        "value_string": pa.array(np.where(bad, "I/O Timeout", ""), pa.string(), mask=~bad),
        "state_code": pa.array(np.full(rows, 246, np.int32), mask=~bad),
        "value_kind": _encoded(kinds, list(KINDS)),
        "good": pa.array(~bad),
        "questionable": pa.array(rand.random(rows) < 0.002),
        "substituted": pa.array(np.zeros(rows, bool)),
        "annotated": pa.array(np.zeros(rows, bool)),
        "units": _encoded(np.zeros(rows, np.int32), ["m3/h"]),
        "ingestion_timestamp": pa.array(np.full(rows, start)).cast(pa.timestamp("us", "UTC")),
        "partition_date": pa.array((at // _DAY).astype(np.int32)).cast(pa.date32()),
    }
    return pa.RecordBatch.from_arrays(
        [columns[field.name].cast(field.type) for field in ROWS_SCHEMA], schema=ROWS_SCHEMA
    )


def _encoded(index: np.ndarray[Any, Any], words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(words))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [column.cast(field.type) for column, field in zip(batch.columns, PI_TIMESERIES.schema, strict=True)],
        schema=PI_TIMESERIES.schema,
    )


def _ours(rows: list[pa.RecordBatch], folder: str) -> None:
    landing = Landing(
        open_lakehouse(folder), PI_TIMESERIES, LandingRun(pipeline="benchmark", dataset="recorded", run_id="land")
    )
    landing.open()
    batch = landing.begin()
    for each in rows:
        batch.write(each)
    batch.commit([Move("all", 0, 1, rows=batch.rows)])


def _delta_rs(rows: list[pa.RecordBatch], folder: str, **options: Any) -> None:
    reader = pa.RecordBatchReader.from_batches(rows[0].schema, rows)
    deltalake.write_deltalake(f"{folder}/peer", reader, mode="append", partition_by=["partition_date"], **options)


def _land(way: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    if way.endswith("_midnight"):
        settings = {**settings, "events_per_answer": 2 * settings["events_per_answer"]}
    rows = list(batches(settings, plain=way == "delta_rs_strings"))
    with tempfile.TemporaryDirectory(prefix="osipi-landing-") as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        if way.startswith("ours"):
            _ours(rows, folder)
        elif way == "delta_rs_zstd":
            _delta_rs(rows, folder, writer_properties=deltalake.WriterProperties(compression="ZSTD"))
        else:
            _delta_rs(rows, folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return {"rows": sum(each.num_rows for each in rows), "seconds": wall, "cpu_seconds": cpu, "bytes": size}


if __name__ == "__main__":
    print(json.dumps(_land(sys.argv[1], json.loads(sys.argv[2]))))
