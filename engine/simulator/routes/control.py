"""The control routes under `/simulator`: another process changes time and history with them.

They are not part of PI Web API. No fault, limit or login applies to them:

    POST /simulator/changes   a list of edits, as in a fault plan; the answer says what was done for each
    POST /simulator/assets    a list of edits of the asset tree and of event frames, likewise; gives their numbers
    GET  /simulator/truth     ?tag=..&start=..&end=..: every visible event of a tag in `[start, end)`,
                              in the order of the archive, with all seven digits; `&shown=recorded`
                              leaves out a snapshot that recorded ranges do not show
    GET  /simulator/requests  how many requests there were so far, how many parts of batches, and of the last requests
                              to the API the seconds of a clock and the end of the path
    GET  /simulator/clock     the time of the server's clock
    POST /simulator/clock     {"now": instant} or {"advance": "90s"}, where the clock stands still
    POST /simulator/restart   the instances restart: every marker of stream updates is lost

Changes are made in order. A bad one ends the list with a 400, which lists the changes made before it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..archive.edits import Edit, Instant, require_instants
from ..archive.history import History
from ..archive.point_registry import ChangeRefusedError
from ..archive.values import Event, event_value
from ..assets.edits import AssetEdit
from ..replies import Refusal, Reply, json_reply, refused
from ..request import Query
from ..site import Site
from ..times import SECOND, iso, parse_span, parse_time, ticks_of

PREFIX = "/simulator/"
_edits = msgspec.json.Decoder(list[Edit])
_asset_edits = msgspec.json.Decoder(list[AssetEdit])


class _Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    now: Instant | None = None
    advance: str | None = None

    def __post_init__(self) -> None:
        require_instants(self.now)
        if (self.now is None) == (self.advance is None):
            raise ValueError("either `now` or `advance` says where the clock goes")


_clock = msgspec.json.Decoder(_Clock)


def answer(site: Site, method: str, target: str, body: bytes) -> Reply:
    """Answer a control request; `target` is the URL below `PREFIX`."""
    path, _, query = target.partition("?")
    try:
        match method, path.strip("/").lower():
            case "POST", "changes":
                return _change(site, body)
            case "POST", "assets":
                return json_reply({"Numbers": [site.change_assets(edit) for edit in _asset_edits.decode(body)]})
            case "GET", "truth":
                return _truth(site, Query(query))
            case "GET", "requests":
                asked = site.requests
                counts = {"Requests": asked.routes.total(), "Parts": asked.sub_routes.total()}
                return json_reply(counts | {"Arrivals": list(asked.arrivals)})
            case (("GET" | "POST"), "clock"):
                if method == "POST":
                    _set_clock(site, body)
                return json_reply({"Now": _exact(site.now())})
            case "POST", "restart":
                site.subscriptions.forget()
                return Reply(204, [])
        raise refused(404, f"There is no control route '{method} {PREFIX}{path}'.")
    except Refusal as refusal:
        return refusal.reply()
    except (msgspec.DecodeError, ChangeRefusedError, KeyError) as error:
        return refused(400, _words(error)).reply()


def applied(site: Site, edit: Edit) -> dict[str, Any]:
    """Make a change and say what was done.

    Raises:
        ChangeRefusedError: the point is not in a state for that.
        KeyError: there is no such point.
    """
    due = None if edit.at is None or edit.is_of_history else ticks_of(edit.at)
    waits = due is not None and due > site.now()
    index = site.change(edit)
    subject = {"Set": edit.digital_set, "Code": edit.code} if edit.is_of_set else {"Tag": edit.tag}
    done: dict[str, Any] = {"Action": edit.action, **subject}
    if due is not None and waits:
        return done | {"Due": _exact(due)}
    if index is None:
        return done
    tag = site.point(index)
    return done | {"Index": index, "Name": tag.name, "WebId": site.web_id("I", tag)}


def _change(site: Site, body: bytes) -> Reply:
    now, done = site.now(), list[dict[str, Any]]()
    for edit in _edits.decode(body):
        try:
            done.append(applied(site, edit))
        except (ChangeRefusedError, KeyError) as error:
            return json_reply({"Errors": [_words(error)], "Now": _exact(now), "Applied": done}, 400)
    return json_reply({"Now": _exact(now), "Applied": done})


def _set_clock(site: Site, body: bytes) -> None:
    asked = _clock.decode(body)
    now = ticks_of(asked.now) if asked.now else site.now() + parse_span(asked.advance or "")
    site.set_clock(now)


def _truth(site: Site, query: Query) -> Reply:
    now = site.now()
    history: History = site.history
    asked = query.one("tag")
    index = history.index(int(asked) if asked.isdecimal() else asked)
    start = parse_time(query.one("start") or site.options.begin).at(now)
    end = parse_time(query.one("end")).at(now) if query.one("end") else now + 1
    read = history.recorded if query.choice("shown", ("all", "recorded")) == "recorded" else history.window
    state = site.registry.state(index)
    events = [_event(event) for event in read(index, start, end - 1, now)]
    subject = {"Tag": state.point.name, "Index": index, "Deleted": state.gone, "Now": _exact(now)}
    return json_reply(subject | {"Events": events})


def _event(event: Event) -> dict[str, Any]:
    return {
        "Timestamp": _exact(event.ticks),
        "Value": event_value(event.value),
        "Good": event.good,
        "Questionable": event.questionable,
        "Substituted": event.substituted,
        "Annotated": event.annotated,
    }


def _exact(ticks: int) -> str:
    """Text of an instant with all seven digits."""
    return f"{iso(ticks // SECOND * SECOND)[:-1]}.{ticks % SECOND:07d}Z"


def _words(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) else str(error)
