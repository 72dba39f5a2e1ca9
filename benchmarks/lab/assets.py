"""The tree of assets: a first crawl, then runs that find nothing changed, over trees of several sizes.

After the first crawl the tables are held against the simulator's closed form: every element, and how many attributes each
has. A later run that commits anything is an error.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from deltalake import DeltaTable

from benchmarks.lab.engine import NotExactError, configuration
from benchmarks.lab.processes import SimulatorProcess, json_of, plant, run_child
from benchmarks.lab.windows import TimeSpan
from engine.simulator import SimulatorOptions
from engine.simulator.archive.point_registry import PointRegistry
from engine.simulator.assets.ids import encode, guid
from engine.simulator.assets.plant import Plant as TreeOf

__all__ = ["measure"]

Say = Callable[[str], None]
Settings = Mapping[str, Any]
_TABLES = ("pi_asset_hierarchy", "pi_asset_attributes")


def measure(settings: Settings, _scale: str, say: Say) -> dict[str, Any]:
    """Crawl each of the trees once, and run again over it; gives figures of each size, and the single runs."""
    figures: dict[str, float] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    delay = {"rules": [{"match": {"scope": "outer"}, "do": {"delay_secs": settings["latency_ms"] / 1000}}]}
    for name, tree in settings["trees"].items():
        options = {**settings["plant"], **tree}
        with (
            plant(options, faults=delay) as site,
            tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as folder,
        ):
            first, again = _runs(site, settings, Path(folder), options)
        for what, found in (("crawl", first), ("unchanged", again)):
            say(
                f"{name}, {what}: {found['elements']:,} elements, {found['attributes']:,} attributes, "
                f"{found['requests']} requests, {found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of processor time "
                f"(simulator {found['simulator_cpu_seconds']:.1f} s), {found['peak_mib']:,.0f} MiB"
            )
            figures |= {f"{name}_{what}_{figure}": value for figure, value in found.items() if figure not in _COUNTS}
        figures |= {f"{name}_{figure}": first[figure] for figure in _COUNTS}
        runs[name] = [first, again]
    return {"figures": figures, "runs": runs}


_COUNTS = ("elements", "attributes")


def _runs(
    site: SimulatorProcess, settings: Settings, folder: Path, options: Settings
) -> tuple[dict[str, float], dict[str, float]]:
    """The first crawl, and the best of the runs after it."""
    expected = _expected(options)
    config = configuration(site.url, folder, TimeSpan.of(settings["start"], "1s"), settings["config"])
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    first = _run(site, path, expected)
    tables = {name: str(folder / "main" / "bronze" / name) for name in _TABLES}
    _check(tables, expected)
    versions = {name: DeltaTable(table).version() for name, table in tables.items()}
    again = min((_run(site, path, expected) for _ in range(settings["repeats"])), key=lambda run: run["seconds"])
    if again["rows_written"] or versions != {name: DeltaTable(table).version() for name, table in tables.items()}:
        raise NotExactError(f"a run with nothing changed wrote {again['rows_written']} rows, or committed")
    return first, again


def _run(site: SimulatorProcess, path: Path, expected: Mapping[str, int]) -> dict[str, float]:
    before = site.cpu_seconds()
    done = run_child(["-m", "engine", "run", "-c", str(path), "--json"])
    report = json_of(done)
    said = report["datasets"]["assets"]
    return {
        "elements": len(expected),
        "attributes": sum(expected.values()),
        "requests": report["requests"],
        "seconds": report["duration_seconds"],
        "cpu_seconds": round(done.cpu_seconds, 3),
        "simulator_cpu_seconds": round(site.cpu_seconds() - before, 3),
        "peak_mib": done.peak_rss_bytes / 2**20,
        "rows_written": said["rows_written"] + said["changed"] + said["missing"],
    }


def _expected(options: Settings) -> dict[str, int]:
    """By WebID, the elements there are, and how many attributes each has that lists show."""
    chosen = SimulatorOptions(
        **{name: options[name] for name in ("tags", "seed", "elements", "more_attributes") if name in options}
    )
    tree = TreeOf(chosen, PointRegistry(chosen))
    return {
        encode("I", "Em", (guid("element", number),), ""): sum(
            not one.hidden and not one.excluded for one in tree.attributes(number)
        )
        for number in tree.numbers()
    }


def _check(tables: Mapping[str, str], expected: Mapping[str, int]) -> None:
    """Raises `NotExactError` where a table differs from the source."""
    elements = _column(tables["pi_asset_hierarchy"], "element_webid")
    attributes = _column(tables["pi_asset_attributes"], "attribute_webid")
    owners = _column(tables["pi_asset_attributes"], "element_webid")
    if elements != Counter(dict.fromkeys(expected, 1)):
        raise NotExactError(f"{sum(elements.values())} rows of elements where the source has {len(expected)}")
    if owners != +Counter(expected) or len(attributes) != sum(owners.values()):
        raise NotExactError(f"{sum(owners.values())} rows of attributes where the source has {sum(expected.values())}")


def _column(table: str, name: str) -> Counter[str]:
    """How often each value stands in a column, file by file."""
    import pyarrow.parquet as pq

    found: Counter[str] = Counter()
    for uri in DeltaTable(table).file_uris():
        with pq.ParquetFile(uri.removeprefix("file://")) as file:
            for batch in file.iter_batches(columns=[name]):
                found.update(batch.column(0).to_pylist())
    return found
