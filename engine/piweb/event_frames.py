"""Event frames: what to ask for them, and the rows that the answers make. Pure.

Names of frames repeat, so lists are sorted by ID and keys are WebIDs without a path. An open frame ends in the year 9999,
or, where a time that is not known is the first one there is, at that; one that was never acknowledged says 1970.
A frame that does not say when it began, or whose end cannot be read, is not known: it would land without its day, or as open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from writers.asset_tables import (
    PI_EVENT_FRAME_ANNOTATIONS,
    PI_EVENT_FRAME_ATTRIBUTES,
    PI_EVENT_FRAME_ELEMENTS,
    PI_EVENT_FRAMES,
)

from ..model import Micros
from .assets import Named, decode_list, list_path, name_matches, object_path, rows_of, value_columns
from .members import Item, flag, id_only, linked, parsed_list, text, texts
from .times import iso_text, parse_micros
from .values import value_or_error

FRAME_FIELDS = (
    *("WebId", "Id", "Name", "Description", "Path", "TemplateName", "CategoryNames", "StartTime", "EndTime"),
    *("Severity", "AcknowledgedBy", "AcknowledgedDate", "CanBeAcknowledged", "IsAcknowledged", "IsAnnotated"),
    *("IsLocked", "AreValuesCaptured", "HasChildren", "RefElementWebIds"),
    *("Links.Parent", "Links.PrimaryReferencedElement", "Errors", "WebException"),
)
_VALUE_FIELDS = ("WebId", "Name", "Path", "Value", "Errors")
_ANNOTATION_FIELDS = ("Id", "Name", "Description", "Value", "Creator", "CreationDate")
_YEAR_9999 = parse_micros("9999-01-01T00:00:00Z")
# Of a time that cannot be read, for want of a zone, the year says that it stands for none.
_OPEN_YEARS = ("9999", "0001")
_DAY: Micros = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One event frame as the server shows it. Times are truncated to microseconds; `end` is None while it is open.

    `elements` are WebIDs of those that it refers to, the primary one first; `lists_elements`: the server has named all
    of them. `parent`: WebID of the frame above it, as far as the server says.
    """

    web_id: str
    start: Micros
    end: Micros | None
    captured: bool
    annotated: bool
    elements: tuple[str, ...]
    lists_elements: bool
    parent: str | None
    has_children: bool
    item: Item = field(repr=False)

    @property
    def is_open(self) -> bool:
        return self.end is None


@dataclass(frozen=True, slots=True)
class FrameValues:
    """The attributes of one frame: name, WebID and what they show, as an event."""

    names: tuple[str, ...] = ()
    web_ids: tuple[str | None, ...] = ()
    events: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotations of one frame, each with an Id."""

    items: tuple[Item, ...] = ()


# --- what to ask -------------------------------------------------------------------


def frames_path(database: str, low: Micros, high: Micros, *, mode: str, template: str, start: int, count: int) -> str:
    """One page of the frames of a database, children included, that `mode` finds between two instants, both included."""
    return list_path(
        *("assetdatabases", database, "eventframes", FRAME_FIELDS),
        start=start,
        count=count,
        parameters={
            "searchMode": mode,
            "startTime": iso_text(low),
            "endTime": iso_text(high),
            "searchFullHierarchy": "true",
            "sortField": "ID",
            "templateName": template,
        },
    )


def frame_path(web_id: str) -> str:
    return object_path("eventframes", web_id, FRAME_FIELDS)


def values_path(web_id: str) -> str:
    """The values of all attributes of a frame: the captured ones, where they have been captured."""
    return list_path("streamsets", web_id, "value", _VALUE_FIELDS, parameters={"searchFullHierarchy": "true"})


def children_path(web_id: str, *, until: Micros, start: int, count: int) -> str:
    """One page of the frames right below a frame that began up to an instant."""
    parameters = {"searchMode": "Overlapped", "startTime": iso_text(0), "endTime": iso_text(until), "sortField": "ID"}
    return list_path("eventframes", web_id, "eventframes", ("WebId",), start=start, count=count, parameters=parameters)


def elements_path(web_id: str, *, start: int, count: int) -> str:
    """One page of the elements that a frame refers to."""
    return list_path("eventframes", web_id, "referencedelements", ("WebId",), start=start, count=count)


def annotations_path(web_id: str) -> str:
    return list_path("eventframes", web_id, "annotations", _ANNOTATION_FIELDS)


# --- what came ---------------------------------------------------------------------


def frame_fault(item: Item) -> str | None:
    """Why an item with a WebID is no frame that can be read; None if it is one."""
    start, end = _time(item, "StartTime"), item.get("EndTime")
    wrong = ""
    if start is None or start <= 0:
        wrong = f"it has no StartTime that can be read{_shown(item.get('StartTime'))}"
    elif end and _time(item, "EndTime") is None and not str(end).startswith(_OPEN_YEARS):
        wrong = f"its EndTime cannot be read{_shown(end)}"
    return f"{text(item, 'Name') or item['WebId']}: {wrong}" if wrong else None


def _shown(said: Any) -> str:
    return f": {str(said)[:40]!r}" if said else ""


def frame_of(item: Item) -> Frame:
    """The frame that an item with a WebID is, which has no `frame_fault`."""
    start, end = _time(item, "StartTime"), _time(item, "EndTime")
    assert start is not None  # noqa: S101 - else it has a fault
    elements = [id_only(one) for one in texts(item, "RefElementWebIds")]
    lists_elements = isinstance(item.get("RefElementWebIds"), list)
    first, parent = linked(item, "PrimaryReferencedElement"), linked(item, "Parent")
    if first is not None and (first in elements or not lists_elements):
        elements.insert(0, first)
    return Frame(
        web_id=item["WebId"],
        start=start,
        end=None if end is None or not 0 < end < _YEAR_9999 else end,
        captured=flag(item, "AreValuesCaptured") is True,
        annotated=flag(item, "IsAnnotated") is True,
        elements=tuple(dict.fromkeys(elements)),
        lists_elements=lists_elements,
        # Of a frame that lies below none, some servers link to the database.
        parent=None if parent is None or parent[2:4] != "Fm" else parent,
        has_children=flag(item, "HasChildren") is True,
        item=item,
    )


def with_elements(frame: Frame, web_ids: Iterable[str]) -> Frame:
    """The frame with all elements that it refers to."""
    elements = (*frame.elements, *map(id_only, web_ids))
    return replace(frame, elements=tuple(dict.fromkeys(elements)), lists_elements=True)


def _time(item: Item, name: str) -> Micros | None:
    found = text(item, name)
    try:
        return None if found is None else parse_micros(found)
    except ValueError:
        return None


def decode_values(body: bytes, patterns: Sequence[str] = ()) -> tuple[FrameValues, tuple[str, ...]]:
    """What the attributes of a frame show, those whose name fits a pattern; and what is wrong with those that cannot be
    read. Raises `UnavailableError` for a body that is no list.
    """
    page = decode_list(body, of_values=True)
    found: dict[str, tuple[str, Item]] = {}
    for one in page.items:
        # The path tells attributes of one name apart that lie below different ones.
        name = (text(one, "Path") or "").partition("|")[2] or text(one, "Name")
        event = one.get("Value")
        if not isinstance(event, dict) and one.get("Errors"):
            event = {"Value": {"Errors": one["Errors"]}, "Good": False}
        if name and isinstance(event, dict) and _is_wanted(name, patterns):
            found.setdefault(name, (one["WebId"], event))
    web_ids, events = [one for one, _ in found.values()], [event for _, event in found.values()]
    return FrameValues(tuple(found), tuple(web_ids), tuple(events)), page.unreadable


def _is_wanted(name: str, patterns: Sequence[str]) -> bool:
    return name_matches(patterns, name) or name_matches(patterns, name.partition("|")[0])


def decode_annotations(body: bytes) -> Annotations:
    """The annotations of a frame. Raises `UnavailableError` for a body that is no list of them."""
    _, items = parsed_list(body)
    return Annotations(tuple(one for one in items if isinstance(one, dict) and text(one, "Id")))


# --- rows --------------------------------------------------------------------------


def frame_rows(frames: Sequence[Frame], database: Named, *, unread: Iterable[str], now: Micros) -> pa.Table:
    """Rows of pi_event_frames. Of those whose values could not be read (`unread`) it is not said that they are captured."""
    unknown = set(unread)
    items = [one.item for one in frames]
    acknowledged = [_acknowledged_at(one) for one in items]
    rows = rows_of(
        PI_EVENT_FRAMES,
        {
            "event_frame_webid": [one.web_id for one in frames],
            "event_id": [text(one, "Id") for one in items],
            "event_name": [text(one, "Name") for one in items],
            "template_name": [text(one, "TemplateName") or "" for one in items],
            "start_time": [one.start for one in frames],
            "end_time": [one.end for one in frames],
            "is_open": [one.is_open for one in frames],
            "severity": [_severity(one) for one in items],
            "primary_element_webid": [one.elements[0] if one.elements else None for one in frames],
            "referenced_element_webids": [list(one.elements) for one in frames],
            "parent_webid": [one.parent for one in frames],
            "category_names": [texts(one, "CategoryNames") for one in items],
            "can_be_acknowledged": [flag(one, "CanBeAcknowledged") for one in items],
            "is_acknowledged": [flag(one, "IsAcknowledged") for one in items],
            "acknowledged_by": [text(one, "AcknowledgedBy") or None for one in items],
            "acknowledged_at": acknowledged,
            "is_annotated": [flag(one, "IsAnnotated") for one in items],
            "is_locked": [flag(one, "IsLocked") for one in items],
            "values_captured": [None if one.web_id in unknown else one.captured for one in frames],
            "description": [text(one, "Description") or "" for one in items],
            "event_path": [text(one, "Path") for one in items],
            "database": [database.name] * len(frames),
            "event_date": _dates(frames),
        },
    )
    at = pa.repeat(pa.scalar(now, pa.int64()), len(frames))
    own = {"first_seen": at, "last_updated": at, "deleted_at": pa.nulls(len(frames), pa.int64())}
    schema = PI_EVENT_FRAMES.schema
    return pa.table([own[one.name].cast(one.type) if one.name in own else rows[one.name] for one in schema], schema)


def _acknowledged_at(item: Item) -> Micros | None:
    at = _time(item, "AcknowledgedDate")
    return None if at is None or at <= 0 else at


def _severity(item: Item) -> str | None:
    found = item.get("Severity")
    names = ("None", "Information", "Warning", "Minor", "Major", "Critical")
    return names[found] if type(found) is int and 0 <= found < len(names) else text(item, "Severity")


def _dates(frames: Sequence[Frame]) -> list[int]:
    return [one.start // _DAY for one in frames]


def attribute_rows(values: Sequence[tuple[Frame, FrameValues]], types: Mapping[tuple[str, str], str]) -> pa.Table:
    """Rows of pi_event_frame_attributes. `types`: by template and name, where they are known."""
    flat = [(frame, *one) for frame, of in values for one in zip(of.names, of.web_ids, of.events, strict=True)]
    events = [event for *_, event in flat]
    kinds = [types.get((text(frame.item, "TemplateName") or "", name), "") for frame, name, *_ in flat]
    stamps = [_time(event, "Timestamp") for event in events]
    return rows_of(
        PI_EVENT_FRAME_ATTRIBUTES,
        {
            "event_frame_webid": [frame.web_id for frame, *_ in flat],
            "attribute_name": [name for _, name, *_ in flat],
            "attribute_webid": [web_id for _, _, web_id, _ in flat],
            **value_columns(events, kinds),
            "units": [text(event, "UnitsAbbreviation") or "" for event in events],
            "value_timestamp": [None if at is None or at <= 0 else at for at in stamps],
            "captured": [frame.captured for frame, *_ in flat],
            "event_date": _dates([frame for frame, *_ in flat]),
        },
    )


def element_rows(frames: Sequence[Frame]) -> pa.Table:
    """Rows of pi_event_frame_elements."""
    pairs = [(frame, n, one) for frame in frames for n, one in enumerate(frame.elements)]
    return rows_of(
        PI_EVENT_FRAME_ELEMENTS,
        {
            "event_frame_webid": [frame.web_id for frame, _, _ in pairs],
            "element_webid": [one for *_, one in pairs],
            "is_primary": [n == 0 for _, n, _ in pairs],
            "event_date": _dates([frame for frame, _, _ in pairs]),
        },
    )


def annotation_rows(of: Sequence[tuple[Frame, Annotations]]) -> pa.Table:
    """Rows of pi_event_frame_annotations."""
    pairs = [(frame, one) for frame, found in of for one in found.items]
    return rows_of(
        PI_EVENT_FRAME_ANNOTATIONS,
        {
            "event_frame_webid": [frame.web_id for frame, _ in pairs],
            "annotation_id": [text(one, "Id") for _, one in pairs],
            "annotation_name": [text(one, "Name") or "" for _, one in pairs],
            "description": [text(one, "Description") or "" for _, one in pairs],
            "value": [_words(one.get("Value")) for _, one in pairs],
            "creator": [text(one, "Creator") or "" for _, one in pairs],
            "created_at": [_time(one, "CreationDate") for _, one in pairs],
            "event_date": _dates([frame for frame, _ in pairs]),
        },
    )


def _words(value: Any) -> str | None:
    found = value_or_error(value)
    return found.text if found.text is not None or found.value is None else str(value)
