"""What a run reads: windows and plans, made of configuration, watermarks and the server's clock. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from types import MappingProxyType

import numpy as np

from config import Config
from writers import Digest, Hole, Watermark, WatermarkStore

from ..datasets.request_mode import SAMPLE_TAGS, SAMPLE_VALUES, Mode
from ..model import Ask, Micros, Tag, Window
from ..piweb.times import iso_text
from ..plan.future_data import end_ahead, lookback_ahead
from ..plan.grid import readable_window
from ..plan.overlap import DIGEST_MASK, WatermarkState, final_until, overlap_of, window_to_sum
from ..plan.planner import Plan
from ..plan.run_scope import RunScope, window_of
from ..plan.tag_classes import TagClass, class_of
from ..plan.tag_cursor import GapKind, RequestLimits, TagCursor, cursors_for

_MICRO = timedelta(microseconds=1)
_HOUR = 3_600_000_000
_NO_ROWS = Digest()


def limits_of(config: Config, mode: Mode) -> RequestLimits:
    return RequestLimits(
        tags_per_request=config.extraction.batch_size,
        values_per_answer=config.performance.values_per_answer,
        max_count_per_tag=config.extraction.max_count_per_tag,
        one_window=mode is not Mode.BATCH,
    )


def wanted_window(config: Config, watermark: Watermark | None, now: Micros, horizon: Micros | None = None) -> Window:
    """The window of a single tag, as `wanted_windows` has it."""
    return wanted_windows(config, now)(watermark, horizon, None)


def wanted_windows(config: Config, now: Micros) -> Callable[[Watermark | None, Micros | None, Micros | None], Window]:
    """Give a function: the window of a tag that shall be done after this run. `now` is the server's clock.

    Incremental: from the watermark on, or from start_date for a tag without one. Full: from start_date to end_date,
    also what is done already.
    Beside the watermark it takes `horizon`, how far ahead of now a tag is read that stores future data, and `start_at`,
    which is used instead of start_date.
    """
    extraction = config.extraction
    present = now - extraction.lag // _MICRO
    latest = None if extraction.end_date is None else extraction.end_date.micros(now)
    earliest = extraction.start_date.micros(now)
    incremental = extraction.mode == "incremental"

    def wanted(watermark: Watermark | None, horizon: Micros | None, start_at: Micros | None) -> Window:
        until = present
        if horizon is not None:
            until = end_ahead(until, now + horizon if horizon else None, watermark.high if watermark else None)
        if latest is not None and latest < until:
            until = latest
        start = earliest if start_at is None else start_at
        if incremental and watermark is not None:
            start = watermark.high
        return Window(min(start, until), until)

    return wanted


def sample_of(config: Config, tags: Sequence[Tag], watermarks: WatermarkStore, now: Micros) -> list[Ask]:
    """Small asks, to try out how the server is to be asked: a few values of the first tags.

    All have the same window, as a streamset needs it: that of the first tag, or the last hour if it is empty.
    """
    some = tags[:SAMPLE_TAGS]
    if not some:
        return []
    [watermark] = watermarks.each([some[0].web_id])
    wanted = wanted_window(config, watermark, now)
    start = wanted.start if wanted.start < wanted.end else wanted.end - _HOUR
    return [Ask(tag, start, wanted.end, SAMPLE_VALUES) for tag in some]


def count_complete(config: Config, tags: Iterable[Tag], watermarks: WatermarkStore, wanted: Window) -> int:
    """How many tags are complete up to the end of the wanted window."""
    start = wanted.start if config.extraction.mode == "full" else 1 << 62
    found = watermarks.chosen([tag.web_id for tag in tags])
    return int(((found.low <= start) & (found.high >= wanted.end)).sum())


def windows_to_digest(config: Config, tags: Sequence[Tag], watermarks: WatermarkStore) -> dict[str, tuple[int, int]]:
    """By WebID, the windows in which a run compares the table with the source: it needs the digest of their rows."""
    class_named, lag = class_of(config.extraction), _micros(config.extraction.lag)
    windows: dict[str, tuple[int, int]] = {}
    for tag, watermark in _looked_up(tags, watermarks):
        if watermark is None:
            continue
        known = _after_holes(_known(watermark), watermarks.holes.get(tag.web_id, ()))
        window = window_to_sum(known, _lookback(tag, class_named(tag.name), lag, watermark))
        if window is not None:
            windows[tag.web_id] = (window.start, window.end)
    return windows


def plan_of(
    config: Config,
    tags: Sequence[Tag],
    watermarks: WatermarkStore,
    digests: Mapping[str, Digest],
    *,
    now: Micros,
    limits: RequestLimits,
    scope: RunScope = RunScope.ALL,
    suspects: Iterable[tuple[Tag, Window]] = (),
    holes_due_at: Micros | None = None,
    keeps_holes: bool = True,
    replaces: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """The plan of reading one scope of these tags, where `now` is the server's clock.

    `digests`: of the rows in `windows_to_digest`; none for no rows.
    `limits`: how much a request may ask for.
    `suspects`: windows that are read again with the rest.
    `holes_due_at`: now by this machine's clock: holes that are due then are read, too. Without it no hole is.
    `replaces`: which point was created anew in the place of which other one.
    """
    present = now - _micros(config.extraction.lag)
    if scope in {RunScope.ALL, RunScope.FORWARD}:
        ahead = [(tag, window) for tag, window, _ in watermarks_ahead(tags, watermarks, now, until=present)]
        suspects = [*suspects, *((tag, window) for tag, window in ahead if window.start < window.end)]
    maker = _CursorMaker(
        wanted_windows(config, now),
        config.extraction.backfill_order == "newest",
        watermarks,
        digests,
        scope=scope,
        now=now,
        present=present,
        starts=_starts_of_recreated(config, watermarks, replaces, now),
        holes_due_at=holes_due_at,
        assumed_rate=1 / _micros(config.extraction.assumed_interval),
        class_of=class_of(config.extraction),
    )
    cursors = chain.from_iterable(maker.cursors(tag, watermark) for tag, watermark in _looked_up(tags, watermarks))
    repairs = _repair_cursors(config, _without_holes(suspects, watermarks), watermarks)
    return Plan(chain(cursors, repairs), limits, present=present, keeps_holes=keeps_holes)


@dataclass(frozen=True, slots=True)
class _CursorMaker:
    """Makes the cursors of tags. All it needs of the configuration is looked up once."""

    wanted: Callable[[Watermark | None, Micros | None, Micros | None], Window]
    newest_first: bool
    watermarks: WatermarkStore
    digests: Mapping[str, Digest]
    scope: RunScope
    now: Micros
    present: Micros
    starts: Mapping[str, Micros]  # by WebID, where a tag begins that does not begin at start_date
    holes_due_at: Micros | None
    assumed_rate: float
    class_of: Callable[[str], TagClass]

    def cursors(self, tag: Tag, watermark: Watermark | None) -> Sequence[TagCursor]:
        """Give the cursors that read what is new, and compare what is recent; and those for holes."""
        tag_class = self.class_of(tag.name)
        done = None if watermark is None or watermark.low >= watermark.high else Window(watermark.low, watermark.high)
        window = self._window(tag, tag_class, watermark, done)
        if window is None:
            return ()
        holes, lookback, known, overlap = self.watermarks.holes.get(tag.web_id, ()), 0, None, None
        if watermark is not None:
            lookback = _lookback(tag, tag_class, self.now - self.present, watermark)
            known = _after_holes(_known(watermark), holes)
            overlap = overlap_of(known, lookback, self.digests.get(tag.web_id, _NO_ROWS).total)
        found = cursors_for(
            tag,
            window,
            done,
            rows_done=watermark.rows_total if watermark else 0,
            assumed_rate=self.assumed_rate if tag.sampling is None else 1 / tag.sampling.interval,
            overlap=overlap,
            compared_from=None if known is None else known.low,
        )
        if not holes or done is None or watermark is None or self.scope is RunScope.BACKFILL:
            return found
        due = self._due_holes(tag, watermark, holes)
        return (*found, *due, *self._between_holes(tag, watermark, holes, lookback))

    def _window(self, tag: Tag, tag_class: TagClass, watermark: Watermark | None, done: Window | None) -> Window | None:
        horizon = tag_class.horizon_micros or 0 if tag.future else None
        wanted = self.wanted(watermark, horizon, self.starts.get(tag.web_id))
        if (sampling := tag.sampling) is not None:
            settled = self.present - tag_class.lookback_micros
            wanted = readable_window(wanted, settled, interval=sampling.interval, reach=sampling.reach, done=done)
        return window_of(self.scope, wanted, done, newest_first=self.newest_first, present=self.present)

    def _due_holes(self, tag: Tag, watermark: Watermark, holes: Sequence[Hole]) -> Iterator[TagCursor]:
        if self.holes_due_at is None:
            return
        for hole in holes:
            inside = watermark.low <= hole.start and hole.end <= watermark.high
            if inside and hole.ask_at <= self.holes_due_at:
                cursor = _repair_cursor(tag, watermark, hole.start, hole.end, self.assumed_rate, kind=GapKind.HOLE)
                cursor.hole_attempts = hole.attempts
                yield cursor

    def _between_holes(
        self, tag: Tag, watermark: Watermark, holes: Sequence[Hole], lookback: Micros
    ) -> Iterator[TagCursor]:
        """Compare what lies before and between holes, as far as it would be compared without them."""
        overlap = overlap_of(_known(watermark), lookback, 0)
        at = watermark.high if overlap is None else overlap.start
        for hole in holes:
            if at < hole.start:
                yield _repair_cursor(tag, watermark, at, hole.start, self.assumed_rate)
            at = max(at, hole.end)


def repairs_of(
    config: Config, suspects: Iterable[tuple[Tag, Window]], watermarks: Mapping[str, Watermark], limits: RequestLimits
) -> Plan:
    """The plan of reading windows again, as far as they are done, to replace what the table holds.

    What cannot be read stays as it is, and its tag fails: a repair cannot write down holes.
    """
    return Plan(_repair_cursors(config, suspects, watermarks), limits, keeps_holes=False)


def split_final(
    config: Config, suspects: Iterable[tuple[Tag, Window]], watermarks: Mapping[str, Watermark]
) -> tuple[list[tuple[Tag, Window]], list[tuple[Tag, Window]]]:
    """Cut windows to what is done, and split them into final ones, which no run compares again, and recent ones, which
    every run compares.
    """
    end_of = final_ends(config, watermarks)
    final: list[tuple[Tag, Window]] = []
    recent: list[tuple[Tag, Window]] = []
    for tag, window in suspects:
        watermark = watermarks.get(tag.web_id)
        if watermark is None:
            continue
        end = end_of(tag)
        final.append((tag, Window(max(window.start, watermark.low), min(window.end, end))))
        recent.append((tag, Window(max(window.start, end), min(window.end, watermark.high))))
    return [s for s in final if s[1].start < s[1].end], [s for s in recent if s[1].start < s[1].end]


def final_ends(config: Config, watermarks: Mapping[str, Watermark]) -> Callable[[Tag], Micros]:
    """Give a function: the end of what is final of a tag with a watermark. No run compares it again by itself."""
    class_named, lag = class_of(config.extraction), _micros(config.extraction.lag)

    def end_of(tag: Tag) -> Micros:
        watermark = watermarks[tag.web_id]
        return final_until(_known(watermark), _lookback(tag, class_named(tag.name), lag, watermark))

    return end_of


def _repair_cursors(
    config: Config, suspects: Iterable[tuple[Tag, Window]], watermarks: Mapping[str, Watermark]
) -> Iterator[TagCursor]:
    assumed_rate = 1 / _micros(config.extraction.assumed_interval)
    for tag, window in suspects:
        watermark = watermarks.get(tag.web_id)
        if watermark is None:
            continue
        start, end = max(window.start, watermark.low), min(window.end, watermark.high)
        if start < end:
            holds_last = end == watermark.high and (watermark.last_event is None or watermark.last_event >= start)
            kind = GapKind.END_REPAIR if holds_last else GapKind.REPAIR
            yield _repair_cursor(tag, watermark, start, end, assumed_rate, kind=kind)


def _repair_cursor(
    tag: Tag, watermark: Watermark, start: Micros, end: Micros, assumed_rate: float, *, kind: GapKind = GapKind.REPAIR
) -> TagCursor:
    return TagCursor(
        tag,
        start,
        end,
        kind,
        rate=watermark.rows_total / (watermark.high - watermark.low) or assumed_rate,
        low=watermark.low,
        high=watermark.high,
    )


def _after_holes(known: WatermarkState, holes: Sequence[Hole]) -> WatermarkState:
    """What is known of a tag after its last hole: only that is compared at once."""
    if not holes:
        return known
    low = max(min(hole.end, known.high) for hole in holes)
    if low <= known.low:
        return known
    known_last = known.last_event is not None and known.last_event >= low
    return WatermarkState(low, known.high, *((known.last_event, known.last_digest) if known_last else (None, None)))


def _without_holes(suspects: Iterable[tuple[Tag, Window]], watermarks: WatermarkStore) -> Iterator[tuple[Tag, Window]]:
    """The windows without known holes, which are asked for on a schedule of their own."""
    for tag, window in suspects:
        at = window.start
        for hole in watermarks.holes.get(tag.web_id, ()):
            if hole.start < window.end and at < hole.end:
                if at < hole.start:
                    yield tag, Window(at, hole.start)
                at = hole.end
        if at < window.end:
            yield tag, Window(at, window.end)


def _lookback(tag: Tag, tag_class: TagClass, lag: Micros, watermark: Watermark) -> Micros:
    """How far before `high` every run compares a tag. Of future data all that is still ahead is compared, too."""
    return (
        lookback_ahead(tag_class, lag, watermark.high, watermark.ahead_from)
        if tag.future
        else tag_class.lookback_micros
    )


def _looked_up(tags: Sequence[Tag], watermarks: WatermarkStore) -> Iterable[tuple[Tag, Watermark | None]]:
    return zip(tags, watermarks.each(tag.web_id for tag in tags), strict=True)


def watermarks_ahead(
    tags: Sequence[Tag], watermarks: WatermarkStore, now: Micros, *, until: Micros | None = None, by: Micros = 0
) -> list[tuple[Tag, Window, str]]:
    """Tags whose watermark lies ahead of the server's clock by more than `by`, because a clock was ahead once.

    A watermark never goes back, and nothing new is read until time has caught up with it. Until then each run compares
    the window from the last event on. Gives the tag, that window, and a sentence for people.
    """
    web_ids = [tag.web_id for tag in tags]
    indices = watermarks.row_indices(web_ids)
    ahead = np.flatnonzero((indices >= 0) & (watermarks.columns.present[indices] > now + by)) if len(watermarks) else ()
    found = []
    for place in map(int, ahead):
        tag = tags[place]
        watermark = watermarks[tag.web_id]
        if watermark.low >= watermark.high:
            continue
        last = watermark.low if watermark.last_event is None else max(watermark.low, watermark.last_event)
        end = now if until is None else until
        why = (
            f"its watermark {iso_text(watermark.present)} lies ahead of the server's clock ({iso_text(now)}): a clock was "
            f"ahead once. What comes from {iso_text(min(last, end))} on is read in each run, until that time has come; "
            "`rebuild-watermarks` puts the watermark right"
        )
        found.append((tag, Window(min(last, end), end), why))
    return found


def _starts_of_recreated(
    config: Config, watermarks: WatermarkStore, replaces: Mapping[str, str], now: Micros
) -> Mapping[str, Micros]:
    """By WebID, where points that were created anew begin, if they continue the old ones."""
    if config.extraction.recreated_tags != "continue":
        return {}
    starts: dict[str, Micros] = {}
    for web_id in replaces:
        old, seen = replaces[web_id], {web_id}
        # An old one may have been replaced itself before it was read.
        while old not in watermarks and old not in seen and old in replaces:
            seen.add(old)
            old = replaces[old]
        watermark = watermarks.get(old)
        if watermark is not None and watermark.low < watermark.high:
            last = watermark.low if watermark.last_event is None else watermark.last_event
            starts[web_id] = watermark.high if watermark.high <= now else min(last, now)
    return starts


def _known(watermark: Watermark) -> WatermarkState:
    digest = watermark.last_event_digest
    return WatermarkState(
        watermark.low, watermark.high, watermark.last_event, None if digest is None else digest & DIGEST_MASK
    )


def _micros(span: timedelta | None) -> Micros:
    return 0 if span is None else span // _MICRO
