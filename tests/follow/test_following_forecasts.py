"""Following forecasts: each class in its own interval, and sooner where the server says that one was changed."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.datasets import stream_updates
from engine.run import follow
from engine.simulator import forecast_events, point
from engine.telemetry.events import Committed
from tests.exactness.expected import Row, assert_same_rows, expected_rows, rows_of, web_id_of
from tests.exactness.reading import marks_in, rows_in
from tests.follow.live import CRITICAL, Followed, LivePlant

pytestmark = pytest.mark.slow
FORECASTS = (10, 11)
AHEAD = 20_000_000


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[LivePlant]:
    """Ten ordinary tags and two forecasts, issued every second for a minute."""
    more = ("--future-tags", "2", "--future-renewed", "1s", "--future-reach", "60s")
    plant = LivePlant(tmp_path, more=more, extraction={"future_horizon": "20s", "interval": "2s"})
    plant.options = replace(plant.options, future_tags=2, future_renewed_secs=1.0, future_reach_secs=60.0)
    plant.server.start()
    yield plant
    plant.server.stop()


async def followed(plant: LivePlant, reached: Callable[[Followed], bool], **extraction: object) -> Followed:
    it = Followed(plant, plant.config(extraction=extraction))
    await it.until(lambda: reached(it))
    return it


def forecast(plant: LivePlant, index: int, start: int, end: int, later: int) -> Counter[Row]:
    """What is forecast for when a tag was read, or for so many seconds later: it is read after the clock was."""
    now = (end - AHEAD + later * 1_000_000) * 10
    return Counter(
        rows_of(point(plant.options, index), forecast_events(plant.options, index, start * 10, end * 10, now))
    )


async def test_what_is_over_is_exact_and_what_is_ahead_reaches_to_the_horizon(plant: LivePlant):
    it = await followed(plant, lambda it: len(it.cycles) >= 8)
    report = await it.ended()
    assert (report.status, report.error) == ("succeeded", None)
    assert report.corrections.changed > 100
    marks = marks_in(plant.table("pi_watermarks"))
    rows = rows_in(plant.table("pi_timeseries"))
    for index in range(plant.tags):
        mark, mine = marks[web_id_of(index)], [row for row in rows if row[0] == web_id_of(index)]
        if index not in FORECASTS:
            assert_same_rows(mine, expected_rows(plant.options, [index], mark.low, mark.high))
            continue
        over = mark.high - AHEAD - 200_000  # the lag
        final = forecast_events(plant.options, index, mark.low * 10, over * 10, now=mark.high * 10)
        assert_same_rows([row for row in mine if row[2] < over], rows_of(point(plant.options, index), final))
        ahead = Counter(row for row in mine if row[2] >= over)
        assert ahead in [forecast(plant, index, over, mark.high, later) for later in range(3)]
    # The critical tags are read more often than forecasts.
    assert len({marks[web_id_of(n)].high for n in range(CRITICAL)}) == 1
    fresh = it.cycles[-1].until - marks[web_id_of(FORECASTS[0])].high + AHEAD
    assert 0 <= fresh + 200_000 < 10_000_000


async def test_a_change_ahead_is_read_at_the_hint_of_the_server(plant: LivePlant, monkeypatch: pytest.MonkeyPatch):
    """The class of the tag is not due for an hour: only the server's updates say where to look again."""
    hinted = SimpleNamespace(open=partial(stream_updates.UpdatesWatch.open, interval_secs=0.5))
    monkeypatch.setattr(follow, "UpdatesWatch", hinted)
    chosen = {"stream_updates": "auto", "interval": "1h", "future_horizon": "50s"}
    it = await followed(plant, lambda it: len(it.cycles) >= 3, **chosen)
    mark = marks_in(plant.table("pi_watermarks"))[web_id_of(11)]
    ahead = (mark.high - 5_000_000) // 1000 * 1000 + 777
    at = f"{datetime.fromtimestamp(ahead / 1e6, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    edit = [{"tag": 11, "action": "insert", "at": at, "value": 4711.5}]
    request = urllib.request.Request(
        plant.server.url.removesuffix("/piwebapi") + "/simulator/changes",
        json.dumps(edit).encode(),
        {"Content-Type": "application/json"},
    )
    await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())

    def there() -> bool:
        return bool(it.told(Committed)) and any(row[2] == ahead for row in rows_in(plant.table("pi_timeseries")))

    await it.until(there, secs=30)
    report = await it.ended()
    assert report.status == "succeeded"
    assert marks_in(plant.table("pi_watermarks"))[web_id_of(11)].high == mark.high
