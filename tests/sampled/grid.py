"""What pi_sampled has to hold, worked out from the simulator's archive, and what a run has left there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from engine.simulator import Simulator
from engine.simulator.archive.sampling import Interval, summary, value_at
from engine.simulator.archive.values import DigitalState, Event
from tests.digital_states.site import Site
from tests.exactness.expected import web_id_of
from tests.exactness.plant import MINUTE, SECOND, Plant
from tests.exactness.reading import read_table

TYPES = {
    "average": "Average",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "range": "Range",
    "total": "Total",
    "stddev": "StdDev",
    "population_stddev": "PopulationStdDev",
    "percent_good": "PercentGood",
    "count": "Count",
}
TICKS = 10  # a microsecond


class Sampled(NamedTuple):
    """One row, as far as the source decides it. Numbers as text, so that NaN equals NaN."""

    tag_webid: str
    kind: str
    interval_seconds: int
    at: int
    value: str | None
    value_string: str | None
    state_code: int | None
    good: bool
    percent_good: str | None


def lies(plant: Plant) -> Path:
    return plant.root / "main" / "bronze" / "pi_sampled"


def settings(*kinds: str, interval: str = "10m", **more: Any) -> dict[str, Any]:
    """The section `extraction` of a run that reads the grid beside the recorded values."""
    return {"sampled": {"interval": interval, "kinds": list(kinds)}, **more}


def rows_in(plant: Plant) -> list[Sampled]:
    table = read_table(lies(plant))
    assert table["ingestion_timestamp"].null_count == 0
    ids, names = table["series_id"].to_pylist(), ("tag_webid", "interval_seconds", "kind")
    assert ids == ["/".join(map(str, one)) for one in zip(*(table[name].to_pylist() for name in names), strict=True)]
    days = table["timestamp"].cast(pa.timestamp("us")).cast(pa.date32())
    assert days.equals(table["partition_date"])
    found = []
    for row in table.set_column(
        table.schema.get_field_index("timestamp"), "timestamp", table["timestamp"].cast(pa.int64())
    ).to_pylist():
        found.append(
            Sampled(
                row["tag_webid"],
                row["kind"],
                row["interval_seconds"],
                row["timestamp"],
                _text(row["value"]),
                row["value_string"],
                row["state_code"],
                row["good"],
                _text(row["percent_good"]),
            )
        )
    return sorted(found, key=str)


def expected(
    site: Site, tags: Iterable[int], kinds: Sequence[str], start: int, end: int, *, interval: int = 10 * MINUTE
) -> list[Sampled]:
    """What the archive shows now at the points in `[start, end)`."""
    simulator = site.simulator
    points = range(-(-start // interval) * interval, end, interval)
    return sorted(
        (_row(simulator, tag, kind, at, interval) for tag in tags for kind in kinds for at in points), key=str
    )


def _row(simulator: Simulator, tag: int, kind: str, at: int, interval: int) -> Sampled:
    site, now = simulator._site, simulator.now()
    ticks, share = at * TICKS, None
    if kind == "interpolated":
        event = value_at(site, tag, ticks, now)
    else:
        counts = kind == "count"
        end = ticks + interval * TICKS
        shown = dict(
            summary(
                site,
                tag,
                [TYPES[kind], "PercentGood"],
                Interval(ticks, end, ticks, end - 1),
                basis="EventWeighted" if counts else "TimeWeighted",
                now=now,
            )
        )
        event = shown[TYPES[kind]]
        share = None if counts else shown["PercentGood"].value
    state = event.value if isinstance(event.value, DigitalState) else None
    return Sampled(
        web_id_of(tag),
        kind,
        interval // SECOND,
        at,
        _text(event.value) if state is None and not isinstance(event.value, str) else None,
        state.name if state is not None else _string(event),
        None if state is None else state.code,
        event.good,
        _text(share),
    )


def _text(number: Any) -> str | None:
    return None if number is None else repr(float(number))


def _string(event: Event) -> str | None:
    return event.value if isinstance(event.value, str) else None
