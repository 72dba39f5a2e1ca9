"""The checks, in the order in which a run needs what they test. Each ends as one `CheckResult`.

They change nothing at the source or the destination. A check that fails says what to do; only checks that depend on it
are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import msgspec
import pyarrow as pa

from config import Config, check_runnable, resolve_secrets, uses_simulator
from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExtractError,
    FencedError,
    TagError,
    UnavailableError,
)
from writers import AccessChecked, Lakehouse, OpenTable, TableSpec, WatermarkStore
from writers.storage.write_probe import probe_writing

from ...clock import wall_micros
from ...daemon_call import in_daemon_thread
from ...datasets.decoding import open_decoding
from ...datasets.recorded_values import RecordedSource
from ...datasets.registry import DATASETS
from ...datasets.request_mode import Mode, choose_mode
from ...datasets.sampled import SAMPLED, unsettled_hint
from ...datasets.tags import Inventory, selected_tags
from ...import_check import DISTRIBUTION, ROOT, claimed_package
from ...model import Ask
from ...piweb import requests
from ...piweb.http import Request
from ...piweb.problems import error_for
from ...piweb.times import iso_text
from ...plan.future_data import future_tags
from ...run.alerts import Receiver, receivers_of, send_test
from ...run.connect import Connection, connect, lakehouse_of, tables_of
from ...run.plans import sample_of
from ...run.tag_claims import refuse_held
from ...telemetry.formats import count

_SOURCE = ("PI Web API", "login", "tags", "requests", "reading")
_TAGS_SHOWN = 5
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. `passed` is None if it was skipped."""

    name: str
    passed: bool | None
    text: str
    hint: str = ""
    exit_code: int = 0


Reporter: TypeAlias = Callable[[CheckResult], None]
Check: TypeAlias = tuple[str, Callable[[], Awaitable[str]]]


async def run_checks(config: Config, report: Reporter, *, alerts: bool = False) -> None:
    """Run every check, and report each result as soon as it is known. `alerts`: send a message to each channel, too."""
    await _run_chain((("packages", _packages),), report)
    await _run_chain((("configuration", lambda: _configuration(config)),), report)
    resolved = await _with_secrets(config, report)
    found: list[Inventory] = []
    if resolved is None:
        _skip(_SOURCE, report)
    else:
        await _source(resolved, report, found)
    await _destination(resolved or config, report, found)
    if alerts:
        await _alerts(resolved, report)


async def _run_chain(checks: Sequence[Check], report: Reporter) -> bool:
    """Run checks of which each needs the one before. Returns whether all passed."""
    for number, (name, check) in enumerate(checks):
        try:
            text = await check()
        except ExtractError as error:
            report(CheckResult(name, False, error.message, error.hint, error.exit_code))
            _skip([later for later, _ in checks[number + 1 :]], report)
            return False
        report(CheckResult(name, True, text))
    return True


def _skip(names: Sequence[str], report: Reporter) -> None:
    for name in names:
        report(CheckResult(name, None, "skipped"))


async def _packages() -> str:
    problem = await asyncio.to_thread(claimed_package)
    if problem is not None:
        raise ConfigurationError(problem.sentence, hint=problem.hint)
    return f"config, engine and writers are those of {DISTRIBUTION}, in {ROOT}"


async def _configuration(config: Config) -> str:
    check_runnable(config)
    chosen = DATASETS.chosen_by(config)
    hint = unsettled_hint(config) if SAMPLED.name in chosen else ""
    return f"a run of pipeline {config.pipeline} can start{hint and f'; {hint}'}"


async def _with_secrets(config: Config, report: Reporter) -> Config | None:
    """The configuration with its secrets; None if they cannot be looked up."""
    resolved = config

    async def secrets() -> str:
        nonlocal resolved
        resolved = await in_daemon_thread(partial(resolve_secrets, config))
        return "none to look up" if resolved is config else "all found"

    return resolved if await _run_chain((("secrets", secrets),), report) else None


async def _source(config: Config, report: Reporter, found: list[Inventory]) -> None:
    # The user waits for the answer, so there are no retries.
    once = config.model_copy(update={"retry": config.retry.model_copy(update={"max_attempts": 1})})
    checks = _SourceChecks(config, found)
    try:
        async with connect(once) as source:
            reachable = await _run_chain(
                (
                    (_SOURCE[0], lambda: _reach(source, simulated=uses_simulator(config))),
                    (_SOURCE[1], lambda: _log_in(source)),
                ),
                report,
            )
            if not reachable:
                _skip(_SOURCE[2:], report)
                return
            await _run_chain(((_SOURCE[2], lambda: checks.tags(source)),), report)
            if not checks.found:
                _skip(_SOURCE[3:], report)
                return
            await _run_chain(
                ((_SOURCE[3], lambda: checks.mode(source)), (_SOURCE[4], lambda: checks.read(source))), report
            )
    except ExtractError as error:
        report(CheckResult(_SOURCE[0], False, error.message, error.hint, error.exit_code))
        _skip(_SOURCE[1:], report)


class _SourceChecks:
    """Checks of the source that build on each other: tags, the request mode, a few values."""

    def __init__(self, config: Config, inventories: list[Inventory]) -> None:
        self._config = config
        self._inventories = inventories
        self._sample: list[Ask] = []
        self._mode = Mode.SINGLE
        self.found = False

    async def tags(self, source: Connection) -> str:
        config = self._config
        inventory = (await selected_tags(source.client, source.url, config)).require_tags()
        self._inventories.append(inventory)
        self.found = bool(inventory.tags)
        self._sample = sample_of(config, inventory.tags, WatermarkStore(), inventory.server_now)
        if inventory.unresolved:
            failures = "; ".join(f"{tag}: {reason}" for tag, reason in inventory.unresolved[:_TAGS_SHOWN])
            raise TagError(
                f"{count(len(inventory.unresolved))} of "
                f"{count(len(inventory.tags) + len(inventory.unresolved), 'tag')} cannot be found: {failures}",
                hint="Correct or remove them in extraction (`tags` lists all); a run reads the other tags, and ends with 1.",
            )
        future = str(future_tags(config.extraction, inventory.tags))
        of = f", {count(inventory.attributes)} of them attributes" if inventory.attributes else ""
        return f"{count(len(inventory.tags), 'tag')} found{of}{f'; {future}' if future else ''}"

    async def mode(self, source: Connection) -> str:
        wanted = self._config.extraction.request_mode
        self._mode = await choose_mode(source.client, source.url, wanted, self._sample)
        chosen = f"as {self._mode.value}" + (
            f" (extraction.request_mode: {wanted})" if wanted != self._mode.value else ""
        )
        return "; ".join([chosen, *source.client.limits.advice()])

    async def read(self, source: Connection) -> str:
        """Read a few values of a few tags as a run does."""
        asks = self._sample
        decoding = open_decoding(self._config.performance.decoder)
        with decoding.executor as executor:
            recorded = RecordedSource(
                source.client, source.url, self._mode, executor, now=wall_micros, decoder=decoding.decode
            )
            together = self._mode is Mode.BATCH or (
                self._mode is Mode.STREAMSET and requests.streamset_capacity(asks) == len(asks)
            )
            parts = [asks] if together else [[ask] for ask in asks]
            answers = [(await recorded.read(part)).answer for part in parts]
        errors = [error for answer in answers for error in answer.outcomes.errors.values()]
        if errors:
            raise errors[0]
        values = sum(answer.rows.num_rows for answer in answers)
        return f"{count(values, 'value')} of {count(len(asks), 'tag')}, from {iso_text(asks[0].start)} on; decoded by {decoding.name}"


async def _reach(source: Connection, *, simulated: bool) -> str:
    """Any answer passes, also a refused login: the next check reports that."""
    what = f"the simulator in this process, {source.url}" if simulated else source.url
    try:
        response = await source.client.send(Request("GET", "/"))
    except (AuthenticationError, AccessDeniedError):
        return f"{what} answers"
    return f"{what} answers in {1000 * response.elapsed_secs:.0f} ms"


async def _log_in(source: Connection) -> str:
    response = await source.client.send(requests.system())
    error = error_for(response, "GET /system")
    if error is not None and response.status != _NOT_FOUND:  # a run does not need /system
        raise error
    product = _fields(response.body) if error is None else {}
    version = " ".join(product[key] for key in ("ProductTitle", "ProductVersion") if key in product)
    who = await source.client.send(Request("GET", "/system/userinfo?selectedFields=Name"))
    name = _fields(who.body).get("Name", "") if who.status == 200 else ""
    by = f", by {version}" if version else "; the version is not known"
    return f"accepted ({source.client.login})" + (f" as {name}" if name else "") + by


def _fields(body: bytes) -> dict[str, str]:
    """The text fields of a JSON object; none if the body is something else."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}


async def _destination(config: Config, report: Reporter, found: Sequence[Inventory]) -> None:
    lakehouse: Lakehouse | None = None

    async def open_lakehouse() -> str:
        nonlocal lakehouse
        lakehouse = lakehouse_of(config)
        return await asyncio.to_thread(_tables, lakehouse, _specs(config))

    if config.storage.root is None:
        await _run_chain((("grants", lambda: asyncio.to_thread(_grants, config)),), report)
        if not await _run_chain((("catalog", lambda: asyncio.to_thread(_access, config)),), report):
            _skip(("tables", "writing", "lease", "owners"), report)
            return
    await _run_chain((("tables", open_lakehouse),), report)
    if lakehouse is None:
        _skip(("writing", "lease", "owners"), report)
        return
    opened: Lakehouse = lakehouse
    await _run_chain((("writing", lambda: asyncio.to_thread(_writing, config, opened)),), report)
    await _run_chain((("lease", lambda: asyncio.to_thread(_lease, config, opened)),), report)
    if found:
        await _run_chain((("owners", lambda: asyncio.to_thread(_owners, config, opened, found[0])),), report)
    else:
        _skip(("owners",), report)


async def _alerts(config: Config | None, report: Reporter) -> None:
    """Each channel gets a message. One that does not take it is no reason to leave out the others."""
    if config is None:
        _skip(("alerts",), report)
        return
    receivers = receivers_of(config).values()

    async def send(receiver: Receiver) -> str:
        try:
            status = await send_test(receiver, config.pipeline)
        except ExtractError as error:
            hint = "Look whether its url is right, and whether this machine may reach it (proxies, firewall)."
            raise UnavailableError(f"{receiver.label} got no test message: {error.message}", hint=hint) from None
        return f"{receiver.label} took a test message, with status {status}; look whether it has come"

    for receiver in receivers:
        await _run_chain((("alerts", partial(send, receiver)),), report)
    if not receivers:
        hint = "List the channels under monitoring.alerts, or leave out --alerts."
        report(CheckResult("alerts", False, "there is no channel to try", hint, ConfigurationError.exit_code))


def _access(config: Config) -> str:
    lakehouse = lakehouse_of(config)
    assert isinstance(lakehouse, AccessChecked)  # noqa: S101 - every catalog is
    return lakehouse.check_access(_specs(config))


def _grants(config: Config) -> str:
    from .grants import check_grants  # only a catalog needs the Databricks SDK

    return check_grants(config)


def _specs(config: Config) -> tuple[TableSpec, ...]:
    """The tables that a run makes."""
    return tables_of(config, DATASETS.chosen_by(config))


def _tables(lakehouse: Lakehouse, specs: Sequence[TableSpec]) -> str:
    """Existing tables must have a schema that we can write. Opening one changes nothing."""
    tables = [lakehouse.table(spec) for spec in specs]
    existing = [table.open() for table in tables if table.exists()]
    new = len(tables) - len(existing)
    parts = [f"{len(existing)} exist and fit" if existing else "", f"{new} will be created when needed" if new else ""]
    names = ", ".join(spec.name for spec in specs)
    place = tables[0].uri.rpartition("/")[0] or tables[0].uri.rpartition(".")[0]  # a folder, or catalog.schema
    summary = f"{', '.join(part for part in parts if part)}, at {place}: {names}"
    return "; ".join([summary, *filter(None, map(_missing_properties, existing))])


def _missing_properties(table: OpenTable) -> str:
    """The statement that sets properties which the configuration has and an older table lacks."""
    missing = {key: value for key, value in table.spec.properties.items() if table.properties.get(key) != value}
    if not missing:
        return ""
    pairs = ", ".join(f"{_quoted(key)} = {_quoted(value)}" for key, value in missing.items())
    name = f"delta.`{table.uri}`" if "/" in table.uri else ".".join(f"`{part}`" for part in table.uri.split("."))
    return f"table_properties are for new tables, for this one: ALTER TABLE {name} SET TBLPROPERTIES ({pairs})"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"


def _stage_file(lakehouse: Lakehouse, specs: Sequence[TableSpec]) -> str:
    """Stage a file in each table and remove it: a catalog gives credentials for one table at a time."""
    tables = [table.open() for table in map(lakehouse.table, specs) if table.exists()]
    for table in tables:
        stage = table.stage()
        try:
            row = dict.fromkeys(table.spec.schema.names)
            stage.write(pa.RecordBatch.from_pylist([row], table.spec.schema))
            stage.close()
        finally:
            stage.abort()
    if not tables:
        return "skipped: the first run creates the tables"
    return f"a file was written to and removed from {count(len(tables), 'table')}"


def _writing(config: Config, lakehouse: Lakehouse) -> str:
    if config.storage.root is None:
        return _stage_file(lakehouse, _specs(config))
    options = {key: value.get_secret_value() for key, value in config.storage.options.items()}
    folders = {spec.schema_role: lakehouse.table(spec).uri.rpartition("/")[0] for spec in _specs(config)}
    for uri in folders.values():
        probe_writing(uri, options)
    return f"a file was written to and removed from {count(len(folders), 'schema')}"


def _lease(config: Config, lakehouse: Lakehouse) -> str:
    runs = (shard for shard in lakehouse.shards_seen(config.pipeline) if "." not in shard)
    for shard in runs:  # shards of backfills and repairs do not block runs
        holder = lakehouse.lease(config.pipeline, shard, "check").holder()
        if holder is not None:
            raise FencedError(
                f"another run is at work on pipeline {config.pipeline}, shard {shard}: {holder}",
                hint="Wait until it has finished, or stop it.",
            )
    return "no other run of this pipeline"


def _owners(config: Config, lakehouse: Lakehouse, inventory: Inventory) -> str:
    refuse_held(config, lakehouse, inventory.tags)
    return "no other pipeline owns these tags"
