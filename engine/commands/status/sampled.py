"""How far the sampled series of a pipeline are, and their gaps. Does not ask the PI Web API. Pure.

A series counts if the configuration still selects it, as far as pi_tags shows. In doubt one with a watermark does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa

from config import Config
from writers import PI_TAGS, Watermark, WatermarkStore

from ...datasets.sampled import sampled_series, series_id, series_of_tag
from ...datasets.tags import Inventory
from ...model import Micros, Sampling, Tag
from ...plan.gap_ledger import gap_ledger
from ...plan.grid import next_readable, readable_window
from ...plan.tag_classes import class_of
from ...run.plans import wanted_window
from ...telemetry.freshness import Freshness, freshness
from ..selection import KnownTag, Selection
from .gaps import DueTimes, Gaps, progress_of_tag
from .pipeline_progress import LastRun, PipelineProgress, Shards, progress_of

_MICRO = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SampledProgress:
    """The sampled series, summed up. `series`: each by its id. `unread`: how many of them have no watermark. `overdue`: for
    how long the next value of each could have been read.
    """

    series: Mapping[str, Tag]
    progress: PipelineProgress
    overdue: Freshness | None
    holes: int = 0

    @property
    def unread(self) -> int:
        return len(self.series) - self.progress.tags + self.progress.unread


def sampled_progress(
    config: Config, watermarks: WatermarkStore, known: Sequence[KnownTag], now: Micros
) -> SampledProgress:
    """How far the series are that the configuration selects. `now`: this machine's clock."""
    series = current_series(config, watermarks, known)
    mine = {one: watermarks[one] for one in series if one in watermarks}
    overdue = freshness(
        (
            next_readable(mark.high, *_grid(series[one]), waits=_waits(config, series[one]))
            for one, mark in mine.items()
            if mark.low < mark.high
        ),
        now,
    )
    progress = progress_of(mine, now, lambda one: sampling_of(series[one]).interval)
    return SampledProgress(series, progress, overdue, sum(len(watermarks.holes.get(one, ())) for one in mine))


def find_sampled_gaps(
    config: Config,
    watermarks: WatermarkStore,
    series: Mapping[str, Tag],
    now: Micros,
    *,
    runs: Sequence[LastRun] = (),
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
) -> Gaps:
    """The ledger of the series."""
    names = {sampling_of(one).web_id: one.name for one in series.values()}
    class_for = class_of(config.extraction)
    due = DueTimes(_read_at(config, watermarks, series), lambda web_id: class_for(names.get(web_id, "")), runs, shards)
    progress = []
    for series_name, one in series.items():
        watermark, (interval, reach) = watermarks.get(series_name), _grid(one)
        at = due.of(sampling_of(one).web_id, now)
        wanted = readable_window(
            wanted_window(config, watermark, at), at - _waits(config, one), interval=interval, reach=reach
        )
        progress.append(progress_of_tag(config, series_name, watermark, wanted, watermarks.holes.get(series_name, ())))
    return Gaps(gap_ledger(progress), {one: name_of_series(tag) for one, tag in series.items()})


def name_of_series(tag: Tag) -> str:
    return f"{tag.name}, {sampling_of(tag).kind}"


def current_series(config: Config, watermarks: WatermarkStore, known: Iterable[KnownTag]) -> dict[str, Tag]:
    """The series that the configuration selects, each by its id."""
    settings = config.extraction.sampled
    if settings is None:
        return {}
    points = {tag.web_id: tag for tag in known}
    selected = Selection(config, points)
    read: dict[str, list[str]] = {}
    for one in watermarks:
        read.setdefault(one.rsplit("/", 2)[0], []).append(one)
    servers = {points[web_id].data_server for web_id in read if web_id in points}
    tags = []
    for web_id, point in points.items():
        chosen = selected.has(point)
        is_ours = web_id in read or (chosen and point.data_server in servers)
        if is_ours and chosen is not False and not point.deleted:
            tags.append(Tag(web_id, point.name, point_type=point.point_type))
    of_known = sampled_series(config, Inventory(tuple(tags), _NO_ROWS, (), complete=False, server_now=0)).tags
    found = {one.web_id: one for one in of_known}
    interval = settings.interval // _MICRO
    for web_id in read.keys() - points.keys():
        tag = Tag(web_id, web_id)
        for kind in settings.kinds:
            one = series_id(web_id, interval, kind)
            if one in watermarks:
                found |= {one: series_of_tag(tag, interval, kind)}
    return found


def _read_at(config: Config, watermarks: WatermarkStore, series: Mapping[str, Tag]) -> Iterator[tuple[str, Micros]]:
    """By the WebID of its tag, the least that the server's clock showed when a series was read."""
    for one, tag in series.items():
        watermark: Watermark | None = watermarks.get(one)
        if watermark is not None and watermark.low < watermark.high:
            _, reach = _grid(tag)
            yield sampling_of(tag).web_id, watermark.high - 1 + max(1, reach) + _waits(config, tag)


def _waits(config: Config, tag: Tag) -> Micros:
    """How long a value is waited for: lag and lookback."""
    return config.extraction.lag // _MICRO + class_of(config.extraction)(tag.name).lookback_micros


def sampling_of(tag: Tag) -> Sampling:
    """How a series is sampled."""
    assert tag.sampling is not None  # noqa: S101 - each is one of a series
    return tag.sampling


def _grid(tag: Tag) -> tuple[Micros, Micros]:
    sampling = sampling_of(tag)
    return sampling.interval, sampling.reach


_NO_ROWS = pa.Table.from_batches([], PI_TAGS.schema)
