"""Which tags are still to be read, as far as the tables and the configuration say. Asks no PI.

Invariant: a tag of which there is a watermark is either with us or has gone away, never both; in doubt it is with us.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from config import Config, Extraction
from writers import PI_TAGS, Watermark

from ..model import Micros
from ..piweb.webid import TagText, parse_tag, tag_path
from ..wiring import lakehouse_of
from .patterns import matcher

__all__ = ["Away", "KnownTag", "Parted", "Selection", "known_tags", "part_marks"]

_COLUMNS = ("tag_webid", "name", "path", "data_server", "future", "deleted_at")


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A point as pi_tags has it; `deleted_at`: since when it has been found missing, None while it is there."""

    web_id: str
    name: str
    path: str
    data_server: str
    deleted_at: Micros | None
    future: bool = False

    @property
    def gone(self) -> bool:
        return self.deleted_at is not None


@dataclass(frozen=True, slots=True)
class Away:
    """A tag that went away: `deleted_at` at the source, or, if that is None, not selected any more. Its rows stay."""

    web_id: str
    name: str
    deleted_at: Micros | None
    read_up_to: Micros | None


@dataclass(frozen=True, slots=True)
class Parted:
    """Watermarks of the tags that are with us, those that went away, and how many that are wanted were never read."""

    marks: Mapping[str, Watermark]
    away: tuple[Away, ...] = ()
    never_read: int = 0


def known_tags(config: Config) -> list[KnownTag]:
    """All points that pi_tags knows; none where it does not exist yet."""
    table = lakehouse_of(config).table(PI_TAGS)
    if not table.exists():
        return []
    return [tag for batch in table.open().read(_COLUMNS) for tag in _points(batch)]


def _points(batch: pa.RecordBatch) -> Iterator[KnownTag]:
    columns = [batch[name].to_pylist() for name in _COLUMNS[:-1]]
    gone = batch["deleted_at"].cast(pa.int64()).to_pylist()
    for web_id, name, path, server, future, deleted_at in zip(*columns, gone, strict=True):
        yield KnownTag(web_id, name or web_id, path or "", server or "", deleted_at, bool(future))


class Selection:
    """Which points a configuration selects, as far as can be said without asking PI."""

    def __init__(self, extraction: Extraction, points: Mapping[str, KnownTag]) -> None:
        named = [parse_tag(text) for text in extraction.tags]
        self._web_ids = {ref.text for ref in named if ref.kind is TagText.WEB_ID}
        self._names = {ref.text.casefold() for ref in named if ref.kind is not TagText.WEB_ID}
        self._matches = matcher(extraction.tag_name_filter)
        self._server = (extraction.data_server or "").casefold()
        # The configuration may name a point by a WebID of another form than the tables do.
        self._all_known = self._web_ids <= points.keys()

    def has(self, point: KnownTag | None) -> bool | None:
        """Whether a point is selected; None: it may be, by a WebID that is not told apart here."""
        if point is None:
            return None
        here = not self._server or point.data_server.casefold() == self._server
        path = point.path or tag_path(point.data_server, point.name)
        if point.web_id in self._web_ids or path.casefold() in self._names:
            return True
        if here and (self._matches(point.name) or point.name.casefold() in self._names):
            return True
        return False if self._all_known else None


def part_marks(extraction: Extraction, marks: Mapping[str, Watermark], known: Iterable[KnownTag]) -> Parted:
    """Part the watermarks of a pipeline. Pure.

    A point without a watermark counts as never read only on a server of which others have been read: pi_tags may
    hold points of other pipelines, and other servers.
    """
    points = {tag.web_id: tag for tag in known}
    selected = Selection(extraction, points)
    present: dict[str, Watermark] = {}
    away: list[Away] = []
    for web_id, mark in marks.items():
        point = points.get(web_id)
        if point is None or (not point.gone and selected.has(point) is not False):
            present[web_id] = mark
        else:
            upto = mark.present if mark.low < mark.high else None
            away.append(Away(web_id, point.name, point.deleted_at, upto))
    servers = {points[web_id].data_server for web_id in marks if web_id in points}
    unread = (
        point
        for web_id, point in points.items()
        if web_id not in marks and not point.gone and point.data_server in servers and selected.has(point)
    )
    return Parted(present, tuple(sorted(away, key=_newest_first)), sum(1 for _ in unread))


def _newest_first(tag: Away) -> tuple[bool, Micros, str]:
    """Those that were deleted before those that are not selected, and the newest of each first."""
    since = tag.read_up_to if tag.deleted_at is None else tag.deleted_at
    return (tag.deleted_at is None, -(since or 0), tag.name)
