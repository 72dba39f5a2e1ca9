"""How fast answers become rows, compared with `json.loads` and pandas.

One process, one thread, both on the same bodies, in turns, in one run, so that the ratio means
something on any machine. The corpus is seeded: batch answers of 99 tags and one 404, full as a
server sends them and slim as we ask for them; and small answers, where work per tag shows.

    python benchmarks/decode_only.py --json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec
import pyarrow as pa

from engine.datasets.decoding import native_core
from engine.model import Ask, Tag
from engine.piweb.decode import decode
from engine.piweb.native import native_decoder
from engine.piweb.times import iso_text
from engine.piweb.wire import Shape

SEED = 20240305
START = 1_709_632_800_000_000
STATES = ("Stopped", "Running", "Tripped")


def corpus(tags: int, events: int, *, slim: bool) -> tuple[bytes, list[Ask]]:
    """A batch answer: of each hundred events about 90 floats, 5 digital, 3 strings, 2 bad or null."""
    rand = random.Random(SEED)
    parts: dict[str, Any] = {}
    for tag in range(tags):
        share = tag * 100 // tags
        kind = "number" if share < 92 else "digital" if share < 97 else "string"
        at = START + rand.randrange(1_000_000)
        items = []
        for _ in range(events):
            at += rand.randrange(1, 2_000_000)
            items.append(_event(rand, kind, at, slim=slim))
        parts[str(tag)] = {"Status": 200, "Headers": _HEADERS, "Content": {"Items": items, "UnitsAbbreviation": ""}}
    parts[str(tags)] = {"Status": 404, "Headers": {}, "Content": {"Errors": ["PI Point not found."]}}
    asks = [
        Ask(
            Tag(f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:06d}", f"Unit{n % 10}.Flow{n}", "m3/h", "Float32"),
            START,
            1 << 52,
            150_000,
        )
        for n in range(tags + 1)
    ]
    return json.dumps(parts, separators=(",", ":")).encode(), asks


_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


def _event(rand: random.Random, kind: str, at: int, *, slim: bool) -> dict[str, Any]:
    good = rand.random() >= 0.02
    value: Any
    if not good:
        value = {"Name": "I/O Timeout", "Value": 246, "IsSystem": True} if rand.random() < 0.8 else None
    elif kind == "number":
        value = round(rand.gauss(50, 20), 5)
    elif kind == "digital":
        code = rand.randrange(len(STATES))
        value = {"Name": STATES[code], "Value": code, "IsSystem": False}
    else:
        value = f"batch {rand.randrange(1000)}"
    # PI writes seven fraction digits without trailing zeros.
    fraction = iso_text(at)[:-1].rstrip("0") if at % 1_000_000 else iso_text(at)[:-1]
    seventh = str(rand.randrange(1, 10)) if len(fraction) == 26 else ""
    event = {"Timestamp": f"{fraction}{seventh}Z", "Value": value, "UnitsAbbreviation": "", "Good": good}
    event |= {"Questionable": rand.random() < 0.002, "Substituted": False, "Annotated": False}
    if slim:
        del event["UnitsAbbreviation"]
    return event


def pandas_flat(body: bytes, asks: list[Ask]) -> pa.Table:
    """json and pandas at their best: one list of dicts, one data frame for all tags."""
    import pandas as pd

    rows = []
    for tag, items in _tags_of(body, asks):
        for item in items:
            item["tag_webid"] = tag.web_id
            item["tag_name"] = tag.name
            item["units"] = tag.units
        rows += items
    return _to_arrow(pd.DataFrame(rows))


def pandas_per_tag(body: bytes, asks: list[Ask]) -> pa.Table:
    """json and pandas as scripts have it: a data frame for each tag, concatenated."""
    import pandas as pd

    frames = []
    for tag, items in _tags_of(body, asks):
        frame = pd.DataFrame(items)
        frame["tag_webid"] = tag.web_id
        frame["tag_name"] = tag.name
        frame["units"] = tag.units
        frames.append(frame)
    return _to_arrow(pd.concat(frames))


def _tags_of(body: bytes, asks: list[Ask]) -> list[tuple[Tag, list[dict[str, Any]]]]:
    parts = json.loads(body).items()
    return [(asks[int(key)].tag, part["Content"]["Items"]) for key, part in parts if part["Status"] == 200]


def _to_arrow(frame: Any) -> pa.Table:
    """The table's columns, as far as pandas has them for nothing: no sequence, code or kind."""
    import pandas as pd

    frame["timestamp"] = pd.to_datetime(frame.pop("Timestamp"), format="ISO8601", utc=True)
    values = frame.pop("Value")
    frame["value"] = pd.to_numeric(values, errors="coerce")
    frame["value_string"] = values.where(frame["value"].isna()).map(_text, na_action="ignore")
    frame["partition_date"] = frame["timestamp"].dt.normalize()
    frame["ingestion_timestamp"] = pd.Timestamp(START, unit="us", tz="UTC")
    return pa.Table.from_pandas(frame.drop(columns="UnitsAbbreviation", errors="ignore"), preserve_index=False)


def _text(value: Any) -> str:
    return value["Name"] if isinstance(value, dict) else str(value)


def _native_of(core: ModuleType) -> Callable[[bytes, list[Ask]], pa.RecordBatch]:
    decode_natively = native_decoder(core)
    return lambda body, asks: decode_natively(body, asks, Shape.BATCH, ingested_at=START).rows


def ours(body: bytes, asks: list[Ask]) -> pa.RecordBatch:
    return decode(body, asks, Shape.BATCH, ingested_at=START).rows


def skim(body: bytes, _asks: list[Ask]) -> None:
    """Only find where the parts of the answer begin and end: the least work of any decoder with msgspec."""
    msgspec.json.decode(body, type=dict[str, msgspec.Raw])


WAYS: dict[str, Callable[[bytes, list[Ask]], Any]] = {
    "ours": ours,
    "json_pandas": pandas_flat,
    "json_pandas_per_tag": pandas_per_tag,
    "skim": skim,
    **({"native": _native_of(core)} if (core := native_core()) else {}),
}
CORPORA = {"full": (99, 1000, False), "slim": (99, 1000, True), "small": (100, 5, True)}


def measure(seconds_budget: float = 20.0) -> dict[str, Any]:
    """Best times of each way on each corpus, their ratio, and peak memory, as one JSON-able dict."""
    result: dict[str, Any] = {
        "benchmark": "decode_only",
        "seed": SEED,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "msgspec": msgspec.__version__,
        "pyarrow": pa.__version__,
    }
    for name, (tags, events, slim) in CORPORA.items():
        body, asks = corpus(tags, events, slim=slim)
        best = _best_times(body, asks, seconds_budget / len(CORPORA))
        rows = tags * events
        result[name] = {
            "rows": rows,
            "bytes_per_event": round(len(body) / rows, 1),
            "kilo_events_per_second": {way: round(rows / secs / 1000, 1) for way, secs in best.items()},
            "nanoseconds_per_event": {way: round(secs / rows * 1e9, 1) for way, secs in best.items()},
            "ratio_to_json_pandas": round(best["json_pandas"] / best["ours"], 2),
            "ratio_to_json_pandas_per_tag": round(best["json_pandas_per_tag"] / best["ours"], 2),
            "ratio_to_skim": round(best["skim"] / best["ours"], 2),
            **({"native_ratio_to_ours": round(best["ours"] / best["native"], 2)} if "native" in best else {}),
        }
    result["peak_memory_per_body_byte"] = {
        f"{way}_{name}": _peak_memory(way, name)
        for name in ("full", "slim")
        for way in ("ours", "json_pandas", "native")
        if way in WAYS
    }
    return result


def _best_times(body: bytes, asks: list[Ask], budget: float) -> dict[str, float]:
    """CPU seconds. Variants take turns, so that other load on the machine affects all of them."""
    best = dict.fromkeys(WAYS, float("inf"))
    repeats = max(1, 1_000_000 // len(body))  # a small answer alone is below the clock's reach
    until = time.perf_counter() + budget
    turn = 0
    while turn < 3 or time.perf_counter() < until:
        for way, run in WAYS.items():
            gc.collect()
            start = time.process_time()
            for _ in range(repeats):
                run(body, asks)
            best[way] = min(best[way], (time.process_time() - start) / repeats)
        turn += 1
    return best


def _peak_memory(way: str, name: str) -> float | None:
    """Peak growth over one decoding in a process of its own, the body counted in; Linux only."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, __file__, "--peak", way, name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _print_peak(way: str, name: str) -> None:
    tags, _, slim = CORPORA[name]
    # A small answer first: imports and first-use caches are not what is measured.
    WAYS[way](*corpus(5, 50, slim=slim))
    asks = corpus(tags, 1, slim=slim)[1]
    before = _resident_kib("VmRSS")
    body = subprocess.run([sys.executable, __file__, "--body", name], check=True, capture_output=True).stdout
    # "5" sets the peak back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    WAYS[way](body, asks)
    print(round((_resident_kib("VmHWM") - before) * 1024 / len(body), 2))


def _resident_kib(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=20.0, help="time to spend")
    parser.add_argument("--peak", nargs=2, metavar=("WAY", "CORPUS"), help=argparse.SUPPRESS)
    parser.add_argument("--body", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        _print_peak(*chosen.peak)
    elif chosen.body:
        tags, events, slim = CORPORA[chosen.body]
        sys.stdout.buffer.write(corpus(tags, events, slim=slim)[0])
    else:
        result = measure(chosen.seconds)
        print(json.dumps(result) if chosen.json else _table(result))


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{'corpus':<8}{'B/event':>9}{'kev/s':>9}{'x json+pandas':>15}{'x per-tag frames':>18}{'native x ours':>16}"
    ]
    for name in CORPORA:
        row = result[name]
        lines.append(
            f"{name:<8}{row['bytes_per_event']:>9}{row['kilo_events_per_second']['ours']:>9}"
            f"{row['ratio_to_json_pandas']:>15}{row['ratio_to_json_pandas_per_tag']:>18}"
            f"{row.get('native_ratio_to_ours', ''):>16}"
        )
    lines += [f"peak memory, {way}: {peak} x body" for way, peak in result["peak_memory_per_body_byte"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
