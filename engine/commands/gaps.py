"""What `status --gaps` tells: the gaps of a pipeline, from its watermarks and its configuration alone.

Asks no PI. Invariant: a tag of which there is a watermark is told of, unless pi_tags says that its point
is gone; what is not selected (any more) is told of only if it is not known whether it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from config import Config, Extraction
from writers import PI_TAGS, Watermark

from ..model import Micros, Window
from ..piweb.times import iso_text
from ..piweb.webid import TagText, parse_tag, tag_path
from ..plan.classes import class_of
from ..plan.gap_ledger import Account, GapLedger, gap_ledger, grouped
from ..wiring import lakehouse_of, wanted_window
from .patterns import matcher

__all__ = ["Gaps", "KnownTag", "as_dict", "find_gaps", "known_tags"]

_COLUMNS = ("tag_webid", "name", "path", "data_server", "future", "deleted_at")


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A point as pi_tags has it."""

    web_id: str
    name: str
    path: str
    data_server: str
    gone: bool
    future: bool = False


@dataclass(frozen=True, slots=True)
class Gaps:
    """The ledger, names of tags, and how many tags with a watermark are left out, and why."""

    ledger: GapLedger
    names: Mapping[str, str]
    gone: int = 0
    unselected: int = 0


def known_tags(config: Config) -> list[KnownTag]:
    """All points that pi_tags knows; none where it does not exist yet."""
    table = lakehouse_of(config).table(PI_TAGS)
    if not table.exists():
        return []
    return [tag for batch in table.open().read(_COLUMNS) for tag in _points(batch)]


def _points(batch: pa.RecordBatch) -> Iterator[KnownTag]:
    columns = [batch[name].to_pylist() for name in _COLUMNS[:-1]]
    gone = batch["deleted_at"].is_valid().to_pylist()
    for web_id, name, path, server, future, is_gone in zip(*columns, gone, strict=True):
        yield KnownTag(web_id, name or web_id, path or "", server or "", is_gone, bool(future))


def find_gaps(config: Config, marks: Mapping[str, Watermark], known: Iterable[KnownTag], now: Micros) -> Gaps:
    """Draw up the ledger of a pipeline. Pure."""
    points = {tag.web_id: tag for tag in known}
    selected = _Selection(config.extraction, points)
    kind_of = class_of(config.extraction)
    accounts: list[Account] = []
    gone = unselected = 0
    for web_id in dict.fromkeys((*marks, *points)):
        mark, point = marks.get(web_id), points.get(web_id)
        chosen = selected.has(point)
        if chosen is False or (mark is None and chosen is None):
            unselected += mark is not None
        elif point is not None and point.gone:
            gone += mark is not None
        else:
            ahead = (kind_of(point.name).horizon_micros or 0) if point is not None and point.future else None
            accounts.append(_account(config, web_id, mark, now, ahead))
    names = {web_id: point.name for web_id, point in points.items()}
    return Gaps(gap_ledger(accounts), names, gone=gone, unselected=unselected)


def _account(config: Config, web_id: str, mark: Watermark | None, now: Micros, horizon: Micros | None) -> Account:
    wanted = wanted_window(config, mark, now, horizon)
    fixed = config.extraction.start_date.fixed
    if mark is None:
        return Account(web_id, None, wanted)
    done = Window(mark.low, mark.high)
    if fixed is not None and done.start < done.end:
        # Only a run in full mode would read it; it is missing all the same.
        wanted = Window(min(fixed, wanted.start), wanted.end)
    error = (mark.last_error or f"{mark.status}, no reason known") if mark.status != "ok" else None
    return Account(web_id, done, wanted, error)


class _Selection:
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


def as_dict(found: Gaps) -> dict[str, Any]:
    """All of it, for scripts: every window with the tags that miss it."""
    ledger = found.ledger
    errors = {(gap.web_id, gap.start): gap.error for gap in ledger.gaps if gap.error is not None}
    bar = ledger.coverage
    return {
        "tags": ledger.tags,
        "tags_complete": ledger.complete,
        "tags_gone": found.gone,
        "tags_not_selected": found.unselected,
        "tag_hours_missing": ledger.missing / 3.6e9,
        "windows": [
            {
                "reason": group.why.value,
                "start": iso_text(group.start),
                "end": iso_text(group.end),
                "tags": len(group.web_ids),
                "tag_webids": list(group.web_ids),
                "errors": {w: errors[w, group.start] for w in group.web_ids if (w, group.start) in errors},
            }
            for group in grouped(ledger.gaps)
        ],
        "coverage": None
        if bar is None
        else {"start": iso_text(bar.start), "step_seconds": bar.step / 1e6, "shares": list(bar.shares)},
    }
