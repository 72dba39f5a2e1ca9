"""What `check` looks at, in the order in which a run would need it. Each look ends as one `Finding`.

Nothing is changed at the source or the destination. Invariant: a look that fails says what to do,
and does not keep those that do not depend on it from being taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
)
from writers import DATASETS, CommitTable, Lakehouse, Marks
from writers.probe import probe_writing

from ..abandon import abandonable
from ..clock import wall_micros
from ..datasets.recorded import Mode, RecordedSource, choose_mode
from ..datasets.tags import Inventory, find_tags
from ..model import Ask
from ..ownership import DISTRIBUTION, HOME, claimed
from ..owning import refuse_held
from ..piweb import requests
from ..piweb.http import Request
from ..piweb.problems import error_for
from ..piweb.times import iso_text
from ..plan.ahead import future_tags
from ..wiring import Connection, connect, lakehouse_of, sample_of
from .grants import look_at_grants
from .terminal import count

__all__ = ["Finding", "Tell", "look_at_everything"]

_SOURCE = ("PI Web API", "login", "tags", "requests", "reading")
_TAGS_SHOWN = 5
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found. `fine` is None where it could not be taken."""

    name: str
    fine: bool | None
    text: str
    hint: str = ""
    exit_code: int = 0


Tell: TypeAlias = Callable[[Finding], None]
Look: TypeAlias = tuple[str, Callable[[], Awaitable[str]]]


async def look_at_everything(config: Config, tell: Tell) -> None:
    """Take every look, telling each finding as soon as it is there."""
    await _in_turn((("packages", _packages),), tell)
    await _in_turn((("configuration", lambda: _configuration(config)),), tell)
    resolved = await _with_secrets(config, tell)
    found: list[Inventory] = []
    if resolved is None:
        _skip(_SOURCE, tell)
    else:
        await _source(resolved, tell, found)
    await _destination(resolved or config, tell, found)


async def _in_turn(looks: Sequence[Look], tell: Tell) -> bool:
    """Take looks of which each needs the one before. Says whether all went well."""
    for number, (name, look) in enumerate(looks):
        try:
            text = await look()
        except ExtractError as error:
            tell(Finding(name, False, error.message, error.hint, error.exit_code))
            _skip([later for later, _ in looks[number + 1 :]], tell)
            return False
        tell(Finding(name, True, text))
    return True


def _skip(names: Sequence[str], tell: Tell) -> None:
    for name in names:
        tell(Finding(name, None, "not tried"))


async def _packages() -> str:
    misfit = await asyncio.to_thread(claimed)
    if misfit is not None:
        raise ConfigurationError(misfit.sentence, hint=misfit.hint)
    return f"config, engine and writers are those of {DISTRIBUTION}, in {HOME}"


async def _configuration(config: Config) -> str:
    check_runnable(config)
    return f"a run of pipeline {config.pipeline} can start with it"


async def _with_secrets(config: Config, tell: Tell) -> Config | None:
    """The configuration with its secrets; None where they cannot be had."""
    resolved = config

    async def secrets() -> str:
        nonlocal resolved
        resolved = await abandonable(partial(resolve_secrets, config))
        return "none to look up" if resolved is config else "all found"

    return resolved if await _in_turn((("secrets", secrets),), tell) else None


async def _source(config: Config, tell: Tell, found: list[Inventory]) -> None:
    # Whoever waits for an answer does not want to see it tried five times.
    once = config.model_copy(update={"retry": config.retry.model_copy(update={"max_attempts": 1})})
    look = _SourceLook(config, found)
    try:
        async with connect(once) as source:
            well = await _in_turn(
                (
                    (_SOURCE[0], lambda: _reach(source, simulated=uses_simulator(config))),
                    (_SOURCE[1], lambda: _log_in(source, config.pi_web_api.auth_type)),
                ),
                tell,
            )
            if not well:
                _skip(_SOURCE[2:], tell)
                return
            await _in_turn(((_SOURCE[2], lambda: look.tags(source)),), tell)
            if not look.found:
                _skip(_SOURCE[3:], tell)
                return
            await _in_turn(((_SOURCE[3], lambda: look.mode(source)), (_SOURCE[4], lambda: look.read(source))), tell)
    except ExtractError as error:
        tell(Finding(_SOURCE[0], False, error.message, error.hint, error.exit_code))
        _skip(_SOURCE[1:], tell)


class _SourceLook:
    """What one look at the source finds, the next one asks by: tags, the way of asking, a few values."""

    def __init__(self, config: Config, inventories: list[Inventory]) -> None:
        self._config = config
        self._inventories = inventories
        self._sample: list[Ask] = []
        self._mode = Mode.SINGLE
        self.found = False

    async def tags(self, source: Connection) -> str:
        config = self._config
        inventory = (await find_tags(source.client, config.extraction)).insist()
        self._inventories.append(inventory)
        self.found = bool(inventory.tags)
        self._sample = sample_of(config, inventory.tags, Marks(), inventory.server_now)
        if inventory.unresolved:
            failures = "; ".join(f"{tag}: {reason}" for tag, reason in inventory.unresolved[:_TAGS_SHOWN])
            raise TagError(
                f"{count(len(inventory.unresolved))} of "
                f"{count(len(inventory.tags) + len(inventory.unresolved), 'tag')} cannot be found: {failures}",
                hint="Correct or remove them in extraction (`tags` lists all); a run reads the others, and ends with 1.",
            )
        ahead = str(future_tags(config.extraction, inventory.tags))
        return f"{count(len(inventory.tags), 'tag')} found{f'; {ahead}' if ahead else ''}"

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
        with ThreadPoolExecutor(1) as executor:
            recorded = RecordedSource(source.client, source.url, self._mode, executor, now=wall_micros)
            together = self._mode is Mode.BATCH or (
                self._mode is Mode.STREAMSET and requests.streamset_capacity(asks) == len(asks)
            )
            parts = [asks] if together else [[ask] for ask in asks]
            answers = [(await recorded.read(part)).answer for part in parts]
        errors = [error for answer in answers for error in answer.outcomes.errors.values()]
        if errors:
            raise errors[0]
        values = sum(answer.rows.num_rows for answer in answers)
        return f"{count(values, 'value')} of {count(len(asks), 'tag')}, from {iso_text(asks[0].start)} on"


async def _reach(source: Connection, *, simulated: bool) -> str:
    """Any answer will do, a refusal of our credentials included: that is for the next look."""
    what = f"the simulator in this process, {source.url}" if simulated else source.url
    try:
        response = await source.client.send(Request("GET", "/"))
    except (AuthenticationError, AccessDeniedError):
        return f"{what} answers"
    return f"{what} answers in {1000 * response.elapsed_secs:.0f} ms"


async def _log_in(source: Connection, auth_type: str) -> str:
    response = await source.client.send(requests.system())
    error = error_for(response, "GET /system")
    if error is not None and response.status != _NOT_FOUND:  # a run does not need it
        raise error
    product = _fields(response.body) if error is None else {}
    version = " ".join(product[key] for key in ("ProductTitle", "ProductVersion") if key in product)
    who = await source.client.send(Request("GET", "/system/userinfo?selectedFields=Name"))
    name = _fields(who.body).get("Name", "") if who.status == 200 else ""
    by = f", by {version}" if version else "; the version is not known"
    return f"accepted ({auth_type})" + (f" as {name}" if name else "") + by


def _fields(body: bytes) -> dict[str, str]:
    """The text fields of an object; none of anything else."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}


async def _destination(config: Config, tell: Tell, found: Sequence[Inventory]) -> None:
    lakehouse: Lakehouse | None = None

    async def open_lakehouse() -> str:
        nonlocal lakehouse
        lakehouse = lakehouse_of(config)
        return await asyncio.to_thread(_tables, lakehouse)

    if config.storage.root is None:
        await _in_turn((("grants", lambda: asyncio.to_thread(look_at_grants, config)),), tell)
    await _in_turn((("tables", open_lakehouse),), tell)
    if lakehouse is None:
        _skip(("writing", "lease", "owners"), tell)
        return
    there: Lakehouse = lakehouse
    await _in_turn((("writing", lambda: asyncio.to_thread(_writing, config, there)),), tell)
    await _in_turn((("lease", lambda: asyncio.to_thread(_lease, config, there)),), tell)
    if found:
        await _in_turn((("owners", lambda: asyncio.to_thread(_owners, config, there, found[0])),), tell)
    else:
        _skip(("owners",), tell)


def _tables(lakehouse: Lakehouse) -> str:
    """Those that exist must be of a shape we can write; opening one that exists changes nothing."""
    tables = [lakehouse.table(spec) for spec in DATASETS]
    existing = [table.open() for table in tables if table.exists()]
    new = len(tables) - len(existing)
    parts = [f"{len(existing)} exist and fit" if existing else "", f"{new} will be created" if new else ""]
    place = tables[0].uri.rpartition("/")[0] or tables[0].uri.rpartition(".")[0]  # a folder, or catalog.schema
    there = f"{', '.join(part for part in parts if part)}, at {place}"
    return "; ".join([there, *filter(None, map(_unlike, existing))])


def _unlike(table: CommitTable) -> str:
    """Properties are for tables that are created: one that was there before may lack some."""
    lacking = {key: value for key, value in table.spec.properties.items() if table.properties.get(key) != value}
    if not lacking:
        return ""
    told = ", ".join(f"{_quoted(key)} = {_quoted(value)}" for key, value in lacking.items())
    name = f"delta.`{table.uri}`" if "/" in table.uri else ".".join(f"`{part}`" for part in table.uri.split("."))
    return f"table_properties are for new tables, for this one: ALTER TABLE {name} SET TBLPROPERTIES ({told})"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"


def _staging(lakehouse: Lakehouse) -> str:
    """A catalog gives credentials table by table, so a file goes where those of the table would go."""
    tables = [table.open() for table in map(lakehouse.table, DATASETS) if table.exists()]
    for table in tables:
        stage = table.stage()
        try:
            row = dict.fromkeys(table.spec.schema.names)
            stage.write(pa.RecordBatch.from_pylist([row], table.spec.schema))
            stage.close()
        finally:
            stage.abort()
    if not tables:
        return "not tried: the tables will be created by the first run"
    return f"a file was written to, and removed from, {count(len(tables), 'table')}"


def _writing(config: Config, lakehouse: Lakehouse) -> str:
    if config.storage.root is None:
        return _staging(lakehouse)
    options = {key: value.get_secret_value() for key, value in config.storage.options.items()}
    homes = {spec.home: lakehouse.table(spec).uri.rpartition("/")[0] for spec in DATASETS}
    for uri in homes.values():
        probe_writing(uri, options)
    return f"a file was written to, and removed from, {count(len(homes), 'schema')}"


def _lease(config: Config, lakehouse: Lakehouse) -> str:
    runs = (shard for shard in lakehouse.shards_seen(config.pipeline) if "." not in shard)
    for shard in runs:  # history and repairs stand in nobody's way
        holder = lakehouse.lease(config.pipeline, shard, "check").holder()
        if holder is not None:
            raise FencedError(
                f"another run is at work on pipeline {config.pipeline}, shard {shard}: {holder}",
                hint="Wait until it has finished, or stop it.",
            )
    return "nobody else is at work on this pipeline"


def _owners(config: Config, lakehouse: Lakehouse, inventory: Inventory) -> str:
    refuse_held(config, lakehouse, inventory.tags)
    return "no other pipeline has brought these tags into the table"
