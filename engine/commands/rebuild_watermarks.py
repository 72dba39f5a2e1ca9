"""`rebuild-watermarks`: read back from the data what is done, where the checkpoint table was lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .options import configured, examples

if TYPE_CHECKING:
    from config import Config
    from writers import RebuildReport

__all__ = ["rebuild_watermarks"]


@click.command(
    "rebuild-watermarks",
    epilog=examples(
        "python -m engine rebuild-watermarks -c plant.yaml",
        "python -m engine rebuild-watermarks -c plant.yaml --yes",
    ),
)
@configured
@click.option("--yes", is_flag=True, help="Do not ask.")
def rebuild_watermarks(path: str | None, overrides: tuple[str, ...], yes: bool) -> int:
    """Read the watermarks back from the data.

    For when the checkpoint table was dropped, restored or damaged. A tag is taken to be read from its
    first event to its last; what lies after that is read again by the next run. No run of the pipeline
    may be at work.
    """
    import asyncio

    from ..wiring import target_of
    from .options import loaded
    from .terminal import count, results, stamp

    config = loaded(path, overrides).config
    if not yes:
        _ask(f"Replace all watermarks of pipeline {config.pipeline} by what {target_of(config)} holds?")
    found = asyncio.run(_rebuilt(config))
    span = "" if found.low is None else f", {stamp(found.low)} to {stamp(found.high)}"
    results().print(
        f"Watermarks of {count(found.tags, 'tag')} rebuilt from {count(found.rows, 'event')}{span}.", soft_wrap=True
    )
    return 0


def _ask(question: str) -> None:
    from config.errors import ConfigurationError

    if not sys.stdin.isatty():
        raise ConfigurationError(
            "rebuild-watermarks asks before it replaces, and nobody is here to answer", hint="Add --yes."
        )
    click.confirm(question, abort=True, err=True)


async def _rebuilt(config: Config) -> RebuildReport:
    """Rebuild while holding the lease, as a run would."""
    import asyncio
    import uuid

    from writers import PI_TIMESERIES
    from writers import rebuild_watermarks as rebuild

    from ..plan.shards import Shard
    from ..wiring import DATASET, lakehouse_of

    lakehouse, shard, run_id = lakehouse_of(config), str(Shard()), uuid.uuid4().hex[:12]
    lease = lakehouse.lease(config.pipeline, shard, run_id)
    await asyncio.to_thread(lease.acquire)
    try:
        work = asyncio.ensure_future(
            asyncio.to_thread(
                rebuild, lakehouse, PI_TIMESERIES, pipeline=config.pipeline, dataset=DATASET, shard=shard, run_id=run_id
            )
        )
        while not (await asyncio.wait((work,), timeout=lease.renew_secs))[0]:
            await asyncio.to_thread(lease.renew)
        return work.result()
    finally:
        await asyncio.to_thread(lease.release)
