"""Points and data servers, out of the answers of inventory requests. Pure.

Invariant: every identifier asked for comes back either as a tag or as a failure with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from config.errors import UnavailableError
from engine.model import Tag
from writers.tables import PI_TAGS

from .problems import excerpt_of, sentence_of
from .values import parse_json, well_formed
from .webid import split_path
from .wire import DataServer, DataServers, Point, PointResults, PointsPage

__all__ = ["TAGS_SCHEMA", "Points", "data_servers", "decode_multiple", "decode_page", "decode_point"]

# What a server says of a point; when we saw it is the business of whoever keeps the table.
TAGS_SCHEMA = pa.schema(
    field for field in PI_TAGS.schema if field.name not in {"first_seen", "last_seen", "deleted_at"}
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Points:
    """Points found: as tags, as rows of pi_tags in the same order, and what was not found, with why.

    `more`: the page may have a successor.
    """

    tags: tuple[Tag, ...]
    rows: pa.RecordBatch
    failures: tuple[tuple[str, str], ...] = ()
    more: bool = False


def decode_page(body: bytes) -> Points:
    """Points of one page of `/dataservers/{webId}/points`. Raises `UnavailableError` for a body that is broken, or
    that the server broke off by its own account.

    Servers that give links name the next page as long as there is one; of others, only an empty page
    is surely the last.
    """
    page = _decode(body, PointsPage)
    if page.WebException:
        said = sentence_of(page.WebException) or "it does not say why"
        raise UnavailableError(f"the server's list of points broke off: {said}", hint="try again")
    more = bool(page.Items) and (page.Links is None or page.Links.Next is not None)
    return _points(page.Items, more=more)


def decode_multiple(body: bytes, asked: Sequence[str]) -> Points:
    """Points of `/points/multiple`, whether all were found (200) or not (207)."""
    results = _decode(body, PointResults).Items
    failures: dict[str, str] = {}
    for result in results:
        if result.Object is None:
            failures[result.Identifier] = sentence_of(result.Exception) or "the server does not say why"
    answered = {result.Identifier.casefold() for result in results}
    # Paths may come back in the server's own spelling.
    if len(results) < len(asked):
        failures |= dict.fromkeys(
            (one for one in asked if one.casefold() not in answered), "the answer holds nothing for it"
        )
    return _points([result.Object for result in results if result.Object is not None], failures=failures)


def decode_point(body: bytes) -> Points:
    """The point of `/points?path=` or `/points/{webId}`."""
    return _points([_decode(body, Point)])


def data_servers(body: bytes) -> tuple[DataServer, ...]:
    return tuple(_decode(body, DataServers).Items)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        pass
    # Once more in patience: NaN in a span, bare or as a string, half a character in a description.
    try:
        return msgspec.convert(parse_json(body), kind, strict=False)
    except ValueError as error:
        raise UnavailableError(
            f"the server's list of points cannot be read ({error}): {excerpt_of(body)}",
            hint="try again; if it stays so, please report it",
        ) from error


def _points(points: Sequence[Point], *, failures: dict[str, str] | None = None, more: bool = False) -> Points:
    tags = tuple(
        Tag(
            point.WebId,
            well_formed(point.Name),
            well_formed(point.EngineeringUnits or ""),
            point.PointType or "",
            bool(point.Future),
        )
        for point in points
    )
    return Points(tags, _rows(points), tuple((failures or {}).items()), more)


def _rows(points: Sequence[Point]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {
        "tag_webid": [point.WebId for point in points],
        "name": _texts(point.Name for point in points),
        "path": _texts(point.Path for point in points),
        "descriptor": _texts(point.Descriptor for point in points),
        "point_type": _texts(point.PointType for point in points),
        "point_class": _texts(point.PointClass for point in points),
        "engineering_units": _texts(point.EngineeringUnits for point in points),
        "digital_set": _texts(point.DigitalSetName for point in points),
        "span": [point.Span for point in points],
        "zero": [point.Zero for point in points],
        "step": [point.Step for point in points],
        "future": [point.Future for point in points],
        "data_server": _texts(_server(point.Path) for point in points),
        "attributes": [None] * len(points),
    }
    return pa.RecordBatch.from_pydict(columns, schema=TAGS_SCHEMA)


def _texts(texts: Iterable[str | None]) -> list[str | None]:
    return [None if text is None else well_formed(text) for text in texts]


def _server(path: str | None) -> str | None:
    try:
        return split_path(path or "")[0]
    except ValueError:
        return None
