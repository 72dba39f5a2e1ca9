"""The source and the lakehouse that a configuration names."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from config import Config, TablesConfig, properties_of, resolve_secrets, tidied, uses_simulator, without_alerts
from config.checks import warnings as warnings_of
from config.errors import ConfigurationError
from writers import (
    PI_CONNECTOR_METRICS,
    PI_QUARANTINE,
    Lakehouse,
    Names,
    TableSpec,
    WatermarkStore,
    open_lakehouse,
)
from writers.tables import PI_WATERMARKS
from writers.unity import Patience, open_unity
from writers.watermarks.checkpoint_rows import decode, merge_stream

from ..clock import wall_micros
from ..daemon_call import in_daemon_thread
from ..datasets.recorded_values import RECORDED
from ..datasets.registry import Registry
from ..flow.stop import Stop
from ..net.auth import auth_from
from ..net.client import PIClient
from ..net.settings import ClientSettings
from ..plan.shards import Shard

_log = logging.getLogger("osipi.config")
_LEAST_ANSWER_BYTES = 8 << 20
_MOST_ANSWER_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Connection:
    """A source that can be asked."""

    client: PIClient
    url: str


@asynccontextmanager
async def connect(config: Config, shard: Shard = Shard()) -> AsyncIterator[Connection]:  # noqa: B008 - a frozen value
    """Log in to the PI Web API of the configuration, or start the embedded simulator.

    Secrets are resolved here, as late as possible. A shard gets its share of the request rate.
    """
    async with AsyncExitStack() as stack:
        known = set(warnings_of(config))  # the command has shown them
        config = await in_daemon_thread(partial(resolve_secrets, without_alerts(config)))
        pi, found = tidied(config.pi_web_api)
        resolved = config.model_copy(update={"pi_web_api": pi})
        for warning in (*found, *(each for each in warnings_of(resolved) if each not in known)):
            _log.warning("%s", warning)
        url = pi.url or ""
        if uses_simulator(config):
            url = await stack.enter_async_context(_simulator(config))
        settings = ClientSettings(
            url=url,
            auth=auth_from(pi.model_copy(update={"url": url})),
            ca_bundle=str(pi.ca_bundle) if pi.ca_bundle else None,
            verify_tls=pi.verify_tls,
            timeout_secs=pi.timeout.total_seconds(),
            max_requests_per_second=pi.max_requests_per_second / shard.count,
            max_in_flight=max(1, pi.max_in_flight // shard.count),
            max_url_chars=pi.max_url_chars,
            max_request_bytes=pi.max_request_bytes,
            max_body_bytes=largest_answer(config.performance.buffer_bytes, max(1, pi.max_in_flight // shard.count)),
            retry_attempts=config.retry.max_attempts,
            retry_initial_wait_secs=config.retry.initial_wait.total_seconds(),
            retry_max_wait_secs=config.retry.max_wait.total_seconds(),
        )
        yield Connection(await stack.enter_async_context(PIClient(settings)), url)


def largest_answer(buffer_bytes: int, in_flight: int) -> int:
    """The bytes that one answer may have, so that all that are in flight fit into the buffer twice: as they were sent,
    and decoded. Below `_LEAST_ANSWER_BYTES` a list of points or a single long text would not be readable at all.
    """
    return max(_LEAST_ANSWER_BYTES, min(_MOST_ANSWER_BYTES, buffer_bytes // (2 * in_flight)))


def _simulator(config: Config) -> AbstractAsyncContextManager[str]:
    """The simulator inside this process, as configured."""
    from ..simulator import FaultPlan, FaultPlanError, Simulator, SimulatorOptions

    settings = config.development.simulator
    assert settings is not None  # noqa: S101 - uses_simulator says so
    midnight = datetime.fromtimestamp(wall_micros() / 1e6, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = midnight - timedelta(days=1 + settings.history.days)
    try:
        options = SimulatorOptions(
            tags=settings.tags,
            seed=settings.seed,
            begin=begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
            future_tags=settings.future_tags,
            elements=settings.elements,
            frames_per_day=settings.frames_per_day,
            faults=FaultPlan.load(settings.faults) if settings.faults else FaultPlan(),
        )
        return Simulator(options).serve()
    except FaultPlanError as error:
        raise ConfigurationError(
            f"$.development.simulator.faults: {error}", hint="Correct the plan, or leave it out."
        ) from error


def patience_of(config: Config, stop: Stop, *, follow: bool) -> Patience:
    """How long a run waits for a catalog that fails: as `retry` says. A run that follows opens its tables anew, as often as
    `retry` says, so that each of its requests waits but briefly.
    """
    retry, brief = config.retry, Patience()
    return Patience(
        attempts=min(retry.max_attempts, brief.attempts) if follow else retry.max_attempts,
        first_secs=retry.initial_wait.total_seconds(),
        longest_secs=retry.max_wait.total_seconds(),
        goes_on=lambda: not stop.asked,
    )


def lakehouse_of(config: Config, *, creates: bool = True, patience: Patience | None = None) -> Lakehouse:
    """Where the tables are: under a root, else in Unity Catalog. Blocks if storage options name secrets.

    The Databricks SDK finds the login to the catalog: a job's identity, a profile, the environment.
    `creates`: whether tables of a catalog that do not exist are created, or waited for. `patience`: how long a catalog
    that fails is waited for, if not briefly.
    Raises `ConfigurationError`, `AuthenticationError`.
    """
    if config.storage.options:
        config = resolve_secrets(without_alerts(config))
    uc, names = config.unity_catalog, names_of(config)
    options = {key: value.get_secret_value() for key, value in config.storage.options.items()}
    properties = properties_of(uc)
    if config.storage.root is not None:
        return open_lakehouse(
            config.storage.root,
            names=names,
            properties=properties,
            storage_options=options,
            fsync=config.storage.fsync,
        )
    kind = uc.table_type or ("external" if uc.location else "managed")
    return open_unity(
        names=names,
        properties=properties,
        table_type=kind,
        location=uc.location,
        storage_options=options,
        creates=creates,
        patience=patience or Patience(),
    )


def tables_of(config: Config, datasets: Registry) -> tuple[TableSpec, ...]:
    """The tables that a run may write."""
    return (*datasets.tables, *((PI_CONNECTOR_METRICS, PI_QUARANTINE) if config.monitoring.metrics else ()))


def names_of(config: Config) -> Names:
    """What the configuration calls catalog, schemas and tables."""
    uc = config.unity_catalog
    return Names(
        catalog=uc.catalog,
        schema=uc.schema_name,
        checkpoint_schema=uc.checkpoint_schema,
        monitoring_schema=uc.monitoring_schema,
        tables={field.default: getattr(uc.tables, role) for role, field in TablesConfig.model_fields.items()},
    )


def target_of(config: Config) -> str:
    """Where the tables are, for people."""
    uc = config.unity_catalog
    if config.storage.root is None:
        return f"{uc.catalog}.{uc.schema_name}"
    return f"{config.storage.root}/{uc.catalog}/{uc.schema_name}"


def watermarks_of(config: Config, dataset: str = RECORDED.name) -> WatermarkStore:
    """The watermarks of a dataset of the pipeline, read only; none if there is no checkpoint table yet."""
    table = lakehouse_of(config).table(PI_WATERMARKS)
    if not table.exists():
        return WatermarkStore()
    rows = table.open().read(where={"pipeline": config.pipeline})
    return decode(merge_stream(rows), dataset)
