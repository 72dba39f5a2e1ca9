"""The dataset `point_attributes`: the column `attributes` of pi_tags, what `extraction.point_attributes` chooses.

Each point takes a request, many of which go in one batch. A point that could not be read keeps what the table holds of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from config.errors import UnavailableError
from writers import PI_TAGS, sync_point_attributes

from ..piweb.attribute_tags import ATTRIBUTE
from ..piweb.http import Response
from ..piweb.point_attributes import decode_point_attributes
from ..piweb.problems import error_for
from ..piweb.requests import point_attributes
from .asset_reader import AssetReader
from .dataset import SyncContext, SyncedDataset, SyncResult
from .tag_mirror import TAGS

# Answers of so many points are held at a time.
_POINTS_AT_ONCE = 2000
_BAD_REQUEST = 400
_WHAT = "asking for the attributes of points"
_SCHEMA = pa.schema([PI_TAGS.schema.field(name) for name in ("tag_webid", "attributes")])


@dataclass(slots=True)
class _Read:
    """What was read: rows, the reasons for what was not, each with the number of points, and which names were found."""

    rows: list[dict[str, object]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    found: set[str] = field(default_factory=set)


class _Reader:
    """Reads the attributes of points."""

    def __init__(self, context: SyncContext) -> None:
        self._reader = AssetReader(
            context.client, context.base_url, context.mode, batch_size=context.extraction.batch_size
        )
        self._wanted = tuple(dict.fromkeys(name.lower() for name in context.extraction.point_attributes))
        has_patterns = any(char in name for name in self._wanted for char in "*?")
        # Only whole names can be asked for.
        self._names = () if has_patterns else self._wanted

    async def read(self, web_ids: Sequence[str]) -> _Read:
        """Raises what asking for a batch raises."""
        read = _Read()
        for first in range(0, len(web_ids), _POINTS_AT_ONCE):
            await self._read_some(web_ids[first : first + _POINTS_AT_ONCE], read)
        return read

    async def _read_some(self, web_ids: Sequence[str], read: _Read) -> None:
        answers = dict(zip(web_ids, await self._asked(web_ids, self._names), strict=True))
        # Points of another class may lack one of the names: the server refuses all of them then.
        refused = [web_id for web_id, answer in answers.items() if self._names and answer.status == _BAD_REQUEST]
        if refused:
            answers |= zip(refused, await self._asked(refused, ()), strict=True)
        for web_id, answer in answers.items():
            self._take(web_id, answer, read)

    async def _asked(self, web_ids: Sequence[str], names: Sequence[str]) -> Sequence[Response]:
        return await self._reader.many([point_attributes(web_id, names) for web_id in web_ids], _WHAT)

    def _take(self, web_id: str, answer: Response, read: _Read) -> None:
        try:
            error = error_for(answer, _WHAT, tags=1)
            if error is not None:  # also of a point that is gone: it was listed a moment ago
                read.reasons[error.message] += 1
                return
            found = decode_point_attributes(answer.body, self._wanted)
        except UnavailableError as error:
            read.reasons[error.message] += 1
            return
        read.reasons.update(set(found.unread))
        read.found.update(found.texts)
        read.rows.append({"tag_webid": web_id, "attributes": sorted(found.texts.items())})

    def not_found(self, read: _Read) -> list[str]:
        """Names that no point has, although points were read."""
        return [name for name in self._names if name not in read.found] if read.rows else []


async def _sync(context: SyncContext) -> SyncResult | None:
    """Bring the attributes of the points of this shard up to date. None where there is no point, or the run stops."""
    rows = context.inventory.rows
    if not rows.num_rows:
        return None
    points = rows.filter(pc.not_equal(pc.fill_null(rows["point_class"], ""), ATTRIBUTE))
    reader = _Reader(context)
    read = await context.stop.unless_asked(reader.read(points["tag_webid"].to_pylist()))
    if read is None:
        return None
    write = partial(
        sync_point_attributes,
        context.lakehouse,
        pa.Table.from_pylist(read.rows, _SCHEMA),
        now=context.inventory.server_now,
        on_step=context.on_step,
    )
    receipt = await context.blocking(write)
    unread = [
        (f"attributes of {number:,} point{'s' if number > 1 else ''}", why)
        for why, number in read.reasons.most_common()
    ]
    unread += [(f"attribute {name!r}", "no point has an attribute of this name") for name in reader.not_found(read)]
    return SyncResult(added=receipt.added, changed=receipt.changed, missing=receipt.missing, unread=tuple(unread))


POINT_ATTRIBUTES = SyncedDataset(
    name="point_attributes",
    tables=(PI_TAGS,),
    needs=(TAGS.name,),
    sync=_sync,
    beside_values=True,
    is_wanted=lambda config: bool(config.extraction.point_attributes),
    wanted_by="extraction.point_attributes",
)
