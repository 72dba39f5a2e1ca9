"""A list whose `Items` are null, missing or no list is no empty list, whichever list of the server it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from config.errors import UnavailableError
from engine.simulator.replies import Reply, json_reply
from tests.assets.site import Site, in_memory
from tests.event_frames.plant import HOUR, Plant, serving, text_of
from tests.memory_lakehouse import MemoryLakehouse
from tests.variants import first_of
from writers.asset_tables import FRAME_TABLES
from writers.tables import PI_DATA_SERVERS, PI_DIGITAL_STATES, PI_TAGS

_SHAPES: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    lambda content: {**content, "Items": None},
    lambda content: {name: one for name, one in content.items() if name != "Items"},
    lambda content: {**content, "Items": {}},
    lambda content: {**content, "Items": "none"},
    # Names are compared whatever their case in what is asked. No release answers in another case: a gateway that does is named.
    lambda content: {name[:1].lower() + name[1:]: one for name, one in content.items()},
)
_ALL = {
    "extraction": {"datasets": ["tags", "data_servers", "digital_states", "point_attributes", "assets"],
                   "point_attributes": ["compdev"]},
}  # fmt: skip


def route_of(target: str) -> str:
    """`/assetdatabases/*/elements`, of a path or of the part of a batch."""
    path = target.partition("?")[0].partition("/piwebapi")[2]
    return re.sub(r"/(?=[A-Z0-9])[\w-]{15,}", "/*", path)


def answered(server: Site | Plant, change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Any:
    """Give every list to `change`, with its route."""
    dispatch = server.simulator._dispatch
    real = dispatch.answer

    def answer(method: str, target: str, *more: Any) -> Reply:
        reply = real(method, target, *more)
        if target.endswith("/batch") or reply.status >= 300:
            return reply
        content = json.loads(reply.body())
        is_list = isinstance(content, dict) and isinstance(content.get("Items"), list)
        return json_reply(change(route_of(target), content)) if is_list else reply

    return patch.object(dispatch, "answer", answer)


class _Lists:
    """Notes every list that is asked for, and shows one of them in another shape."""

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        self.wrong, self.shape, self.shown = "", _SHAPES[0], 0

    def __call__(self, route: str, content: dict[str, Any]) -> dict[str, Any]:
        self.seen[route] = None
        self.shown += route == self.wrong
        return self.shape(content) if route == self.wrong else content


def assets_and_points(site: Site) -> dict[str, Any]:
    found = site.tables()
    for spec in (PI_TAGS, PI_DATA_SERVERS, PI_DIGITAL_STATES):
        rows = site.lakehouse.table(spec).open().read().read_all().to_pylist()
        found[spec.name] = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)
    return found


@pytest.mark.parametrize("first", first_of(range(len(_SHAPES))))
async def test_no_list_of_points_and_assets_without_items_is_an_empty_one(tmp_path: Path, first: int) -> None:
    lists = _Lists()
    async with in_memory(tmp_path, tags=4, elements=24) as site:
        with answered(site, lists):
            await site.run(**_ALL)
            before = assets_and_points(site)
            routes = list(lists.seen)
            assert len(routes) > 14, "each kind of list is tried"
            for number, route in enumerate(routes, first):
                lists.wrong, lists.shape, lists.shown = route, _SHAPES[number % len(_SHAPES)], 0
                try:
                    report = await site.run(**_ALL)
                except UnavailableError:
                    pass  # it ends the run: without data servers, or databases, there is nothing to read
                else:
                    parts = report.as_dict()["datasets"].values()
                    # States are not read by every run. The tree is read piece by piece then.
                    is_told = any(one["unread"] for one in parts)
                    assert is_told or not lists.shown or route.endswith(("/elements", "/elementattributes")), route
                assert assets_and_points(site) == before, route
            lists.wrong = ""
            assert (await site.run(**_ALL)).exit_code == 0
        site.assert_exact()


@pytest.mark.parametrize("first", first_of(range(len(_SHAPES))))
async def test_no_list_of_event_frames_without_items_is_an_empty_one(first: int) -> None:
    lake, lists = MemoryLakehouse(), _Lists()
    async with serving(lambda: lake, days=1) as plant:
        above = plant.change(
            action="create_frame", name="Batch 7", start=text_of(plant.now - 2 * HOUR), template="Batch"
        )
        plant.change(action="annotate_frame", frame=above, name="Note", start=text_of(plant.now))

        def bare(route: str, content: dict[str, Any]) -> dict[str, Any]:
            """Without links and elements, so that lists of children and of elements are asked for."""
            for one in content["Items"] if "eventframes" in route else ():
                for name in ("Links", "RefElementWebIds"):
                    one.pop(name, None)
            return lists(route, content)

        def tables() -> list[Any]:
            return [
                lake.table(spec).open().read().read_all().drop_columns(["last_updated"]).to_pylist()
                for spec in FRAME_TABLES
            ]

        with answered(plant, bare):
            assert (await plant.run()).unread == ()
            before = tables()
            routes = [one for one in lists.seen if "assetservers" not in one]
            assert len(routes) >= 4, routes
            for number, route in enumerate(routes, first):
                lists.wrong, lists.shape = route, _SHAPES[number % len(_SHAPES)]
                assert (await plant.run(full=True)).unread, route
                assert not any(row["deleted_at"] for rows in tables() for row in rows), route
                lists.wrong = ""
                assert (await plant.run(full=True)).unread == ()
                assert len(tables()[0]) == len(before[0])
        plant.assert_exact()
