"""Compares the table of event frames with the source. Writes nothing.

Only what is settled is compared: frames that have ended, up to where every run compares again. Their attributes are not
asked for: captured values do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from config import Config
from config.errors import SplitError, TagError, TagGoneError, ThrottledError, UnavailableError
from writers import Lakehouse, Watermark
from writers.asset_tables import PI_EVENT_FRAMES
from writers.row_hash import row_hashes

from ..model import Micros, Window
from ..piweb.assets import Named
from ..piweb.event_frames import Frame, frame_path, frame_rows
from ..piweb.problems import error_for
from .asset_reader import AssetReader
from .event_frames import Span, find_frame_databases, list_frames, micros_of, wanted_of
from .frame_tables import of_server

# What some servers leave out of lists is not compared: the frame above, and elements. Values may be read later.
_LEFT_OUT = {"parent_webid", "primary_element_webid", "referenced_element_webids", "values_captured"}
_WINDOW: Micros = 64 * 86_400_000_000
_OWN = {"first_seen", "last_updated", "deleted_at"}
_COMPARED = tuple(name for name in PI_EVENT_FRAMES.schema.names if name not in _LEFT_OUT | _OWN)


@dataclass(frozen=True, slots=True)
class FramesCheck:
    """What was found of one AF database: how many frames were compared, and the names of those that differ.

    `missing`: the table does not have them. `changed`: it shows something else. `gone`: the source does not have them any
    more. `unread`: what could not be compared, and why.
    """

    database: str
    window: Window
    frames: int = 0
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return not (self.missing or self.changed or self.gone or self.unread)


async def check_frames(
    config: Config, reader: AssetReader, lakehouse: Lakehouse, marks: Mapping[str, Watermark], now: Micros
) -> list[FramesCheck]:
    """Compare each database. `marks`: the watermarks of event frames; `now`: the server's clock."""
    databases, unread = await find_frame_databases(config, reader)
    found = [FramesCheck(name, Window(0, 0), unread=(why,)) for name, why in unread]
    for database in databases:
        window = _settled(config, marks.get(database.web_id), now)
        if window is None:
            continue
        try:
            found.append(await _check(config, reader, lakehouse, database, window=window))
        except (TagError, UnavailableError, SplitError, ThrottledError) as error:
            found.append(FramesCheck(database.name, window, unread=(error.message,)))
    return found


def _settled(config: Config, mark: Watermark | None, now: Micros) -> Window | None:
    """What is done, and is compared by no run but a full one."""
    if mark is None:
        return None
    start, _ = wanted_of(config, now)
    low, high = max(start, mark.low), mark.high - micros_of(config.event_frames.lookback)
    return Window(low, high) if low < high else None


async def _check(
    config: Config, reader: AssetReader, lakehouse: Lakehouse, database: Named, *, window: Window
) -> FramesCheck:
    stored = _stored(lakehouse, database, window)
    hashes = dict(zip(stored["event_frame_webid"].to_pylist(), _hashes(stored), strict=True))
    seen: set[str] = set()
    compared = 0
    missing: list[str] = []
    changed: list[str] = []
    unread: list[str] = []
    for low, high in Span(window.start, window.end).windows(lambda: _WINDOW):
        listed = await list_frames(config, reader, database, (low, high), begun=low > window.start)
        unread += listed.unreadable
        frames = [
            one for one in listed.frames if one.web_id not in seen and one.end is not None and one.end < window.end
        ]
        compared += len(frames)
        rows = frame_rows(frames, database, unread=(), now=0)
        for one, row in zip(frames, _hashes(rows), strict=True):
            if one.web_id not in hashes:
                missing.append(_name(one))
            elif hashes[one.web_id] != row:
                changed.append(_name(one))
        seen.update(one.web_id for one in listed.frames)
    gone = await _gone(
        reader, stored.filter(pc.invert(pc.is_in(stored["event_frame_webid"], pa.array(sorted(seen), pa.string()))))
    )
    return FramesCheck(database.name, window, compared, tuple(missing), tuple(changed), tuple(gone), tuple(unread))


def _name(frame: Frame) -> str:
    return f"{frame.item.get('Name')} ({frame.web_id})"


def _stored(lakehouse: Lakehouse, database: Named, window: Window) -> pa.Table:
    """Living rows of a database whose frames have ended within the window."""
    rows = lakehouse.table(PI_EVENT_FRAMES).open().read((*_COMPARED, "deleted_at")).read_all()
    rows = of_server(
        rows.filter(pc.and_(pc.is_null(rows["deleted_at"]), pc.equal(rows["database"], database.name))), database
    )
    ended = rows["end_time"].cast(pa.int64())
    inside = pc.and_(pc.greater_equal(ended, window.start), pc.less(ended, window.end))
    return rows.filter(pc.fill_null(inside, False))


def _hashes(rows: pa.Table) -> list[int]:
    """Of what is compared of each row."""
    schema = PI_EVENT_FRAMES.schema
    same = pa.table([rows[name].cast(schema.field(name).type) for name in _COMPARED], list(_COMPARED)).combine_chunks()
    return [one for batch in same.to_batches() for one in row_hashes(batch, _COMPARED).tolist()]


async def _gone(reader: AssetReader, rows: pa.Table) -> Sequence[str]:
    """Names of those that the server does not know any more."""
    web_ids = rows["event_frame_webid"].to_pylist()
    what = "looking for event frames that are not in the list"
    answers = await reader.many([frame_path(one) for one in web_ids], what) if web_ids else []
    return [
        f"{name} ({web_id})"
        for web_id, name, answer in zip(web_ids, rows["event_name"].to_pylist(), answers, strict=True)
        if isinstance(error_for(answer, what, tags=1), TagGoneError)
    ]
