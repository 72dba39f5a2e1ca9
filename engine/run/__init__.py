"""Runs: everything the configuration selects is read from the source, and landed exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..plan.shards import Shard

if TYPE_CHECKING:
    from config import Config
    from writers import Lakehouse

    from ..datasets.registry import Registry
    from ..datasets.tags import Inventory
    from ..flow.stop import Stop
    from ..model import Tag, Window
    from ..telemetry.events import Emit
    from ..telemetry.report import RunReport
    from .alerts import Alerts
    from .context import RunContext
    from .report import CycleResult


async def run(
    config: Config,
    *,
    shard: Shard = Shard(),  # noqa: B008 - a frozen value
    emit: Emit = lambda _event: None,
    stop: Stop | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
    run_id: str | None = None,
    follow: bool = False,
    suspects: Sequence[tuple[Tag, Window]] | None = None,
    take_over: str | None = None,
    retry_holes: bool = False,
    registry: Registry | None = None,
    found: Inventory | None = None,
) -> RunReport:
    """Read everything the configuration selects and is not done yet, and land it exactly once.

    `follow`: do so again and again, until asked to stop.
    `suspects`: read nothing new. Read these windows again as far as they are done, and replace the table's rows where
    the source differs. Other runs of the pipeline may be at work: what each of them compares itself is left to them.
    The caller writes the metrics row.
    `take_over`: first take over the selected tags that the pipeline of this name has brought into the table.
    `retry_holes`: ask for every hole, not only for those that are due.
    `registry`: the datasets that `extraction.datasets` chooses from; without it, all there are.
    `found`: the tags, if they have been found already; a run that follows does not take them. The run then reads up to
    the time at which they were found.

    Returns the report, also of a run that was interrupted or stopped by the source. Raises `StopError` where there is
    nothing to report: configuration, login, lease, lost state, storage.
    """
    from ..datasets.decoding import open_decoding
    from ..flow.stop import Stop
    from ..telemetry.alert_text import Sender
    from ..telemetry.log_fields import RUN_FIELDS
    from .alerts import Alerts
    from .connect import lakehouse_of, patience_of
    from .context import RunContext
    from .metrics_rows import RunMetricsWriter

    datasets = _chosen(config, registry, follow=follow, repairs=suspects is not None)
    metrics = RunMetricsWriter(config, shard, run_id or uuid.uuid4().hex[:12])
    RUN_FIELDS.set({"run_id": metrics.run_id, "pipeline": config.pipeline, "shard": str(shard)})
    alerts = Alerts(config, Sender(config.pipeline, metrics.run_id, str(shard)), follows=follow)
    # A destination that cannot be is said before PI is asked for anything.
    stop = stop or Stop()
    opened = partial(lakehouse_of, config, creates=shard.index == 0, patience=patience_of(config, stop, follow=follow))
    lakehouse = await _opened(opened, config, shard, datasets, alerts if suspects is None else None)
    context = RunContext(
        config=config,
        shard=shard,
        lakehouse=lakehouse,
        datasets=datasets,
        metrics=metrics,
        alerts=alerts,
        subscriber=emit,
        stop=stop,
        on_step=on_step,
        follows=follow,
        take_over=take_over,
        retry_holes=retry_holes,
        found=found,
        decoding=open_decoding(config.performance.decoder),
    )
    try:
        report = await _carry_out(context, suspects)
    except BaseException as error:
        if suspects is None:
            await context.end_by(error)
        raise
    if suspects is None:
        await context.end(report)
    return report


async def _carry_out(context: RunContext, suspects: Sequence[tuple[Tag, Window]] | None) -> RunReport:
    """The way of the run that fits, from the login to its report."""
    from ..gc_tuning import rare_collections
    from ..telemetry.events import Finished

    with rare_collections():
        async with context.prepared():
            report = context.report(await _read(context, suspects))
            context.emit(Finished(report.status))
    return report


async def _read(context: RunContext, suspects: Sequence[tuple[Tag, Window]] | None) -> CycleResult:
    """Read as the kind of run does it. Only that kind is imported."""
    if suspects is not None:
        from .repair import run_repair

        return await run_repair(context, suspects)
    if context.follows:
        from .follow import run_following

        return await run_following(context)
    if context.config.extraction.mode == "full":
        from .full import run_full

        return await run_full(context)
    from .once import run_once

    return await run_once(context)


async def _opened(
    open_it: Callable[[], Lakehouse], config: Config, shard: Shard, datasets: Registry, alerts: Alerts | None
) -> Lakehouse:
    """Where the tables are. If they cannot be, an alert is sent; alerts keep their state there."""
    from ..clock import wall_micros
    from ..daemon_call import in_daemon_thread
    from ..telemetry.alerts import facts_of_error
    from .connect import tables_of

    try:
        lakehouse = await in_daemon_thread(open_it)
        if alerts is not None:
            alerts.lakehouse = lakehouse
        if shard.count > 1:
            await in_daemon_thread(partial(lakehouse.prepare, tables_of(config, datasets)))
    except Exception as error:  # an alert is sent, and the error goes on
        if alerts is not None:
            await alerts.tell(facts_of_error(error, str(shard), None, wall_micros()))
        raise
    return lakehouse


def _chosen(config: Config, registry: Registry | None, *, follow: bool, repairs: bool) -> Registry:
    """The datasets of a run that can be carried out as configured. Raises `ConfigurationError`."""
    from config import check_followable, check_runnable
    from writers import PI_TIMESERIES, check_columns

    from ..datasets.recorded_values import RECORDED
    from ..datasets.registry import DATASETS, wrong_choice

    check_runnable(config)
    if follow:
        check_followable(config)
    check_columns(PI_TIMESERIES, config.performance.zorder_columns)
    datasets = (registry or DATASETS).chosen_by(config)
    if follow and not datasets.series:
        raise wrong_choice(
            "neither recorded nor sampled", "one of them beside --follow", hint="Add recorded, or run without --follow."
        )
    if repairs and RECORDED not in datasets.series:
        raise wrong_choice("no recorded", "recorded beside --repair")
    return datasets
