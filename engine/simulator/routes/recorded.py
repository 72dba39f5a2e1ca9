"""Routes of recorded values, of one stream and of a set. Most requests of an extractor come here.

As on the real server, both ends of a range are inclusive, and nothing in an answer says that it was cut at `maxCount`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..fields import Tree, below, wants
from ..replies import Refusal, Reply, json_bytes, refused
from ..request import IncomingRequest
from ..site import Site
from ..webid import kind_of
from .recorded_query import recorded_query


def _stream(site: Site, request: IncomingRequest) -> Reply:
    asked = recorded_query(site, request.query_text, request.now)
    text, count = asked.text(site.tag(request, request.parts[1]))
    return Reply(200, [text], values=count)


def tags_of_set(site: Site, request: IncomingRequest) -> Iterator[tuple[str, int | Refusal]]:
    """The streams of an ad hoc set in the order asked, or by name where that is asked for. Raises a 4xx for a bad one."""
    asked = request.query.many("webid")
    if not asked:
        raise refused(400, "The webId parameter is required.")
    found: list[tuple[str, int | Refusal]] = []
    for web_id in asked:
        try:
            found.append((web_id, site.tag(request, web_id)))
        except Refusal as refusal:
            mode = site.switches.bad_web_id
            if mode == "per_stream":
                found.append((web_id, refusal))
            else:
                raise Refusal(mode if refusal.status in {400, 404} else refusal.status, refusal.payload) from None
    if request.query.choice("sortfield", ("", "Name")) == "Name":
        down = request.query.choice("sortorder", ("Ascending", "Descending")) == "Descending"
        found.sort(key=lambda pair: "" if isinstance(pair[1], Refusal) else site.point(pair[1]).name, reverse=down)
    return iter(found)


def _set(site: Site, request: IncomingRequest) -> Reply:
    asked = recorded_query(site, request.query_text, request.now, in_set=True)
    parameters = asked.parameters
    tree = request.query.fields()
    kind = kind_of(request.query.one("webidtype"))
    streams = list(tags_of_set(site, request))
    most = site.switches.max_items
    if site.switches.check_product and len(streams) * parameters.max_count > most:
        raise refused(400, f"Parameter (maxCount) is greater than the maximum allowed ({most}).")
    if not wants(tree, "Items"):
        return Reply(200, [b'{"Links":{}}' if wants(tree, "Links") else b"{}"])
    heads = _heads(site, request, kind, streams)
    left = parameters.max_count
    chunks, total = [b'{"Links":{},"Items":[' if wants(tree, "Links") else b'{"Items":['], 0
    for number, ((_, index), (head, tail)) in enumerate(zip(streams, heads, strict=True)):
        fragments, count = ([], 0) if isinstance(index, Refusal) else asked.items(index, left)
        if fragments:
            fragments[0] = fragments[0][1:]
        # Head, `"Items":[..],"UnitsAbbreviation":""` and tail are joined by commas where not empty.
        body = parameters.opening[1:] + (b"".join(fragments) if parameters.items else b"") + parameters.closing[:-1]
        inner = b",".join(part for part in (head, body, tail) if part)
        chunks.append((b",{" if number else b"{") + inner + b"}")
        total += count
        if site.switches.streamset_max_count == "total":
            left -= count
    chunks.append(b"]}")
    return Reply(200, chunks, values=total)


def _heads(
    site: Site, request: IncomingRequest, kind: str, streams: list[tuple[str, int | Refusal]]
) -> Iterator[tuple[bytes, bytes]]:
    """What stands before and after the events of each stream."""
    tree = below(request.query.fields(), "Items")
    for asked, index in streams:
        if isinstance(index, Refusal):
            missing = {"WebId": asked, "Name": None, "Path": None}
            yield _members(missing, tree), _members({"Errors": index.payload["Errors"]}, tree)
        else:
            tag = site.point(index)
            web_id = site.web_id(kind, tag)
            known = {"WebId": web_id, "Name": tag.name, "Path": site.path(tag)}
            links = {"Links": {"Source": f"{request.base}/points/{web_id}"}}
            yield _members(known, tree), _members(links, tree)


def _members(members: Mapping[str, object], tree: Tree) -> bytes:
    """Wanted members as JSON, without the braces. `Errors` is never left out."""
    kept = {name: value for name, value in members.items() if name == "Errors" or wants(tree, name)}
    return json_bytes(kept)[1:-1]


ROUTES = {"streams/*/recorded": _stream, "streamsets/recorded": _set}
