"""A server, or a gateway, that gives fewer events than it is asked for, and does not say so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from engine.simulator.dispatch import Dispatch
from engine.simulator.replies import Reply, json_reply
from engine.simulator.server import Simulator
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.variants import first_of

END = BEGIN + HOUR


@contextmanager
def cut(cut_streams: Callable[[list[Any]], None]) -> Iterator[list[str]]:
    """Answers with recorded values, cut before they are sent. Gives what is asked for."""
    real, real_batch, asked = Dispatch.answer, Simulator._batch, []

    def answer(self: Dispatch, method: str, target: str, *more: Any) -> Reply:
        reply = real(self, method, target, *more)
        if "/recorded?" not in target or reply.status != 200:
            return reply
        asked.append(target)
        content = json.loads(reply.body())
        cut_streams(content["Items"] if "/streamsets/" in target else [content])
        return json_reply(content)

    async def batch(self: Simulator, *what: Any) -> Reply:
        reply = await real_batch(self, *what)
        parts = json.loads(reply.body())
        asked.append("batch")
        cut_streams([part["Content"] for part in parts.values() if "UnitsAbbreviation" in (part["Content"] or {})])
        return json_reply(parts, reply.status)

    with patch.object(Dispatch, "answer", answer), patch.object(Simulator, "_batch", batch):
        yield asked


def capped(cap: int) -> Any:
    """Of each stream only the first `cap` events come."""

    def first_of_each(streams: list[Any]) -> None:
        for stream in streams:
            stream["Items"] = stream["Items"][:cap]

    return cut(first_of_each)


@pytest.mark.parametrize("mode", first_of(["batch", "streamset", "single"]))
async def test_what_is_cut_without_a_sign_is_read_on(tmp_path: Path, mode: str) -> None:
    plant = Plant.of(tmp_path, tags=3, shapes=(("steady", 1.0), ("doubled", 1.0)), interval_secs=10)
    with capped(137):
        report = await plant.run(END, extraction={"request_mode": mode})
    assert (report.status, report.tags_failed) == ("succeeded", ())
    plant.assert_exact(BEGIN, END)
    plant.assert_marks(range(3), BEGIN, END)


async def test_events_that_have_just_come_are_no_sign_of_a_server_that_holds_back(tmp_path: Path) -> None:
    """They come after the longest answer and before the look at what follows it."""
    plant = Plant.of(tmp_path, tags=1, shapes=(("steady", 1.0),), interval_secs=10)
    real, late = Dispatch.answer, []

    def answer(self: Dispatch, method: str, target: str, *more: Any) -> Reply:
        reply = real(self, method, target, *more)
        if "/recorded?" not in target or reply.status != 200:
            return reply
        content = json.loads(reply.body())
        late.append(target)
        if len(late) == 1:
            del content["Items"][-5:]
        return json_reply(content)

    with patch.object(Dispatch, "answer", answer):
        report = await plant.run(END, extraction={"request_mode": "single"})
    assert len(late) == 3
    assert report.status == "succeeded"
    assert not any("max_count_per_tag" in warning for warning in report.warnings)
    await plant.run(END, extraction={"request_mode": "single", "lookback": "1h"})
    plant.assert_exact(BEGIN, END)


async def test_a_look_that_is_refused_costs_no_tag(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=3, shapes=(("steady", 1.0),), interval_secs=10)
    real, refused = Dispatch.answer, []

    def answer(self: Dispatch, method: str, target: str, *more: Any) -> Reply:
        if "/recorded?" in target and "maxCount=99&" in f"{target}&":
            refused.append(target)
            return json_reply({"Errors": ["The range cannot be read."]}, 400)
        return real(self, method, target, *more)

    with patch.object(Dispatch, "answer", answer):
        report = await plant.run(END)
    assert len(refused) == 1, "the answer stands, and is not asked for in parts"
    assert (report.status, report.tags_failed) == ("succeeded", ())
    plant.assert_exact(BEGIN, END)


async def test_a_server_that_gives_all_is_asked_once_more(tmp_path: Path) -> None:
    """Once for the longest answer, not for each tag."""
    plant = Plant.of(tmp_path, tags=9, shapes=(("steady", 1.0),), interval_secs=10)
    with capped(10_000) as asked:
        await plant.run(END, extraction={"request_mode": "single"})
    plant.assert_exact(BEGIN, END)
    assert len(asked) <= 9 + 3
