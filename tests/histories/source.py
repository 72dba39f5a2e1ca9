"""The plant of a round: its history and points change here, and its truth is told here.

Knows the simulator and nothing else of the product. Where the server is a process of its own, a twin of
it in this process is changed alike: the same options give the same events, so the twin tells the truth.
Invariant: no change is made at the server that was not made at the twin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import aiohttp

from engine.simulator import ChangeRefusedError, Event, FaultPlan, Point, Simulator, SimulatorOptions
from engine.simulator.times import SECOND, iso, ticks_of
from tests.exactness.expected import Row, rows_of
from tests.exactness.plant import BEGIN_TEXT
from tests.histories.script import Setting

__all__ = ["BEGIN", "TYPES", "Edits", "Source", "serving"]

Edits: TypeAlias = list[dict[str, Any]]
Post: TypeAlias = Callable[[str, Any], Awaitable[None]]
TYPES = ("Float32", "Float64", "Float16", "Int32", "Int16", "Digital", "String", "Timestamp", "Blob")
BEGIN = ticks_of(BEGIN_TEXT)
_SHAPES = ("steady", "jittered", "doubled", "crowded")
_BASE_TAGS = 4
_DAY = 86_400 * SECOND
# Columns value, value_string, state_code and value_kind of a row.
_WORTH = slice(4, 8)


class Source:
    """One plant, its clock standing still between two steps."""

    def __init__(self, twin: Simulator, url: str, post: Post | None) -> None:
        self._twin = twin
        self._post = post
        self.url = url
        self.size = twin.options.tags
        self.gone: set[int] = set()
        self.forbidden: set[int] = set()

    @property
    def now(self) -> int:
        """Ticks."""
        return self._twin.now()

    async def set_clock(self, ticks: int) -> None:
        self._twin.set_clock(ticks)
        if self._post:
            await self._post("clock", {"now": iso(ticks)})

    def point(self, index: int) -> Point:
        return self._twin.point(index)

    def events(self, index: int, start: int = BEGIN, end: int | None = None) -> list[Event]:
        """What recorded ranges show of a tag now in `[start, end)`, ticks; without an end up to now, or to the end of
        a forecast.
        """
        if end is None:
            end = self.now + (400 * _DAY if self.is_future(index) else 1)
        return self._twin.events(index, start, end)

    def is_future(self, index: int) -> bool:
        """Whether a tag is a forecast."""
        return self.point(index).future

    def rows(self, index: int, end: int) -> list[Row]:
        """The rows that the events of a tag before `end` (microseconds) make, read now."""
        point, found = self.point(index), self.events(index, BEGIN, end * 10)
        return [_as_typed(row, event, point.type) for row, event in zip(rows_of(point, found), found, strict=True)]

    async def change(self, edits: Edits) -> str:
        """Make changes, and say which. Those that points do not allow are left out."""
        told = []
        for edit in edits:
            try:
                [done] = self._twin.change(edit)
            except ChangeRefusedError as error:
                told.append(f"({error})")
                continue
            if self._post:
                await self._post("changes", [edit])
            self._note(edit, done)
            told.append(" ".join(f"{name}={value!r}" for name, value in edit.items()))
        return "; ".join(told) or "(nothing to change)"

    def _note(self, edit: Mapping[str, Any], done: Mapping[str, Any]) -> None:
        match edit["action"]:
            case "delete_point":
                self.gone.add(done["Index"])
            case "restore_point":
                self.gone.discard(done["Index"])
            case "forbid":
                self.forbidden.add(done["Index"])
            case "allow":
                self.forbidden.discard(done["Index"])
            case "create_point":
                self.size = done["Index"] + 1
            case _:
                pass


def _as_typed(row: Row, event: Event, point_type: str) -> Row:
    """The row of an event that came when the tag had another type than it has now: the present one decides."""
    if event.value == "NaN" and point_type.startswith(("Float", "Int")):
        worth: tuple[Any, ...] = ("nan", None, None, "number")
    elif isinstance(event.value, list) and point_type != "Blob":
        worth = (None, json.dumps(event.value, separators=(",", ":")), None, "array")
    else:
        return row
    return (*row[: _WORTH.start], *worth, *row[_WORTH.stop :])


@asynccontextmanager
async def serving(setting: Setting, seed: int, folder: Path) -> AsyncIterator[Source]:
    """The plant of a setting, with tags of all types and paces, its clock a bit after the beginning."""
    plan: dict[str, Any] = {
        "rules": [_FLAKY[setting.flaky]] if setting.flaky else [],
        "switches": {
            "recorded_shows_snapshot": setting.shows_snapshot,
            "streamset_max_count": setting.streamset_max_count,
        },
        "tags": [{"tag": "*2", "compress_every": setting.compress_every}] if setting.compress_every else [],
    }
    options = SimulatorOptions(
        tags=_BASE_TAGS,
        seed=seed,
        begin=BEGIN_TEXT,
        now=_clock(setting) / SECOND,
        interval_secs=setting.unit_secs,
        future_renewed_secs=20 * setting.unit_secs,
        future_reach_secs=100 * setting.unit_secs,
        faults=FaultPlan.from_dict(plan),
    )
    if not setting.processes:  # only a server in this process can be told so
        options = replace(options, types=_alike(TYPES), shapes=_alike(_SHAPES))
    twin = Simulator(options)
    if setting.processes:
        async with _process(setting, options, plan, folder) as (url, post):
            yield await _populated(Source(twin, url, post), setting, seed)
    else:
        async with twin.serve() as url:
            yield await _populated(Source(twin, url, None), setting, seed)


_SOMETIMES = {"route": "*recorded", "probability": 0.125}
_FLAKY = {
    "refuses": {"match": _SOMETIMES, "do": {"status": 503}},
    "breaks_off": {"match": _SOMETIMES, "do": {"fail_midway": True}},
    "drops": {"match": {**_SOMETIMES, "scope": "outer"}, "do": {"drop_connection": True}},
    "halves": {"match": _SOMETIMES, "do": {"status": 413}},
}


def _clock(setting: Setting) -> int:
    """What the clock shows at first, in ticks: there is some history already."""
    return BEGIN + 100 * setting.unit_secs * SECOND


def _alike(names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple((name, 1.0) for name in names)


async def _populated(source: Source, setting: Setting, seed: int) -> Source:
    """Points beside those of the beginning, from an event in three units to one in four hundred; and a forecast."""
    dice = Random(f"{seed}/points")
    for number, units in enumerate([3, 25, 100, 400]):
        kind, every = dice.choice(TYPES), f"{units * setting.unit_secs}s"
        await source.change(
            [{"tag": f"Made.{number}2", "action": "create_point", "at": iso(BEGIN), "type": kind, "interval": every}]
        )
    if setting.horizon:
        made = {"tag": "Made.Forecast", "action": "create_point", "at": iso(BEGIN), "future": True}
        await source.change([made | {"type": dice.choice(TYPES), "interval": f"{3 * setting.unit_secs}s"}])
    return source


@asynccontextmanager
async def _process(
    setting: Setting, options: SimulatorOptions, plan: Mapping[str, Any], folder: Path
) -> AsyncIterator[tuple[str, Post]]:
    """The same plant as a process of its own; gives its URL, and what posts to its control routes."""
    faults = folder / "faults.yaml"
    faults.write_text(json.dumps(plan))  # YAML, too
    told = {
        "tags": options.tags, "seed": options.seed, "begin": options.begin, "now": iso(_clock(setting)),
        "interval": f"{setting.unit_secs}s", "faults": faults, "future-renewed": f"{20 * setting.unit_secs}s",
        "future-reach": f"{100 * setting.unit_secs}s",
    }  # fmt: skip
    arguments = [text for name, value in told.items() for text in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine", "simulate", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().removeprefix("listening on ").strip()
        async with aiohttp.ClientSession(url.removesuffix("piwebapi")) as session:

            async def post(route: str, body: Any) -> None:
                async with session.post(f"/simulator/{route}", json=body) as response:
                    assert response.status == 200, await response.text()

            yield url, post
    finally:
        process.terminate()
        await process.wait()
