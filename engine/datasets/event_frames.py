"""The dataset `event_frames`: frames, their attributes, the elements that they refer to, and their annotations.

No filter tells which frames have changed. So a run lists those that were active since the last run, less the lookback:
new ones, those that have ended, and all that are open. Frames that the table shows there, and the list does not, are looked
up one by one. Now and then, and with `mode: full`, everything is compared in this way. History is read window by window;
the watermark of a database says how far.

Invariant: what lies below frames lands before them, and frames land together with the watermark. So a run that dies reads
the same again. A frame is deleted only if the server says so of that very one, in an answer that finds one that exists.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from config import Config
from config.errors import ExtractError, SplitError, TagError, TagGoneError, ThrottledError, UnavailableError
from writers import Move, Watermark
from writers.asset_tables import (
    FRAME_TABLES,
    PI_EVENT_FRAME_ANNOTATIONS,
    PI_EVENT_FRAME_ATTRIBUTES,
    PI_EVENT_FRAME_ELEMENTS,
)

from ..model import Micros
from ..piweb import event_frames as frames_of_pi
from ..piweb.assets import Named, decode_item, decode_list, list_path, object_path
from ..piweb.event_frames import Annotations, Frame, FrameValues, frame_fault, frame_of
from ..piweb.http import Response
from ..piweb.members import text
from ..piweb.problems import error_for
from ..piweb.times import iso_text
from ..plan.run_scope import RunScope, shard_of
from .asset_reader import PAGE_SIZE, AssetReader, PathOf, find_databases
from .dataset import Kind, SyncContext, SyncedDataset, SyncResult
from .frame_tables import FrameCounts, FrameTables, KnownFrames, newest_of_others

_log = logging.getLogger("osipi.run")
_DAY: Micros = 86_400_000_000
# History is read in windows that begin with this length, and grow and shrink with the number of frames in them.
_FIRST_WINDOW = 8 * _DAY
_FEW, _MANY = 4_000, 10_000
_LONGEST_WINDOW = 2_000 * _DAY
# So many frames are written at a time, with what lies below them.
_AT_ONCE = 5_000
# A run looks so many missing frames up; the next runs look up the others.
_MOST_LOOKED_UP = 20_000
# So many frames are looked at to find out whether the database had another name.
_ENOUGH_FOR_NAMES = 20


async def _sync(context: SyncContext) -> SyncResult | None:
    """Bring the tables of event frames up to date, by the one shard that reads them. None for the others."""
    if context.shard.index != 0:
        return None
    reader = AssetReader(context.client, context.base_url, context.mode, batch_size=context.extraction.batch_size)
    result = FrameCounts()
    databases, unread = await find_frame_databases(context.config, reader)
    result.unread += unread
    if databases:
        tables = await context.blocking(partial(FrameTables, context, result))
        names = frozenset(one.name for one in databases)
        for database in databases:
            try:
                await _Reading(context, reader, database, names, tables=tables, result=result).run()
            except (TagError, UnavailableError, SplitError, ThrottledError) as error:
                result.unread.append((f"event frames of {database.name}", error.message))
    return SyncResult(added=result.added, changed=result.changed, missing=result.missing, unread=tuple(result.unread))


async def find_frame_databases(config: Config, reader: AssetReader) -> tuple[list[Named], list[tuple[str, str]]]:
    """The databases whose frames are wanted; and those that cannot be found, with the reason."""
    databases: dict[str, Named] = {}
    unread: list[tuple[str, str]] = []
    for wanted in _wanted(config) or ("",):
        try:
            found = await find_databases(reader, (wanted,) if wanted else (), key="event_frames.databases")
            databases.update((one.web_id, one) for one in found)
        except (UnavailableError, TagError) as error:
            unread.append((f"AF database {wanted}".strip(), error.message))
    return list(databases.values()), unread


def _wanted(config: Config) -> tuple[str, ...]:
    """The databases, as the configuration names them."""
    frames, assets = config.event_frames, config.asset_framework
    own = (*frames.databases, *((frames.database,) if frames.database else ()))
    return own or (*assets.databases, *((assets.database,) if assets.database else ()))


# --- which windows to read ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """A time to read in windows, forward or, `behind` what is done, backward."""

    low: Micros
    high: Micros
    behind: bool = False

    def windows(self, length: Callable[[], Micros]) -> Iterator[tuple[Micros, Micros]]:
        """The windows of this span, each as long as `length` says when it begins."""
        if self.behind:
            high = self.high
            while high > self.low:
                low = max(self.low, high - length())
                yield low, high
                high = low
        else:
            low = self.low
            while low < self.high:
                high = min(self.high, low + length())
                yield low, high
                low = high


def spans_of(
    mark: Watermark | None,
    start: Micros,
    end: Micros,
    *,
    lookback: Micros,
    full: bool,
    scope: RunScope = RunScope.ALL,
) -> list[Span]:
    """What is to be read, so that each window touches what is done by then. Pure.

    A forward run begins with the newest day. A backfill goes on from there, and compares what no forward run does.
    """
    if mark is None or mark.low >= mark.high:
        if scope is RunScope.FORWARD:
            start = max(start, (end - 1) // _DAY * _DAY)
        return [Span(start, end)] if start < end and scope is not RunScope.BACKFILL else []
    spans = []
    recent = max(mark.low, mark.high - lookback)
    # With a start that moves along, what lies before it is compared no more; a gap is read all the same.
    low = min(mark.high, max(start, mark.low if full else recent))
    if scope is RunScope.BACKFILL:
        end = min(end, recent) if full else low
    if low < end:
        spans.append(Span(low, end))
    if start < mark.low and scope is not RunScope.FORWARD:
        # Up to what is done, also behind the end: what is done of a database is one window.
        spans.append(Span(start, mark.low, behind=True))
    return spans


def wanted_of(config: Config, now: Micros) -> tuple[Micros, Micros]:
    """From when to when event frames are wanted."""
    extraction = config.extraction
    end = now if extraction.end_date is None else min(now, extraction.end_date.micros(now))
    return extraction.start_date.micros(now), end


def is_compare_due(config: Config, compared: Watermark | None, now: Micros) -> bool:
    """Whether all frames are to be compared again. `compared`: the watermark of the last time."""
    return compared is None or compared.high + micros_of(config.event_frames.full_compare_every) <= now


def compare_mark(database: str) -> str:
    """The name of the watermark that says when the frames of a database were compared in full."""
    return f"{database}/full"


@dataclass(frozen=True, slots=True)
class FrameList:
    """The frames of a window, why some cannot be read, and whether it is known that there are no more."""

    frames: tuple[Frame, ...]
    unreadable: tuple[str, ...]
    proven: bool


async def list_frames(
    config: Config, reader: AssetReader, database: Named, window: tuple[Micros, Micros], *, begun: bool
) -> FrameList:
    """List the frames that are active in a window, or only those that `begun` in it. Raises what asking raises."""
    low, high = window
    found: dict[str, Frame] = {}
    unreadable: tuple[str, ...] = ()
    proven = True
    mode = "StartInclusive" if begun else "Overlapped"
    for template in config.event_frames.templates or ("",):

        def page(start: int, count: int, template: str = template) -> str:
            return frames_of_pi.frames_path(
                database.web_id, low, high, mode=mode, template=template, start=start, count=count
            )

        read = await reader.all(page, f"listing the event frames of {database.name}")
        faults = {one["WebId"]: fault for one in read.items if (fault := frame_fault(one)) is not None}
        found.update((one["WebId"], frame_of(one)) for one in read.items if one["WebId"] not in faults)
        proven = proven and read.proven
        unreadable += (*read.unreadable, *faults.values())
    return FrameList(tuple(found.values()), unreadable, proven)


def windows_about(span: Span) -> int:
    """About how many windows a span is read in, where frames are few."""
    windows, length, left = 0, _FIRST_WINDOW, span.high - span.low
    while left > 0:
        windows, length, left = windows + 1, min(2 * length, _LONGEST_WINDOW), left - length
    return windows


# --- one database ----------------------------------------------------------------------


class _Reading:
    """The frames of one database, read and written."""

    def __init__(
        self,
        context: SyncContext,
        reader: AssetReader,
        database: Named,
        names: Collection[str],
        *,
        tables: FrameTables,
        result: FrameCounts,
    ) -> None:
        self._context = context
        self._reader = reader
        self._database = database
        self._tables = tables
        self._result = result
        self._names = names  # of all databases that are read
        self._known = KnownFrames.of(tables.known, database, (database.name,))
        self._known_parents = self._known.parent_of()
        self._full = False
        self._length = _FIRST_WINDOW
        self._seen: dict[str, str | None] = {}  # what has been written in this run, and the frame above each
        self._links_parents = False  # whether frames are known to link to the one above them
        self._parents: dict[str, str] = {}  # by WebID, from lists of children
        self._types: dict[tuple[str, str], str] | None = None
        self._compared = compare_mark(database.web_id)

    async def run(self) -> None:
        settings, now = self._context.config.event_frames, self._tables.now
        start, end = wanted_of(self._context.config, now)
        mark = self._tables.watermarks.get(self._database.web_id)
        scope, renamed = await self._scope(), await self._earlier_names()
        if renamed:
            self._known = KnownFrames.of(self._tables.known, self._database, (self._database.name, *renamed))
            self._known_parents = self._known.parent_of()
        if mark is None and scope is RunScope.BACKFILL:
            self._result.unread.append((f"event frames of {self._database.name}", "the live run has not begun yet"))
            return
        self._full = scope is not RunScope.FORWARD and (bool(renamed) or self._is_full_due(mark))
        spans = spans_of(mark, start, end, lookback=micros_of(settings.lookback), full=self._full, scope=scope)
        done, wanted = 0, sum(span.high - span.low for span in spans)
        for span in spans:
            begins = True
            for low, high in span.windows(lambda: self._length):
                # Of a window that others precede only what begins in it is new. What goes backward comes to the first last.
                begun = low > span.low if span.behind else not begins
                if not await self._window(low, high, begun=begun) or self._context.stop.asked:
                    return
                begins = False
                done += high - low
                read = f"{len(self._seen):,} event frames of {self._database.name}, {_day(low)} to {_day(high)}"
                self._context.on_progress(read, done / wanted)
        if scope is not RunScope.BACKFILL:
            await self._unsettled()
        if self._full or mark is None:
            before = self._tables.watermarks.get(self._compared)
            await self._write((), (), Move(self._compared, now if before is None else min(before.high, now), now))

    async def _scope(self) -> RunScope:
        """What to read. While a backfill is at work, history is left to it."""
        context = self._context
        if context.scope is not RunScope.ALL:
            return context.scope
        behind = shard_of(RunScope.BACKFILL, str(context.shard))
        lease = context.lakehouse.lease(context.config.pipeline, behind, context.run_id)
        return RunScope.ALL if await context.blocking(lease.holder) is None else RunScope.FORWARD

    async def _earlier_names(self) -> list[str]:
        """Names that the database had before it was renamed: those of frames that lie in it now."""
        newest = newest_of_others(self._tables.known, self._database, self._names, _ENOUGH_FOR_NAMES)
        asked = [(name, web_id) for name, web_ids in newest.items() for web_id in web_ids]
        what = "asking in which database event frames are"
        answers = await self._reader.many([frames_of_pi.frame_path(web_id) for _, web_id in asked], what)
        here = f"{self._database.path}\\".casefold()
        found = [
            name
            for (name, _), answer in zip(asked, answers, strict=True)
            if error_for(answer, what, tags=1) is None
            and (text(decode_item(answer.body), "Path") or "").casefold().startswith(here)
        ]
        return list(dict.fromkeys(found))

    def _is_full_due(self, mark: Watermark | None) -> bool:
        if mark is None:
            return True
        compared = self._tables.watermarks.get(self._compared)
        return self._context.full or is_compare_due(self._context.config, compared, self._tables.now)

    async def _window(self, low: Micros, high: Micros, *, begun: bool) -> bool:
        """Read one window and write it; whether it is known to be whole."""
        listed = await list_frames(self._context.config, self._reader, self._database, (low, high), begun=begun)
        found = {one.web_id: one for one in listed.frames}
        self._result.unread += [(f"event frame of {self._database.name}", why) for why in listed.unreadable]
        missing = self._known.unseen(self._known.active(low, high, begun=begun), found.keys() | self._seen.keys())
        gone, still = await self._look_up(missing, next(iter(found), None))
        frames = await self._completed([one for one in (*found.values(), *still) if one.web_id not in self._seen])
        if not listed.proven:
            self._result.unread.append(
                (f"event frames of {self._database.name}", "the server repeats itself: the list may not be whole")
            )
        source = self._database.web_id
        while len(frames) > _AT_ONCE:
            await self._write(frames[:_AT_ONCE], (), Move(source, low, low))
            frames = frames[_AT_ONCE:]
        await self._write(frames, gone, Move(source, low, high if listed.proven else low))
        if len(found) < _FEW:
            self._length = min(2 * self._length, _LONGEST_WINDOW)
        elif len(found) > _MANY:
            self._length = max(self._length // 2, 1_000_000)
        return listed.proven

    async def _unsettled(self) -> None:
        """Look up frames that were open, or whose values could not be read, and that no list has shown."""
        waiting = self._known.unseen(self._known.unsettled, self._seen)
        if not waiting:
            return
        gone, still = await self._look_up(waiting, None)
        mark = self._tables.watermarks.get(self._database.web_id)
        at = self._tables.now if mark is None else mark.high
        await self._write(await self._completed(still), gone, Move(self._database.web_id, at, at))

    async def _look_up(self, web_ids: Sequence[str], exists: str | None) -> tuple[set[str], list[Frame]]:
        """Ask for frames that a list did not show, each alone: those that are gone, and those that are there.

        `exists` is a frame that is there, if one is known: where it is not found, what is not found proves nothing.
        """
        if not web_ids:
            return set(), []
        web_ids = web_ids[:_MOST_LOOKED_UP]
        control = object_path("assetdatabases", self._database.web_id, ("WebId", "Name"))
        if exists is not None:
            control = frames_of_pi.frame_path(exists)
        what = "looking for event frames that are not in the list"
        answers = await self._reader.many([control, *map(frames_of_pi.frame_path, web_ids)], what)
        is_sound = error_for(answers[0], what, tags=1) is None
        gone: set[str] = set()
        still: list[Frame] = []
        failed: list[ExtractError] = []
        for web_id, answer in zip(web_ids, answers[1:], strict=True):
            error = error_for(answer, what, tags=1)
            try:
                item = decode_item(answer.body) if error is None else {}
            except UnavailableError as unreadable:
                error = unreadable
            if error is None and item.get("WebId") == web_id and (fault := frame_fault(item)) is not None:
                error = UnavailableError(fault)
            if error is None:
                if item.get("WebId") == web_id:
                    still.append(frame_of(item))
            elif isinstance(error, TagGoneError) and is_sound:
                gone.add(web_id)
            else:
                failed.append(error)
        if failed:
            self._note(f"{len(failed):,} event frames of {self._database.name} that are not in the list", failed[0])
        return gone, still

    # --- what servers leave out ---------------------------------------------------------------

    async def _completed(self, frames: Sequence[Frame]) -> list[Frame]:
        """The frames with what some servers do not say in a list: elements, and the frame above.

        Gives also those that were written before the one above them was known.
        """
        found = {one.web_id: one for one in frames}
        bare = [one for one in frames if not one.lists_elements]
        for one, listed in await self._lists(bare, frames_of_pi.elements_path, "listing elements of event frames"):
            found[one.web_id] = frames_of_pi.with_elements(one, listed)
        self._links_parents = self._links_parents or any(one.parent for one in frames)
        if self._links_parents:
            return list(found.values())
        above = [one for one in found.values() if one.has_children]
        children_path = partial(frames_of_pi.children_path, until=self._tables.now)
        for one, listed in await self._lists(above, children_path, "listing children of event frames"):
            self._parents.update(dict.fromkeys(listed, one.web_id))
        late = [one for one, above_it in self._parents.items() if self._seen.get(one, above_it) != above_it]
        _, again = await self._look_up(late, None)
        found.update((one.web_id, one) for one in again)
        return [replace(one, parent=self._parent_of(one.web_id)) for one in found.values()]

    def _parent_of(self, web_id: str) -> str | None:
        """As lists of children say, or as it was where not all are read."""
        return self._parents.get(web_id) or (None if self._full else self._known_parents.get(web_id))

    async def _lists(
        self, frames: Sequence[Frame], path_of: Callable[..., str], what: str
    ) -> list[tuple[Frame, list[str]]]:
        """WebIDs of what a list holds for each of these frames that is still there."""

        def pages(web_id: str) -> PathOf:
            return lambda start, count: path_of(web_id, start=start, count=count)

        reads = await self._reader.lists([pages(one.web_id) for one in frames], what) if frames else []
        pairs = zip(frames, reads, strict=True)
        return [(one, [item["WebId"] for item in read.items]) for one, read in pairs if read is not None]

    # --- what lies below frames -------------------------------------------------------------

    async def _write(self, frames: Sequence[Frame], gone: Collection[str], move: Move) -> None:
        """Read what lies below frames, and write everything."""
        database, tables, blocking = self._database, self._tables, self._context.blocking
        rows = None
        if frames or gone:
            answered, unread = await self._values(frames)
            notes, unread_notes = await self._annotations(frames)
            values, types = await self._typed(answered, unread)
            left = {one.web_id for one in frames}
            below = {
                PI_EVENT_FRAME_ATTRIBUTES.name: frames_of_pi.attribute_rows(values, types),
                PI_EVENT_FRAME_ELEMENTS.name: frames_of_pi.element_rows(frames),
                PI_EVENT_FRAME_ANNOTATIONS.name: frames_of_pi.annotation_rows(notes),
            }
            nothing_else = {
                PI_EVENT_FRAME_ATTRIBUTES.name: {*gone, *(frame.web_id for frame, _ in values)},
                PI_EVENT_FRAME_ELEMENTS.name: {*gone, *left},
                PI_EVENT_FRAME_ANNOTATIONS.name: {*gone, *left} - unread_notes,
            }
            await blocking(partial(tables.write_below, below, nothing_else))
            rows = frames_of_pi.frame_rows(frames, database, unread=unread, now=tables.now)
            self._seen.update((one.web_id, one.parent) for one in frames)
            self._seen.update(dict.fromkeys(gone))
        await blocking(partial(tables.write_frames, rows, gone, move))

    async def _values(self, frames: Sequence[Frame]) -> tuple[list[tuple[Frame, FrameValues]], set[str]]:
        """The values of frames whose values may be others than in the table; and those that could not be read."""
        asked = self._to_read(frames)
        found: list[tuple[Frame, FrameValues]] = []
        failed: dict[str, ExtractError] = {}

        def take(frame: Frame, answer: Response) -> None:
            wanted = self._context.config.event_frames.attributes
            values, unreadable = frames_of_pi.decode_values(answer.body, wanted)
            self._result.unread += [
                (f"attribute of an event frame of {self._database.name}", why) for why in unreadable
            ]
            found.append((frame, values))

        await self._ask(asked, frames_of_pi.values_path, "asking for values of event frames", take, failed)
        return found, set(failed)

    def _to_read(self, frames: Sequence[Frame]) -> list[Frame]:
        """Captured values do not change, and those of a frame that has ended are not worked out anew."""
        if (self._context.full and self._full) or not frames:
            return list(frames)
        known = self._known
        captured = known.captured.to_pylist() if len(known.captured) < len(frames) else None
        wanted = []
        for frame, at in zip(frames, known.indices(frames).tolist(), strict=True):
            is_settled = (
                at >= 0
                and not frame.is_open
                and (known.captured[at].as_py() if captured is None else captured[at]) is frame.captured
                and (known.start[at], known.end[at]) == (frame.start, frame.end)
            )
            if not is_settled:
                wanted.append(frame)
        return wanted

    async def _annotations(self, frames: Sequence[Frame]) -> tuple[list[tuple[Frame, Annotations]], set[str]]:
        found: list[tuple[Frame, Annotations]] = []
        failed: dict[str, ExtractError] = {}

        def take(frame: Frame, answer: Response) -> None:
            found.append((frame, frames_of_pi.decode_annotations(answer.body)))

        annotated = [one for one in frames if one.annotated]
        await self._ask(
            annotated, frames_of_pi.annotations_path, "asking for annotations of event frames", take, failed
        )
        return found, set(failed)

    async def _ask(
        self,
        frames: Sequence[Frame],
        path_of: Callable[[str], str],
        what: str,
        take: Callable[[Frame, Response], None],
        failed: dict[str, ExtractError],
    ) -> None:
        """Ask one thing of each frame. Those of which it could not be read are noted, and asked again by the next run.

        A frame may have been deleted since: that is noted only if the next run finds it all the same.
        """
        answers = await self._reader.many([path_of(one.web_id) for one in frames], what)
        for frame, answer in zip(frames, answers, strict=True):
            error = error_for(answer, what, tags=1)
            try:
                if error is None:
                    take(frame, answer)
                    continue
            except UnavailableError as unreadable:
                error = unreadable
            failed[frame.web_id] = error
        waiting = self._known.waiting
        noted = [one for one in frames if one.web_id in failed]
        noted = [one for one in noted if not isinstance(failed[one.web_id], TagGoneError) or one.web_id in waiting]
        if noted:
            names = f"{noted[0].item.get('Name')}{f' and {len(noted) - 1:,} more' if len(noted) > 1 else ''}"
            self._note(f"{names}, {what} of {self._database.name}", failed[noted[0].web_id])

    async def _types_for(self, values: Sequence[tuple[Frame, FrameValues]]) -> Mapping[tuple[str, str], str]:
        """Types of attributes by template and name, asked for where a text may be a time. A server without them has none.

        Raises what asking raises if the server does not give them this time.
        """
        if self._types is None and any(_has_text(of) for _, of in values):
            types: dict[tuple[str, str], str] = {}
            try:
                await self._read_types(types)
            except TagError as error:
                _log.debug("no types of the attributes of event frames: %s", error)
            self._types = types
        return self._types or {}

    async def _typed(
        self, values: Sequence[tuple[Frame, FrameValues]], unread: set[str]
    ) -> tuple[Sequence[tuple[Frame, FrameValues]], Mapping[tuple[str, str], str]]:
        """The values, and the types of their attributes. Without types, values with texts are `unread`: what is written
        is not asked for again.
        """
        try:
            return values, await self._types_for(values)
        except (UnavailableError, SplitError) as error:
            self._note(f"types of the attributes of event frames of {self._database.name}", error)
            unread.update(frame.web_id for frame, of in values if _has_text(of))
            return [one for one in values if one[0].web_id not in unread], {}

    async def _read_types(self, types: dict[tuple[str, str], str]) -> None:
        of_templates = ("WebId", "Name", "InstanceType")
        path = list_path("assetdatabases", self._database.web_id, "elementtemplates", of_templates, count=PAGE_SIZE)
        page = await self._reader.page(path, "listing templates")
        listed = [one for one in page.items if one.get("InstanceType") == "EventFrame"]
        fields = ("WebId", "Name", "Path", "Type")
        inherited = {"showInherited": "true", "showDescendants": "true"}
        paths = [
            list_path("elementtemplates", one["WebId"], "attributetemplates", fields, parameters=inherited)
            for one in listed
        ]
        for template, answer in zip(listed, await self._reader.many(paths, "asking for templates"), strict=True):
            error = error_for(answer, "asking for templates", tags=1)
            if isinstance(error, TagError):
                continue
            if error is not None:
                raise error
            for one in decode_list(answer.body).items:
                names = str(one.get("Path") or "").partition("|")[2] or str(one.get("Name"))
                types[str(template.get("Name")), names] = str(one.get("Type"))

    def _note(self, what: str, error: ExtractError) -> None:
        if (what, error.message) not in self._result.unread:  # it may be so in every window
            self._result.unread.append((what, error.message))


def _has_text(of: FrameValues) -> bool:
    return any(isinstance(event.get("Value"), str) for event in of.events)


def _day(at: Micros) -> str:
    return iso_text(at)[:10]


def micros_of(duration: timedelta) -> Micros:
    return duration // timedelta(microseconds=1)


EVENT_FRAMES = SyncedDataset(
    name="event_frames",
    kind=Kind.KEYED,
    tables=FRAME_TABLES,
    sync=_sync,
    beside_values=True,
    must_be_whole=True,
    is_wanted=lambda config: config.event_frames.enabled,
    wanted_by="event_frames.enabled",
    has_history=True,
    interval_of=lambda config: config.event_frames.interval,
)
