"""Carries out `af`: asks the asset framework for what lies at a path, and prints it."""

from __future__ import annotations

import asyncio
import csv
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from config import Config, ExpectedError, parse_instant, uses_simulator
from config.errors import ConfigurationError, TagGoneError, UnavailableError

from ...clock import wall_micros
from ...datasets.asset_reader import AssetReader, PathOf, find_databases, list_databases
from ...datasets.request_mode import Mode
from ...model import Micros
from ...piweb import assets
from ...piweb.assets import ATTRIBUTE_FIELDS, ELEMENT_FIELDS, Named, list_path, object_path
from ...piweb.event_frames import frame_fault, frame_of, frame_rows, frames_path
from ...piweb.members import has_web_id
from ...piweb.times import iso_text
from ...run.connect import connect
from ...telemetry.formats import count, one_line
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import print_json, stderr_console, stdout_console

_LIMIT = 50
_TIMES, _TIME_CHARS = {"start (UTC)", "end (UTC)"}, len("2024-03-05 10:15:30")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_WIDE = 100
# Columns of the terminal alone.
_FOR_PEOPLE = ("children", "names", "shown", "primary_element")
_VALUES_AT_ONCE = 60
_FRAME_COLUMNS = {
    "event_name": "name",
    "template_name": "template",
    "start_time": "start (UTC)",
    "end_time": "end (UTC)",
    "severity": "severity",
    "primary_element": "element",
}
_ELEMENT_COLUMNS = {
    "element_name": "name",
    "template_name": "template",
    "children": "children",
    "description": "description",
}
_ATTRIBUTE_COLUMNS = {
    "names": "name", "shown": "value", "units": "units", "value_timestamp": "timestamp", "data_reference": "reference",
    "tag_path": "tag",
}  # fmt: skip


class _Found(NamedTuple):
    """What is printed: the title, a row a thing, and why other things have none."""

    title: str
    noun: str
    rows: list[dict[str, Any]]
    unreadable: tuple[str, ...] = ()


def databases(*, path: str | None, overrides: tuple[str, ...], **output: Any) -> CommandResult:
    async def find(reader: AssetReader, _config: Config) -> _Found:
        found = [{"name": one.name, "path": one.path, "webid": one.web_id} for one in await list_databases(reader)]
        return _Found("", "AF database", found)

    return _carried_out(path, overrides, find, {"name": "name", "path": "path", "webid": "WebID"}, **output)


def elements(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    element: str,
    database: str | None,
    all_levels: bool,
    name_filter: str | None,
    template: str | None,
    **output: Any,
) -> CommandResult:
    async def find(reader: AssetReader, config: Config) -> _Found:
        of, top = await _top(reader, config, database, element)
        what = f"the elements below {top.path}"
        pages = _pages(
            *("assetdatabases" if top == of else "elements", top.web_id, "elements", ELEMENT_FIELDS),
            searchFullHierarchy="true" if all_levels else "",
            nameFilter=name_filter or "",
            templateName=template or "",
        )
        read = await reader.all(pages, f"listing {what}")
        rows = assets.element_rows(read.items, of).to_pylist()
        for row in rows:
            row["children"] = "yes" if row["has_children"] else ""
        rows.sort(key=lambda row: row["element_path"].casefold())
        return _Found(what, "element", rows, read.unreadable)

    columns = ({"element_path": "path"} if all_levels else {}) | _ELEMENT_COLUMNS
    return _carried_out(path, overrides, find, columns, **output)


def attributes(
    *, path: str | None, overrides: tuple[str, ...], element: str, database: str | None, hidden: bool, **output: Any
) -> CommandResult:
    async def find(reader: AssetReader, config: Config) -> _Found:
        of, top = await _top(reader, config, database, element)
        if top == of:
            raise ConfigurationError("an AF database has no attributes", hint="Give the path of an element.")
        shown = {"showHidden": "true", "showExcluded": "true"} if hidden else {}
        what = f"the attributes of {top.path}"
        pages = _pages(
            *("elements", top.web_id, "attributes", ATTRIBUTE_FIELDS),
            searchFullHierarchy="true",
            associations="DataReference",
            **shown,
        )
        read = await reader.all(pages, f"listing {what}")
        items = read.items
        events = await _values(reader, [one["WebId"] for one in items])
        rows = assets.attribute_rows(items, events, {top.path.casefold(): top.web_id}, of).to_pylist()
        for row in rows:
            row["names"] = row["attribute_path"].partition("|")[2] or row["attribute_name"]
            row["shown"] = _shown(row)
            row["value_timestamp"] = events.get(row["attribute_webid"], {}).get("Timestamp")
        rows.sort(key=lambda row: row["names"].casefold())
        return _Found(what, "attribute", rows, read.unreadable)

    return _carried_out(path, overrides, find, _ATTRIBUTE_COLUMNS, **output)


def frames(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    start: str,
    end: str,
    database: str | None,
    template: str | None,
    **output: Any,
) -> CommandResult:
    now = wall_micros()
    low, high = _instant("--start", start, now), _instant("--end", end, now)
    if low >= high:
        raise ConfigurationError(f"--start {start} is not before --end {end}", hint="Give a time that has a length.")

    async def find(reader: AssetReader, config: Config) -> _Found:
        of = await _frames_database(reader, config, database)
        what = f"the frames of {of.path} from {iso_text(low)} to {iso_text(high)}"

        def page(first: int, most: int) -> str:
            return frames_path(
                of.web_id, low, high, mode="Overlapped", template=template or "", start=first, count=most
            )

        read = await reader.all(page, f"listing {what}")
        faults = tuple(fault for one in read.items if (fault := frame_fault(one)) is not None)
        readable = [frame_of(one) for one in read.items if frame_fault(one) is None]
        rows = frame_rows(readable, of, unread=(), now=now).to_pylist()
        paths = await _element_paths(reader, [row["primary_element_webid"] for row in rows])
        for row in rows:
            for name in ("event_date", "first_seen", "last_updated", "deleted_at"):
                del row[name]  # what only a table knows
            row["primary_element"] = paths.get(row["primary_element_webid"] or "", "").removeprefix(f"{of.path}\\")
            row |= {name: _time(one) for name, one in row.items() if isinstance(one, datetime)}
        rows.sort(key=lambda row: (row["start_time"] or "", row["event_name"] or ""))
        return _Found(what, "event frame", rows, (*read.unreadable, *faults))

    return _carried_out(path, overrides, find, _FRAME_COLUMNS, **output)


async def _frames_database(reader: AssetReader, config: Config, database: str | None) -> Named:
    """The first database whose frames are configured, or the one that is asked for."""
    own, assets_of = config.event_frames, config.asset_framework
    named = [*own.databases, own.database, *assets_of.databases, assets_of.database]
    chosen = [database] if database else [one for one in named if one]
    return (await find_databases(reader, chosen[:1], key="event_frames.databases"))[0]


async def _element_paths(reader: AssetReader, web_ids: Sequence[str | None]) -> dict[str, str]:
    """By WebID, the paths of elements. One that cannot be read has none."""
    wanted = list(dict.fromkeys(one for one in web_ids if one is not None))
    paths = [object_path("elements", one, ("Path",)) for one in wanted]
    answers = await reader.many(paths, "looking for elements")
    return {
        one: str(assets.decode_item(answer.body).get("Path") or "")
        for one, answer in zip(wanted, answers, strict=True)
        if answer.status == 200
    }


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _instant(option: str, text: str, now: Micros) -> Micros:
    try:
        return parse_instant(text).micros(now)
    except ExpectedError as error:
        raise ConfigurationError(f"{option} {text}: expected {error}", hint="For example now-7d.") from None


def _shown(row: Mapping[str, Any]) -> str:
    value = row["value_string"] if row["value_string"] is not None else row["value"]
    text = "" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)
    return text if row["good"] is not False or row["value_kind"] in {"error", "system"} else f"{text} (bad)"


async def _top(reader: AssetReader, config: Config, database: str | None, path: str) -> tuple[Named, Named]:
    """The database, and the element at a path in it; the database itself for an empty one."""
    settings = config.asset_framework
    named = [database] if database else [*settings.databases, *([settings.database] if settings.database else [])]
    if not database and path.startswith("\\\\"):
        named = ["\\\\" + "\\".join(path[2:].split("\\")[:2])]
    found = await find_databases(reader, named[:1])
    of = found[0]
    path = path.strip("\\") if not path.startswith("\\\\") else path[len(of.path) :].strip("\\")
    if not path:
        return of, of
    whole = f"{of.path}\\{path}"
    try:
        one = await reader.item(assets.at_path("elements", whole, ("WebId", "Name", "Path")), f"looking for {whole}")
    except TagGoneError:
        raise ConfigurationError(
            f"there is no element {whole}", hint="`af elements` lists those there are, level by level."
        ) from None
    if not has_web_id(one):
        raise UnavailableError(f"looking for {whole}: the answer has no WebID")
    return of, assets.as_named(one)


async def _values(reader: AssetReader, web_ids: Sequence[str]) -> dict[str, Any]:
    """By WebID, the values of attributes now. One that cannot be read has the reason as its value."""
    found: dict[str, Any] = {}
    for first in range(0, len(web_ids), _VALUES_AT_ONCE):
        some = web_ids[first : first + _VALUES_AT_ONCE]
        try:
            found |= assets.decode_values((await reader.many([assets.values_path(some)], "asking for values"))[0].body)
        except UnavailableError as error:
            found |= {one: {"Value": {"Errors": [error.message]}, "Good": False} for one in some}
    return found


def _pages(room: str, web_id: str, what: str, fields: Sequence[str], **parameters: str) -> PathOf:
    return lambda start, most: list_path(room, web_id, what, fields, start=start, count=most, parameters=parameters)


# --- carrying out -----------------------------------------------------------------------


def _carried_out(
    path: str | None,
    overrides: tuple[str, ...],
    find: Callable[[AssetReader, Config], Awaitable[_Found]],
    columns: Mapping[str, str],
    *,
    limit: int | None,
    json_wanted: bool,
    csv_wanted: bool,
) -> CommandResult:
    if json_wanted and csv_wanted:
        raise ConfigurationError("--json and --csv exclude each other", hint="Leave one of them out.")
    config = load_config(path, overrides).config
    if not config.pi_web_api.url and not uses_simulator(config):
        raise ConfigurationError(
            "$.pi_web_api.url: the address of the PI Web API is missing",
            hint="Set it to https://your-server/piwebapi.",
        )
    found = asyncio.run(_asked(config, find))
    most = limit if limit is not None or json_wanted or csv_wanted else _LIMIT
    rows = found.rows[: most or None]
    plain = [{name: one for name, one in row.items() if name not in _FOR_PEOPLE} for row in rows]
    if json_wanted:
        print_json({"count": len(found.rows), f"{found.noun.split()[-1]}s": plain})
    elif csv_wanted:
        _print_csv(plain)
    else:
        _print(found, rows, columns)
    if found.unreadable:
        number = count(len(found.unreadable), found.noun)
        stderr_console().print(Text(f"{number} cannot be read, and not shown: {found.unreadable[0]}"), soft_wrap=True)
    return CommandResult(exit_code=1 if found.unreadable else 0)


async def _asked(config: Config, find: Callable[[AssetReader, Config], Awaitable[_Found]]) -> _Found:
    async with connect(config) as source:
        return await find(AssetReader(source.client, source.url, Mode.SINGLE, batch_size=1), config)


def _to_seconds(text: str) -> str:
    """`2024-03-05T10:15:30.1234567Z` for people, in a column that says UTC."""
    return text[:_TIME_CHARS].replace("T", " ")


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = {name: "; ".join(one) if isinstance(one, list) else one for name, one in row.items()}
        writer.writerow({name: _as_text(one_line(one)) if isinstance(one, str) else one for name, one in flat.items()})


def _as_text(value: str) -> str:
    """A text that spreadsheets do not take for a formula: one from PI would run where the file is opened."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) and not _NUMBER.fullmatch(value) else value


def _print(found: _Found, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    console = stdout_console()
    table = Table(box=None, padding=(0, 2 if console.width >= _WIDE else 1, 0, 0), header_style="bold")
    for title in columns.values():
        overflow: Literal["fold", "ellipsis"] = "fold" if title in {"name", "path", "WebID", "element"} else "ellipsis"
        table.add_column(title, overflow=overflow, min_width=_TIME_CHARS if title in _TIMES else None)
    for row in rows:
        shown = {name: str(row[name] or "") for name in columns}
        table.add_row(
            *(Text(_to_seconds(shown[name]) if title in _TIMES else shown[name]) for name, title in columns.items())
        )
    if rows:
        console.print(table)
    more = f"; {count(len(rows))} are listed, --limit 0 lists all" if len(rows) < len(found.rows) else ""
    below = f" {found.title.removeprefix('the ').partition(' ')[2]}" if found.title else ""
    console.print(Text(f"{count(len(found.rows), found.noun)}{below}{more}", style="bold"), soft_wrap=True)
