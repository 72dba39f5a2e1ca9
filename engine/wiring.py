"""From a configuration to the parts of a run: the source, the tables, the limits, the plan.

What a command needs without running (plan, tags, status, check) is here, too. Reads no file itself.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from types import MappingProxyType

import numpy as np

from config import Config, properties_of, resolve_secrets, tidied, uses_simulator
from config.errors import ConfigurationError
from writers import Digest, Hole, Lakehouse, Marks, Names, Watermark, open_lakehouse
from writers.checkpoint import decode, merge_stream
from writers.tables import PI_WATERMARKS
from writers.unity import open_unity

from .abandon import abandonable
from .clock import wall_micros
from .datasets.recorded import SAMPLE_TAGS, SAMPLE_VALUES, Mode
from .model import Ask, Micros, Tag, Window
from .net.auth import auth_from
from .net.client import ClientSettings, PIClient
from .piweb.times import iso_text
from .plan.ahead import end_ahead, lookback_ahead
from .plan.classes import TagClass, class_of
from .plan.lanes import Limits, Reading, readings_for
from .plan.overlap import MASK, Known, overlap_of, settled_until, window_to_sum
from .plan.parts import Part, window_of
from .plan.planner import Plan
from .plan.shards import Shard

__all__ = [
    "DATASET",
    "Connection",
    "at_end",
    "beyond_now",
    "connect",
    "lakehouse_of",
    "limits_of",
    "parted",
    "plan_of",
    "repairs_of",
    "sample_of",
    "settled_ends",
    "target_of",
    "wanted_window",
    "watermarks_of",
    "windows_to_sum",
]

# The name of recorded values in the checkpoint table.
DATASET = "recorded"
_log = logging.getLogger("osipi.config")
_MICRO = timedelta(microseconds=1)
_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Connection:
    """A source that can be asked."""

    client: PIClient
    url: str


@asynccontextmanager
async def connect(config: Config, shard: Shard = Shard()) -> AsyncIterator[Connection]:  # noqa: B008 - a frozen value
    """Log in to the PI Web API of the configuration, or start the embedded simulator and use that.

    Secrets are looked up here, as late as possible. A shard takes its share of the rate.
    """
    async with AsyncExitStack() as stack:
        config = await abandonable(partial(resolve_secrets, config))
        pi, warnings = tidied(config.pi_web_api)
        for warning in warnings:
            _log.warning("%s", warning)
        url = pi.url or ""
        if uses_simulator(config):
            url = await stack.enter_async_context(_simulator(config))
        settings = ClientSettings(
            url=url,
            auth=auth_from(pi.model_copy(update={"url": url})),
            ca_bundle=str(pi.ca_bundle) if pi.ca_bundle else None,
            verify_tls=pi.verify_tls,
            timeout_secs=pi.timeout.total_seconds(),
            max_requests_per_second=pi.max_requests_per_second / shard.count,
            max_in_flight=max(1, pi.max_in_flight // shard.count),
            max_url_chars=pi.max_url_chars,
            max_request_bytes=pi.max_request_bytes,
            retry_attempts=config.retry.max_attempts,
            retry_initial_wait_secs=config.retry.initial_wait.total_seconds(),
            retry_max_wait_secs=config.retry.max_wait.total_seconds(),
        )
        yield Connection(await stack.enter_async_context(PIClient(settings)), url)


def _simulator(config: Config) -> AbstractAsyncContextManager[str]:
    """The simulator inside this process, as configured."""
    from .simulator import FaultPlan, FaultPlanError, Simulator, SimulatorOptions

    settings = config.development.simulator
    assert settings is not None  # noqa: S101 - uses_simulator has said so
    midnight = datetime.fromtimestamp(wall_micros() / 1e6, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begin = midnight - timedelta(days=1 + settings.history.days)
    try:
        options = SimulatorOptions(
            tags=settings.tags,
            seed=settings.seed,
            begin=begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
            future_tags=settings.future_tags,
            faults=FaultPlan.load(settings.faults) if settings.faults else FaultPlan(),
        )
        return Simulator(options).serve()
    except FaultPlanError as error:
        raise ConfigurationError(
            f"$.development.simulator.faults: {error}", hint="Correct the plan, or leave it out."
        ) from error


def lakehouse_of(config: Config) -> Lakehouse:
    """Where the tables live: under a root, else in Unity Catalog. Blocks where its options name secrets.

    Who we are to the catalog is found out by the Databricks SDK: a job's identity, a profile, the environment.
    Raises `ConfigurationError`, `AuthenticationError`.
    """
    if config.storage.options:
        config = resolve_secrets(config)
    uc = config.unity_catalog
    names = Names(
        catalog=uc.catalog,
        schema=uc.schema_name,
        checkpoint_schema=uc.checkpoint_schema,
        monitoring_schema=uc.monitoring_schema,
        tables={
            "pi_timeseries": uc.tables.timeseries,
            "pi_tags": uc.tables.tags,
            "pi_digital_states": uc.tables.digital_states,
            "pi_watermarks": uc.tables.watermarks,
            "pi_connector_metrics": uc.tables.metrics,
            "pi_quarantine": uc.tables.quarantine,
        },
    )
    options = {key: value.get_secret_value() for key, value in config.storage.options.items()}
    properties = properties_of(uc)
    if config.storage.root is not None:
        return open_lakehouse(config.storage.root, names=names, properties=properties, storage_options=options)
    kind = uc.table_type or ("external" if uc.location else "managed")
    return open_unity(
        names=names, properties=properties, table_type=kind, location=uc.location, storage_options=options
    )


def target_of(config: Config) -> str:
    """Where the tables are, for people."""
    uc = config.unity_catalog
    if config.storage.root is None:
        return f"{uc.catalog}.{uc.schema_name}"
    return f"{config.storage.root}/{uc.catalog}/{uc.schema_name}"


def limits_of(config: Config, mode: Mode) -> Limits:
    return Limits(
        tags_per_request=config.extraction.batch_size,
        values_per_answer=config.performance.values_per_answer,
        max_count_per_tag=config.extraction.max_count_per_tag,
        one_window=mode is not Mode.BATCH,
    )


def watermarks_of(config: Config) -> Marks:
    """What is done, without changing anything; empty where there is no checkpoint table yet."""
    table = lakehouse_of(config).table(PI_WATERMARKS)
    if not table.exists():
        return Marks()
    rows = table.open().read(where={"pipeline": config.pipeline})
    return decode(merge_stream(rows), DATASET)


def wanted_window(
    config: Config, mark: Watermark | None, now: Micros, horizon: Micros | None = None, begins: Micros | None = None
) -> Window:
    """Which window of a tag shall be done after this run. `now` is the server's clock.

    Incremental: from its watermark on, or from start_date for a tag that has none. Full: from
    start_date to end_date, whatever is done of it already. `horizon`: of a tag that stores future
    data, how far ahead of now it is read. `begins`: where it begins instead of start_date.
    """
    extraction = config.extraction
    until = now - extraction.lag // _MICRO
    if horizon is not None:
        until = end_ahead(until, now + horizon if horizon else None, mark.high if mark else None)
    if extraction.end_date is not None:
        until = min(until, extraction.end_date.micros(now))
    start = extraction.start_date.micros(now) if begins is None else begins
    if extraction.mode == "incremental" and mark is not None:
        start = mark.high
    return Window(min(start, until), until)


def sample_of(config: Config, tags: Sequence[Tag], marks: Marks, now: Micros) -> list[Ask]:
    """A little of what a run will ask, to find out how the server is to be asked: a few values of its first tags.

    All in one window, as a streamset needs it: that of the first tag, or the last hour where nothing is left of it.
    """
    some = tags[:SAMPLE_TAGS]
    if not some:
        return []
    [mark] = marks.each([some[0].web_id])
    wanted = wanted_window(config, mark, now)
    start = wanted.start if wanted.start < wanted.end else wanted.end - _HOUR
    return [Ask(tag, start, wanted.end, SAMPLE_VALUES) for tag in some]


def at_end(config: Config, tags: Iterable[Tag], marks: Marks, wanted: Window | None) -> int:
    """How many tags are where a run was to bring them; none before it knew where that is."""
    if wanted is None:
        return 0
    start = wanted.start if config.extraction.mode == "full" else 1 << 62
    found = marks.chosen([tag.web_id for tag in tags])
    return int(((found.low <= start) & (found.high >= wanted.end)).sum())


def windows_to_sum(config: Config, tags: Sequence[Tag], marks: Marks) -> dict[str, tuple[int, int]]:
    """By WebID, the windows whose rows in the table have to be summed up before a run can compare them."""
    kind_of, lag = class_of(config.extraction), _micros(config.extraction.lag)
    windows: dict[str, tuple[int, int]] = {}
    for tag, mark in _marked(tags, marks):
        if mark is None:
            continue
        known = _behind_holes(_known(mark), marks.holes.get(tag.web_id, ()))
        window = window_to_sum(known, _lookback(tag, kind_of(tag.name), lag, mark))
        if window is not None:
            windows[tag.web_id] = (window.start, window.end)
    return windows


def plan_of(
    config: Config,
    tags: Sequence[Tag],
    marks: Marks,
    sums: Mapping[str, Digest],
    *,
    now: Micros,
    mode: Mode,
    part: Part = Part.ALL,
    suspects: Iterable[tuple[Tag, Window]] = (),
    wall: Micros | None = None,
    keeps_holes: bool = True,
    limits: Limits | None = None,
    replaces: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """The plan of reading a part of these tags, where `now` is the server's clock. Asks nobody.

    `sums`: digests of the rows in `windows_to_sum`; none for no rows. `suspects` are read again with the rest, and so
    are holes that are due by `wall`, this machine's clock; without it none is. `limits`: what the run has learnt of the
    server so far. `replaces`: which point was created anew in the place of which other one.
    """
    assumed_rate = 1 / _micros(config.extraction.assumed_interval)
    kind_of, lag = class_of(config.extraction), _micros(config.extraction.lag)
    present = now - lag
    nothing = Digest()
    newest_first = config.extraction.backfill_order == "newest"
    begins = _begins(config, marks, replaces, now)
    if part in {Part.ALL, Part.FRONT}:
        lost = [(tag, window) for tag, window, _ in beyond_now(tags, marks, now, until=present)]
        suspects = [*suspects, *((tag, window) for tag, window in lost if window.start < window.end)]

    def readings() -> Iterator[Reading]:
        for tag, mark in _marked(tags, marks):
            done = None if mark is None or mark.low >= mark.high else Window(mark.low, mark.high)
            kind = kind_of(tag.name)
            lookback, horizon = kind.lookback_micros, None
            if tag.future:
                horizon = kind.horizon_micros or 0
                lookback = lookback_ahead(kind, lag, mark.high, mark.ahead_from) if mark else 0
            wanted = window_of(
                part,
                wanted_window(config, mark, now, horizon, begins.get(tag.web_id)),
                done,
                newest_first=newest_first,
                present=present,
            )
            if wanted is None:
                continue
            total = sums.get(tag.web_id, nothing).total
            holes = marks.holes.get(tag.web_id, ())
            known = None if mark is None else _behind_holes(_known(mark), holes)
            yield from readings_for(
                tag,
                wanted,
                done,
                rows_done=mark.rows_total if mark else 0,
                assumed_rate=assumed_rate,
                overlap=None if known is None else overlap_of(known, lookback, total),
                compared_from=None if known is None else known.low,
            )
            if mark is not None and holes and part is not Part.BACK:
                yield from _beside_holes(tag, mark, holes, lookback, assumed_rate=assumed_rate, wall=wall)

    return Plan(
        chain(readings(), _repairs(config, _outside_holes(suspects, marks), marks)),
        limits or limits_of(config, mode),
        present=present,
        keeps_holes=keeps_holes,
    )


def repairs_of(
    config: Config, suspects: Iterable[tuple[Tag, Window]], marks: Mapping[str, Watermark], *, mode: Mode
) -> Plan:
    """The plan of reading windows again, as far as they are done, to put them in the place of what the table holds.

    What cannot be read is left as it is, and its tag fails: repairs have no place to write down holes.
    """
    return Plan(_repairs(config, suspects, marks), limits_of(config, mode), keeps_holes=False)


def parted(
    config: Config, suspects: Iterable[tuple[Tag, Window]], marks: Mapping[str, Watermark]
) -> tuple[list[tuple[Tag, Window]], list[tuple[Tag, Window]]]:
    """Cut windows to what is done, and part them: what no run looks at again by itself, and what every run does."""
    end_of = settled_ends(config, marks)
    settled: list[tuple[Tag, Window]] = []
    newest: list[tuple[Tag, Window]] = []
    for tag, window in suspects:
        mark = marks.get(tag.web_id)
        if mark is None:
            continue
        end = end_of(tag)
        settled.append((tag, Window(max(window.start, mark.low), min(window.end, end))))
        newest.append((tag, Window(max(window.start, end), min(window.end, mark.high))))
    return [s for s in settled if s[1].start < s[1].end], [s for s in newest if s[1].start < s[1].end]


def settled_ends(config: Config, marks: Mapping[str, Watermark]) -> Callable[[Tag], Micros]:
    """What gives, of a tag with a watermark, up to where no run looks again by itself."""
    kind_of, lag = class_of(config.extraction), _micros(config.extraction.lag)

    def end_of(tag: Tag) -> Micros:
        mark = marks[tag.web_id]
        return settled_until(_known(mark), _lookback(tag, kind_of(tag.name), lag, mark))

    return end_of


def _repairs(
    config: Config, suspects: Iterable[tuple[Tag, Window]], marks: Mapping[str, Watermark]
) -> Iterator[Reading]:
    assumed_rate = 1 / _micros(config.extraction.assumed_interval)
    for tag, window in suspects:
        mark = marks.get(tag.web_id)
        if mark is None:
            continue
        start, end = max(window.start, mark.low), min(window.end, mark.high)
        if start < end:
            knows_last = end == mark.high and (mark.last_event is None or mark.last_event >= start)
            yield _repair(tag, mark, start, end, assumed_rate, knows_last=knows_last)


def _repair(
    tag: Tag, mark: Watermark, start: Micros, end: Micros, assumed_rate: float, *, knows_last: bool = False
) -> Reading:
    return Reading(
        tag,
        start,
        end,
        backward=False,
        rate=mark.rows_total / (mark.high - mark.low) or assumed_rate,
        low=mark.low,
        high=mark.high,
        repair=True,
        knows_last=knows_last,
    )


def _behind_holes(known: Known, holes: Sequence[Hole]) -> Known:
    """What a watermark says of a tag behind its last hole: only that is compared in one go."""
    low = max((min(hole.end, known.high) for hole in holes), default=known.low)
    if low <= known.low:
        return known
    known_last = known.last_event is not None and known.last_event >= low
    return Known(low, known.high, *((known.last_event, known.last_digest) if known_last else (None, None)))


def _beside_holes(
    tag: Tag, mark: Watermark, holes: Sequence[Hole], lookback: Micros, *, assumed_rate: float, wall: Micros | None
) -> Iterator[Reading]:
    """Holes that are due, to be filled; and what would be compared of a tag if it had none, before and between them."""
    if mark.low >= mark.high:
        return
    for hole in holes:
        if wall is not None and hole.ask_at <= wall and mark.low <= hole.start and hole.end <= mark.high:
            reading = _repair(tag, mark, hole.start, hole.end, assumed_rate)
            reading.hole_attempts = hole.attempts
            yield reading
    overlap = overlap_of(_known(mark), lookback, 0)
    at = mark.high if overlap is None else overlap.start
    for hole in holes:
        if at < hole.start:
            yield _repair(tag, mark, at, hole.start, assumed_rate)
        at = max(at, hole.end)


def _outside_holes(suspects: Iterable[tuple[Tag, Window]], marks: Marks) -> Iterator[tuple[Tag, Window]]:
    """Windows without what is known to be a hole: that is asked for on a schedule of its own."""
    for tag, window in suspects:
        at = window.start
        for hole in marks.holes.get(tag.web_id, ()):
            if hole.start < window.end and at < hole.end:
                if at < hole.start:
                    yield tag, Window(at, hole.start)
                at = hole.end
        if at < window.end:
            yield tag, Window(at, window.end)


def _lookback(tag: Tag, of_class: TagClass, lag: Micros, mark: Watermark) -> Micros:
    """How far behind `high` every run compares a tag; of one that is read ahead, all that is ahead, too."""
    return lookback_ahead(of_class, lag, mark.high, mark.ahead_from) if tag.future else of_class.lookback_micros


def _marked(tags: Sequence[Tag], marks: Marks) -> Iterable[tuple[Tag, Watermark | None]]:
    return zip(tags, marks.each(tag.web_id for tag in tags), strict=True)


def beyond_now(
    tags: Sequence[Tag], marks: Marks, now: Micros, *, until: Micros | None = None, by: Micros = 0
) -> list[tuple[Tag, Window, str]]:
    """The tags whose watermark lies beyond the server's now, as a clock that was ahead once has left it: for each the
    window that has to be read again, since nothing new is read before time has caught up, and what to say of it. `by`:
    only those that lie so much further.

    A watermark never goes back, so that everything from the last event on is held against the source in each run.
    """
    web_ids = [tag.web_id for tag in tags]
    places = marks.places(web_ids)
    ahead = np.flatnonzero((places >= 0) & (marks.columns.present[places] > now + by)) if len(marks) else ()
    found = []
    for place in map(int, ahead):
        tag = tags[place]
        mark = marks[tag.web_id]
        if mark.low >= mark.high:
            continue
        last = mark.low if mark.last_event is None else max(mark.low, mark.last_event)
        end = now if until is None else until
        why = (
            f"its watermark {iso_text(mark.present)} lies ahead of the server's clock ({iso_text(now)}): a clock was "
            f"ahead once. What comes from {iso_text(min(last, end))} on is read in each run, until that time has come; "
            "`rebuild-watermarks` puts the watermark right"
        )
        found.append((tag, Window(min(last, end), end), why))
    return found


def _begins(config: Config, marks: Marks, replaces: Mapping[str, str], now: Micros) -> Mapping[str, Micros]:
    """Where points that were created anew begin, if they go on where the old ones ended."""
    if config.extraction.recreated_tags != "continue":
        return {}
    begins: dict[str, Micros] = {}
    for web_id in replaces:
        old, seen = replaces[web_id], {web_id}
        while old not in marks and old not in seen and old in replaces:  # it was replaced before it was read
            seen.add(old)
            old = replaces[old]
        mark = marks.get(old)
        if mark is not None and mark.low < mark.high:
            last = mark.low if mark.last_event is None else mark.last_event
            begins[web_id] = mark.high if mark.high <= now else min(last, now)
    return begins


def _known(mark: Watermark) -> Known:
    digest = mark.last_event_digest
    return Known(mark.low, mark.high, mark.last_event, None if digest is None else digest & MASK)


def _micros(span: timedelta | None) -> Micros:
    return 0 if span is None else span // _MICRO
