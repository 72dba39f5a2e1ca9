"""Which tags a configuration selects, as far as the tables show. Does not ask the PI Web API.

Each tag with a watermark is either current or retired. In doubt it is current.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from config import Config
from writers import PI_TAGS, Watermark

from ..model import Micros
from ..piweb.webid import TagText, is_attribute, name_matcher, parse_tag, tag_path
from ..run.connect import lakehouse_of

_COLUMNS = ("tag_webid", "name", "path", "data_server", "future", "point_type", "deleted_at")


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A row of pi_tags. `deleted_at`: when the point was first found missing; None while it exists."""

    web_id: str
    name: str
    path: str
    data_server: str
    deleted_at: Micros | None
    future: bool = False
    point_type: str = ""

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def is_attribute(self) -> bool:
        """Whether it is an attribute of an element, and no point."""
        return is_attribute(self.web_id, self.path)


@dataclass(frozen=True, slots=True)
class RetiredTag:
    """A tag that is read no longer: deleted at the source, or, if `deleted_at` is None, not selected any more.

    Its rows stay.
    """

    web_id: str
    name: str
    deleted_at: Micros | None
    read_up_to: Micros | None


@dataclass(frozen=True, slots=True)
class PipelineTags:
    """Watermarks of the current tags, the retired tags, and the number of selected tags that were never read."""

    watermarks: Mapping[str, Watermark]
    retired: tuple[RetiredTag, ...] = ()
    never_read: int = 0


def known_tags(config: Config) -> list[KnownTag]:
    """All rows of pi_tags; none where the table does not exist yet."""
    table = lakehouse_of(config).table(PI_TAGS)
    if not table.exists():
        return []
    return [tag for batch in table.open().read(_COLUMNS) for tag in _points(batch)]


def _points(batch: pa.RecordBatch) -> Iterator[KnownTag]:
    columns = [batch[name].to_pylist() for name in _COLUMNS[:-1]]
    deleted = batch["deleted_at"].cast(pa.int64()).to_pylist()
    for web_id, name, path, server, future, kind, deleted_at in zip(*columns, deleted, strict=True):
        yield KnownTag(web_id, name or web_id, path or "", server or "", deleted_at, bool(future), kind or "")


class Selection:
    """Which points and attributes a configuration selects, as far as pi_tags shows."""

    def __init__(self, config: Config, points: Mapping[str, KnownTag]) -> None:
        extraction = config.extraction
        self._chooses_attributes = config.chooses_attributes
        named = [parse_tag(text) for text in extraction.tags]
        self._web_ids = {ref.text for ref in named if ref.kind is TagText.WEB_ID}
        self._names = {ref.text.casefold() for ref in named if ref.kind is not TagText.WEB_ID}
        self._matches = name_matcher(extraction.tag_name_filter)
        self._server = (extraction.data_server or "").casefold()
        # A WebID of the configuration that no row has may be another form of one that a row has.
        self._all_known = self._web_ids <= points.keys()

    def has(self, point: KnownTag | None) -> bool | None:
        """Whether a point is selected. None: unknown; another form of its WebID may be in the configuration, or it is an
        attribute that may be chosen by what it is.
        """
        if point is None:
            return None
        here = not self._server or point.data_server.casefold() == self._server
        path = point.path or tag_path(point.data_server, point.name)
        if point.web_id in self._web_ids or path.casefold() in self._names:
            return True
        if point.is_attribute:  # no pattern of names finds one
            return None if self._chooses_attributes or not self._all_known else False
        if here and (self._matches(point.name) or point.name.casefold() in self._names):
            return True
        return False if self._all_known else None


def split_watermarks(config: Config, watermarks: Mapping[str, Watermark], known: Iterable[KnownTag]) -> PipelineTags:
    """Split the watermarks of a pipeline into those of current tags and of retired ones. Pure.

    A point without a watermark counts as never read only if the pipeline has read other points of its data server:
    pi_tags may also hold points of other pipelines and servers.
    """
    points = {tag.web_id: tag for tag in known}
    selected = Selection(config, points)
    current: dict[str, Watermark] = {}
    retired: list[RetiredTag] = []
    for web_id, watermark in watermarks.items():
        point = points.get(web_id)
        if point is None or (not point.deleted and selected.has(point) is not False):
            current[web_id] = watermark
        else:
            read_up_to = watermark.present if watermark.low < watermark.high else None
            retired.append(RetiredTag(web_id, point.name, point.deleted_at, read_up_to))
    servers = {points[web_id].data_server for web_id in watermarks if web_id in points}
    unread = (
        point
        for web_id, point in points.items()
        if web_id not in watermarks and not point.deleted and point.data_server in servers and selected.has(point)
    )
    return PipelineTags(current, tuple(sorted(retired, key=_newest_first)), sum(1 for _ in unread))


def _newest_first(tag: RetiredTag) -> tuple[bool, Micros, str]:
    """Sort key: deleted tags before tags that are not selected, the newest of each first."""
    since = tag.read_up_to if tag.deleted_at is None else tag.deleted_at
    return (tag.deleted_at is None, -(since or 0), tag.name)
