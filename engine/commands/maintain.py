"""`maintain`: fewer and larger files, clustered as configured, and nothing kept that no one needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .options import as_json, configured, examples

if TYPE_CHECKING:
    from config import Config
    from writers import UpkeepReport

__all__ = ["maintain"]


@click.command(epilog=examples("python -m engine maintain -c plant.yaml"))
@configured
@as_json
def maintain(path: str | None, overrides: tuple[str, ...], json_wanted: bool) -> int:
    """Compact, cluster and vacuum the tables.

    Small files are put together, by performance.zorder_columns where that is set; files that left the
    tables longer than performance.vacuum_after ago are removed. Runs may go on meanwhile. Managed
    tables are the catalog's own business, and are left alone.
    """
    from .options import loaded
    from .terminal import print_json, results

    done = look_after_all(loaded(path, overrides).config)
    if json_wanted:
        print_json({"tables": [asdict(each) for each in done]})
        return 0
    for each in done:
        results().print(str(each), soft_wrap=True)
    return 0


def look_after_all(config: Config) -> list[UpkeepReport]:
    """Look after every table. Raises what the destination raises, and `ConfigurationError`."""
    from config.errors import CommitConflictError
    from writers import DATASETS, PI_CONNECTOR_METRICS, PI_TIMESERIES, Upkeep, UpkeepReport, check_columns, look_after

    from ..wiring import lakehouse_of

    performance, lakehouse = config.performance, lakehouse_of(config)
    check_columns(PI_TIMESERIES, performance.zorder_columns)
    done = []
    for spec in (*DATASETS, PI_CONNECTOR_METRICS):
        data = spec is PI_TIMESERIES
        # Orphans of the checkpoint table may be watermarks that a dead run's data commit still speaks of.
        wish = Upkeep(performance.zorder_columns if data else (), vacuum_after=performance.vacuum_after, orphans=data)
        try:
            done.append(look_after(lakehouse.table(spec), wish))
        except CommitConflictError as error:
            done.append(UpkeepReport(spec.name, skipped=f"not this time: {error.message}"))
    return done
