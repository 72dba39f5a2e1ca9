"""Every example does what its comment says: the commands in it, run as they stand, bring every event once.

Only where the source is, how to log in and where the tables go is set beside.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import load
from engine.commands.pipeline_commands import run as run_command
from tests.crash.process import Process, at_once, command, served, until
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import HOUR, Plant, micros
from tests.exactness.reading import is_table, marks_in, rows_in

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "config" / "examples").glob("*.yaml"))
COMMAND = re.compile(r"# +python -m engine (.+)")
NOW = micros("2024-03-05T12:00:00Z")
MICROSECOND = 1e-6
# What an example names that the simulated plant has not; everything else stays as it is written.
OF_THE_PLANT: Mapping[str, tuple[str, ...]] = {
    "minimal": ('extraction.tags=["\\\\\\\\PISRV01\\\\{name}"]',),
    "oauth": ("pi_web_api.oauth=null",),
    "low_latency": ('extraction.classes=[{{"name": "critical", "tags": ["{name}"], "interval": "10s"}}]',),
    "follow": ('extraction.classes=[{{"name": "critical", "tags": ["{name}"], "interval": "1m"}}]',),
}


@pytest.fixture(scope="module", autouse=True)
def _forks() -> None:
    at_once()


@dataclass(frozen=True)
class Command:
    """A command of a comment."""

    arguments: tuple[str, ...]

    @property
    def example(self) -> Path:
        return REPOSITORY / self.arguments[self.arguments.index("-c") + 1]

    @property
    def follows(self) -> bool:
        return "--follow" in self.arguments


def commands_in(path: Path) -> list[Command]:
    """Those of the comment at the top."""
    top = path.read_text().partition("pi_web_api:")[0].partition("\npipeline:")[0]
    return [Command(tuple(shlex.split(found))) for found in COMMAND.findall(top)]


def plant_of(root: Path, **options: object) -> Plant:
    return Plant.of(root, **{"tags": 6, "interval_secs": 600, "server": "PISRV01", **options})


class Started:
    """Commands against one server and one lake."""

    def __init__(self, folder: Path, plant: Plant, url: str) -> None:
        self._folder = folder
        self._plant = plant
        self._url = url
        self._count = 0

    def start(self, what: Command, *more: str) -> Process:
        self._count += 1
        settings = (
            f"pi_web_api.url={self._url}",
            "pi_web_api.auth_type=anonymous",
            "pi_web_api.secrets_scope=null",
            "pi_web_api.max_requests_per_second=1000",
            f"storage.root={self._plant.root}",
            *(text.format(name=self._plant.name(0)) for text in OF_THE_PLANT.get(what.example.stem, ())),
        )
        given = (str(what.example) if part.startswith("config/") else part for part in what.arguments)
        arguments = (*given, *(f"--set={one}" for one in settings), *more)
        return command(self._folder / f"{self._count}-{what.example.stem}", *arguments)

    async def to_the_end(self, what: Command, *more: str) -> int:
        ended = await self.start(what, *more).end()
        assert ended.code in {0, 2}, ended.output
        return ended.code


def is_done(plant: Plant, pipeline: str, tags: list[int], end: int) -> bool:
    marks = marks_in(plant.watermarks, pipeline) if is_table(plant.watermarks) else {}
    return all(web_id_of(tag) in marks and marks[web_id_of(tag)].high == end for tag in tags)


def assert_each_event_once(plant: Plant, tags: list[int], start: int, end: int) -> None:
    """Of tags without future data the table holds what the source has; of all of them nothing twice."""
    present = [tag for tag in tags if tag < plant.options.tags - plant.options.future_tags]
    names = {plant.name(tag) for tag in present}
    rows = rows_in(plant.timeseries)
    assert_same_rows([row for row in rows if row[1] in names], plant.rows(present, start, end))
    assert max(Counter((row[0], row[2], row[3]) for row in rows).values()) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_comment_of_an_example_holds_commands_that_there_are(path: Path) -> None:
    commands = commands_in(path)
    assert commands
    assert commands[-1].example == path
    assert all(one.arguments[0] == run_command.name and one.example.exists() for one in commands)
    pipelines = {load(one.example, env={}).config.pipeline for one in commands}
    assert len(pipelines) == 1, "what runs beside each other on the same tags is one pipeline"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_brings_every_event_once(path: Path, tmp_path: Path) -> None:
    """What its comment names after what follows runs beside it; and what ends is run twice."""
    plant = plant_of(tmp_path / "lake", future_tags=2 * (path.stem == "forecasts"))
    extraction, pipeline = load(path, env={}).config.extraction, load(path, env={}).config.pipeline
    tags = [0] if path.stem == "minimal" else list(range(plant.options.tags))
    end = NOW - round(extraction.lag.total_seconds() / MICROSECOND)
    async with served(plant, NOW) as document:
        runs = Started(tmp_path, plant, document()["pi_web_api"]["url"])
        following: list[Process] = []
        for one in commands_in(path):
            if one.follows:
                following.append(runs.start(one))
                live = NOW - round(load(one.example, env={}).config.extraction.lag.total_seconds() / MICROSECOND)
                await until(lambda live=live: is_done(plant, pipeline, tags, live))
            else:
                assert await runs.to_the_end(one) == 0
                assert await runs.to_the_end(one) == 0
        for process in following:
            assert process.alive
            process.send(signal.SIGTERM)
            assert (await process.end()).code == 0
    ends = {mark.high for mark in marks_in(plant.watermarks, pipeline).values()}
    assert_each_event_once(plant, tags, extraction.start_date.micros(NOW), min(ends | {end}))


async def test_a_pipeline_beside_another_on_the_same_tags_is_refused(tmp_path: Path) -> None:
    """Examples of two pipelines, as they used to be run: who comes second is told."""
    plant = plant_of(tmp_path / "lake")
    [large] = commands_in(next(path for path in EXAMPLES if path.stem == "large"))
    [kerberos] = commands_in(next(path for path in EXAMPLES if path.stem == "kerberos"))
    async with served(plant, NOW) as document:
        runs = Started(tmp_path, plant, document()["pi_web_api"]["url"])
        assert await runs.to_the_end(large) == 0
        refused = await runs.start(kerberos).end()
        assert refused.code == 2
        assert "6 of 6 tags of pipeline default are brought into bronze.pi_timeseries by pipeline plant-hourly" in (
            " ".join(refused.output.split())
        )
        for name in ("check", "plan"):
            looked = await runs.start(Command((name, *kerberos.arguments[1:]))).end()
            assert looked.code == 2
            assert "pipeline plant-hourly" in " ".join(looked.output.split())
        assert await runs.to_the_end(kerberos, "--take-over", "plant-hourly") == 0
        assert await runs.to_the_end(large) == 2
    assert_each_event_once(plant, list(range(6)), NOW - 24 * HOUR, rows_end(plant))


def rows_end(plant: Plant) -> int:
    [end] = {mark.high for mark in marks_in(plant.watermarks, "default").values()}
    return int(end)
