"""The dataset `tags`: pi_tags, one row for each point, as the source shows it.

A point that is missing in a list need not be deleted: it may be renamed, or outside of the filter, or not visible to
the account, or the server may have cut the list. So missing points are looked up by WebID. Invariant: a point is
marked as deleted only if the server says that this point does not exist, in an answer that finds a point that is known
to exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from config import Config, ExtractionConfig
from config.errors import ConfigurationError, ExtractError, TagGoneError
from writers import PI_TAGS, Replaced, SyncReceipt, missing_tags, newly_replaced, replaced_tags, sync_tags

from ..model import Micros
from ..net.client import PIClient
from ..piweb import points, requests
from ..piweb.assets import name_matches
from ..piweb.attribute_tags import decode_attributes
from ..piweb.http import Request
from ..piweb.points import TAGS_SCHEMA, Points
from ..piweb.webid import TagRef, TagText, is_attribute, name_matcher, parse_tag, tag_path
from ..plan.shards import Shard
from .dataset import SyncContext, SyncedDataset, SyncResult
from .halving import ask, ask_by_halves, one_request
from .tags import Inventory

# A run looks up so many missing points at most. The next runs look up the others.
MOST_AT_ONCE = 500
# The same, if each point takes a request of its own.
_MOST_SINGLE = 50
_HOUR: Micros = 3_600_000_000
_REPLACED_NAMED = 20


def points_to_check(missing: pa.Table, extraction: ExtractionConfig, inventory: Inventory, shard: Shard) -> list[str]:
    """WebIDs of the missing points that this shard selects, by the name in pi_tags. `missing`: their rows. Pure.

    A point that the configuration no longer selects is not looked up. A renamed point is looked up once, and then has
    its new name in pi_tags.
    """
    missing = missing.filter(pc.invert(_are_attributes(missing)))
    if not missing.num_rows:
        return []
    refs = [parse_tag(text) for text in extraction.tags]
    web_ids = _shortened(refs, missing)
    server = (inventory.server or "").casefold()
    paths = {
        (ref.text if ref.kind is TagText.PATH else tag_path(server, ref.text)).casefold()
        for ref in refs
        if ref.kind is TagText.PATH or (ref.kind is TagText.NAME and server)
    }
    whole = inventory.complete
    matches = name_matcher(extraction.tag_name_filter if whole else ())
    columns = (missing[name].to_pylist() for name in ("tag_webid", "name", "path", "data_server"))
    found = [
        web_id
        for web_id, name, path, on in zip(*columns, strict=True)
        if shard.owns(web_id)
        and (
            web_id[1:] in web_ids
            or (path or "").casefold() in paths
            or ((on or "").casefold() == server and matches(name or ""))
        )
    ]
    return _in_turn(found, inventory.server_now)


def attributes_to_check(missing: pa.Table, config: Config, inventory: Inventory, shard: Shard) -> list[str]:
    """WebIDs of the missing attributes that this shard may select, by path and name in pi_tags. `missing`: their rows. Pure.

    Whether one is of a template or of a category, pi_tags does not know: it is looked up in case it is.
    """
    missing = missing.filter(_are_attributes(missing))
    if not missing.num_rows:
        return []
    refs = [parse_tag(text) for text in config.extraction.tags]
    named = {ref.text.casefold() for ref in refs if ref.kind is TagText.PATH}
    web_ids = _shortened(refs, missing)
    settings = config.asset_framework
    patterns = settings.values.attributes or settings.attributes

    def may_be_chosen(names: str) -> bool:
        by_name = name_matches(patterns, names) or name_matches(patterns, names.partition("|")[0])
        return bool(config.extraction.af_query) or (settings.values.enabled and by_name)

    found = [
        web_id
        for web_id, path in zip(missing["tag_webid"].to_pylist(), missing["path"].to_pylist(), strict=True)
        if shard.owns(web_id)
        and (
            (path or "").casefold() in named
            or web_id[1:] in web_ids
            or (inventory.complete and may_be_chosen((path or "").partition("|")[2]))
        )
    ]
    return _in_turn(found, inventory.server_now)


def _shortened(refs: Sequence[TagRef], missing: pa.Table) -> set[str]:
    """Named WebIDs, as long as those of the rows. One with a path begins like the one without, but for its first letter."""
    lengths = {len(web_id) for web_id in missing["tag_webid"].to_pylist()}
    return {ref.text[1:length] for ref in refs if ref.kind is TagText.WEB_ID for length in lengths}


def _are_attributes(rows: pa.Table) -> pa.Array:
    """Which rows of pi_tags are attributes of elements."""
    pairs = zip(rows["tag_webid"].to_pylist(), rows["path"].to_pylist(), strict=True)
    return pa.array([is_attribute(web_id, path or "") for web_id, path in pairs], pa.bool_())


def _in_turn(found: list[str], now: Micros) -> list[str]:
    """As many as one run looks up. It begins at another one each hour: what can never be resolved must not block the rest."""
    first = now // _HOUR * MOST_AT_ONCE % len(found) if len(found) > MOST_AT_ONCE else 0
    return (found[first:] + found[:first])[:MOST_AT_ONCE]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """How some kind of tag is asked for by WebID, and how the answer is read."""

    requests_for: Callable[[Sequence[str]], Iterator[tuple[Request, Sequence[str]]]]
    decode: Callable[[bytes, Sequence[str]], Points]


_POINTS = _Lookup(requests.points_by_web_id, points.decode_multiple)
_ATTRIBUTES = _Lookup(requests.attributes_by_web_id, lambda body, asked: decode_attributes(body, asked).found)


@dataclass(slots=True)
class _Check:
    """Looks up missing points, or attributes. `known`: the WebID of one that exists: an answer without it proves nothing.

    `gone` are WebIDs of those that do not exist.
    """

    client: PIClient
    known: str | None
    gone: set[str] = field(default_factory=set)
    _batches: list[pa.RecordBatch] = field(default_factory=list)

    async def look_up(self, web_ids: Sequence[str], lookup: _Lookup) -> pa.Table:
        """The rows of those that exist.

        Errors of the source are not raised: what could not be looked up is neither found nor deleted.
        """
        try:
            for _, chunk in lookup.requests_for(web_ids):
                await ask_by_halves(chunk, partial(self._many, lookup))
        except ConfigurationError:  # a release, or a gateway, without points/multiple
            for web_id in web_ids[:_MOST_SINGLE] if lookup is _POINTS else ():
                await self._one(web_id)
        except ExtractError:
            pass
        found = pa.Table.from_batches(self._batches, TAGS_SCHEMA)
        return found.filter(pc.is_in(found["tag_webid"], value_set=pa.array(web_ids, pa.string())))

    async def _many(self, lookup: _Lookup, web_ids: Sequence[str]) -> None:
        control = [self.known] if self.known else []
        request, asked = one_request(lookup.requests_for([*control, *web_ids]))
        what = f"looking for {len(web_ids)} tags that are missing"
        found = await ask(self.client, request, what, lambda answer: lookup.decode(answer.body, asked))
        if self.known is None or any(tag.web_id == self.known for tag in found.tags):
            self._batches.append(found.rows)
            self.gone |= found.gone - {self.known}

    async def _one(self, web_id: str) -> None:
        """If the server says that the point does not exist, look up the known one in the same way."""
        found = await _single(self.client, web_id)
        if isinstance(found, Points):
            self._batches.append(found.rows)
        elif found and (self.known is None or isinstance(await _single(self.client, self.known), Points)):
            self.gone.add(web_id)


async def _single(client: PIClient, web_id: str) -> Points | bool:
    """The point; or whether the server says that it does not exist."""
    try:
        return await ask(
            client,
            requests.point_by_web_id(web_id),
            "looking for a tag that is missing",
            lambda answer: points.decode_point(answer.body),
            tags=1,
        )
    except ExtractError as error:
        return isinstance(error, TagGoneError)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagsResult(SyncResult):
    """Also: which points replace which other ones, by WebID; and points that exist but are not in the list."""

    replaces: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = ()


async def _sync(context: SyncContext) -> TagsResult:
    """Bring pi_tags up to date. Missing points are looked up before they are marked as deleted."""
    inventory, extraction, shard = context.inventory, context.extraction, context.shard

    async def write(rows: pa.Table, gone: Collection[str] = ()) -> SyncReceipt:
        now, on_step = inventory.server_now, context.on_step
        return await context.blocking(partial(sync_tags, context.lakehouse, rows, now=now, gone=gone, on_step=on_step))

    first = await write(inventory.rows)
    last, replaced = first, newly_replaced(first)
    missing = missing_tags(first, inventory.rows)
    left_out: list[str] = []
    deleted = renamed = 0
    for wanted, lookup in (
        (points_to_check(missing, extraction, inventory, shard), _POINTS),
        (attributes_to_check(missing, context.config, inventory, shard), _ATTRIBUTES),
    ):
        if wanted:
            check = _Check(context.client, _known(inventory, attributes=lookup is _ATTRIBUTES))
            rows = await check.look_up(wanted, lookup)
            if check.gone or rows.num_rows:
                last = await write(rows, check.gone)
                deleted, renamed = deleted + last.missing, renamed + last.changed
                replaced += newly_replaced(last)
                left_out += points_to_check(rows, extraction, inventory, shard)
    return TagsResult(
        added=first.added,
        changed=first.changed + renamed,
        missing=deleted,
        warnings=tuple(_words(replaced, len(left_out))),
        replaces=replaced_tags(last),
        left_out=frozenset(left_out),
    )


def _known(inventory: Inventory, *, attributes: bool) -> str | None:
    """The WebID of a point, or of an attribute, that was found just now."""
    if "tag_webid" not in inventory.rows.schema.names:
        return None
    of_kind = inventory.rows.filter(pc.equal(_are_attributes(inventory.rows), attributes))
    return of_kind["tag_webid"][0].as_py() if of_kind.num_rows else None


def _words(replaced: Sequence[Replaced], skipped: int) -> Iterator[str]:
    for one in replaced[:_REPLACED_NAMED]:
        yield (
            f"tag {one.name} was created anew: {one.web_id} replaces {one.replaces}, whose rows stay; "
            "extraction.recreated_tags says where the new one begins"
        )
    if len(replaced) > _REPLACED_NAMED:
        yield f"{len(replaced) - _REPLACED_NAMED:,} more tags were created anew: pi_tags.replaces names them"
    if skipped:
        were = "1 tag was" if skipped == 1 else f"{skipped:,} tags were"
        yield (
            f"{were} not in the server's list, and are there when asked for alone: the next run reads them, and one that "
            "follows them reads on"
        )


def replaced_points(results: Mapping[str, SyncResult]) -> Mapping[str, str]:
    """Which points replace which other ones, by WebID; empty if `tags` was not chosen."""
    tags = results.get(TAGS.name)
    return tags.replaces if isinstance(tags, TagsResult) else {}


def left_out_of_list(results: Mapping[str, SyncResult]) -> Collection[str]:
    """WebIDs of points that exist and are missing in the server's list."""
    tags = results.get(TAGS.name)
    return tags.left_out if isinstance(tags, TagsResult) else ()


TAGS = SyncedDataset(name="tags", tables=(PI_TAGS,), sync=_sync)
