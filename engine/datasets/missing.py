"""Points that a list did not show: are they gone? The shell around lookups of single points.

That a point is not in a list proves nothing: it may have been renamed, moved out of a filter or skipped, the account
may see less than before, a server may have capped the list. So each is asked for alone, by its WebID. Invariant: a
point is called gone only if the server says of that very point that it does not exist, in an answer that finds
another one that is known to be there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from config import Extraction
from config.errors import ConfigurationError, ExtractError, SplitError, TagGoneError

from ..model import Micros
from ..net.client import PIClient
from ..piweb import points, requests
from ..piweb.points import TAGS_SCHEMA, Points
from ..piweb.problems import error_for
from ..piweb.webid import TagText, parse_tag, tag_path
from ..plan.shards import Shard
from .tags import Inventory

__all__ = ["MOST_AT_ONCE", "Looked", "look_for", "to_look_for"]

# A run asks for so many at most; where there are more, the next runs ask for the others.
MOST_AT_ONCE = 500
# So many, where each takes a request of its own.
_MOST_SINGLE = 50
_HOUR: Micros = 3_600_000_000


@dataclass(slots=True)
class Looked:
    """What was found of points that were missing: those that are there, and those that are gone, by WebID."""

    rows: pa.Table = field(default_factory=TAGS_SCHEMA.empty_table)
    gone: set[str] = field(default_factory=set)


def to_look_for(missing: pa.Table, extraction: Extraction, inventory: Inventory, shard: Shard) -> list[str]:
    """Of points in pi_tags that were not seen, given as rows, the WebIDs of those that a shard was to see. Pure.

    That is, what is selected by the name it had when it was seen last. What was dropped from the configuration is
    no business of this run; what was renamed out of it is asked for once, and then known by its new name.
    """
    if not missing.num_rows:
        return []
    refs = [parse_tag(text) for text in extraction.tags]
    # A WebID with a path in it begins, but for the letter of its form, like the one without.
    lengths = {len(web_id) for web_id in missing["tag_webid"].to_pylist()}
    web_ids = {ref.text[1:length] for ref in refs if ref.kind is TagText.WEB_ID for length in lengths}
    server = (inventory.server or "").casefold()
    paths = {
        (ref.text if ref.kind is TagText.PATH else tag_path(server, ref.text)).casefold()
        for ref in refs
        if ref.kind is TagText.PATH or (ref.kind is TagText.NAME and server)
    }
    whole = inventory.complete
    patterns = [_pattern(text) for text in extraction.tag_name_filter] if whole else []
    columns = (missing[name].to_pylist() for name in ("tag_webid", "name", "path", "data_server"))
    found = [
        web_id
        for web_id, name, path, on in zip(*columns, strict=True)
        if shard.owns(web_id)
        and (
            web_id[1:] in web_ids
            or (path or "").casefold() in paths
            or ((on or "").casefold() == server and any(pattern.fullmatch(name or "") for pattern in patterns))
        )
    ]
    # Those that can neither be found nor be proven gone must not keep the others from being asked for.
    first = inventory.server_now // _HOUR * MOST_AT_ONCE % len(found) if len(found) > MOST_AT_ONCE else 0
    return (found[first:] + found[:first])[:MOST_AT_ONCE]


def _pattern(text: str) -> re.Pattern[str]:
    signs = {"*": ".*", "?": "."}
    return re.compile("".join(signs.get(sign, re.escape(sign)) for sign in text), re.IGNORECASE | re.DOTALL)


async def look_for(client: PIClient, web_ids: Sequence[str], known: str | None) -> Looked:
    """Ask for points alone. `known` is the WebID of one that is there: an answer that does not find it proves nothing.

    Raises nothing that says something of the source: what could not be asked for is neither there nor gone.
    """
    looked = Looked()
    batches: list[pa.RecordBatch] = []
    try:
        await _look(client, list(web_ids), known, looked, batches)
    except ConfigurationError:  # a release, or a gateway, without points/multiple
        for web_id in web_ids[:_MOST_SINGLE]:
            await _look_single(client, web_id, known, looked, batches)
    except ExtractError:
        pass
    if batches:
        found = pa.Table.from_batches(batches)
        looked.rows = found.filter(pc.is_in(found["tag_webid"], value_set=pa.array(list(web_ids))))
    return looked


async def _look(
    client: PIClient, web_ids: list[str], known: str | None, looked: Looked, batches: list[pa.RecordBatch]
) -> None:
    control = [known] if known else []
    for _, chunk in requests.points_by_web_id(web_ids):
        [(request, asked), *more] = requests.points_by_web_id([*control, *chunk])
        if more:  # the one that is known makes it too long for one request
            half = len(chunk) // 2
            await _look(client, list(chunk[:half]), known, looked, batches)
            await _look(client, list(chunk[half:]), known, looked, batches)
            continue
        response = await client.send(request)
        error = error_for(response, f"looking for {len(chunk)} tags that are missing")
        if isinstance(error, SplitError) and len(chunk) > 1:
            half = len(chunk) // 2
            await _look(client, list(chunk[:half]), known, looked, batches)
            await _look(client, list(chunk[half:]), known, looked, batches)
            continue
        if error is not None:
            raise error
        _learn(points.decode_multiple(response.body, asked), known, looked, batches)


def _learn(found: Points, known: str | None, looked: Looked, batches: list[pa.RecordBatch]) -> None:
    if known and all(tag.web_id != known for tag in found.tags):
        return
    batches.append(found.rows)
    looked.gone |= found.gone - {known}


async def _look_single(
    client: PIClient, web_id: str, known: str | None, looked: Looked, batches: list[pa.RecordBatch]
) -> None:
    """Ask for one point by itself, and for the one that is known in the same way where it is said to be gone."""
    found = await _single(client, web_id)
    if isinstance(found, Points):
        batches.append(found.rows)
    elif found and (known is None or isinstance(await _single(client, known), Points)):
        looked.gone.add(web_id)


async def _single(client: PIClient, web_id: str) -> Points | bool:
    """A point; or whether the server says that there is none."""
    try:
        response = await client.send(requests.point_by_web_id(web_id))
        error = error_for(response, "looking for a tag that is missing", tags=1)
        return points.decode_point(response.body) if error is None else isinstance(error, TagGoneError)
    except ExtractError:
        return False
