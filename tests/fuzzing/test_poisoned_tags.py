"""End to end: of N tags one answers poison. The others land exactly, it is named, and no run ends in a traceback."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from random import Random

import pytest

from engine.run import run
from engine.telemetry.report import RunReport
from tests.exactness.expected import assert_same_rows, web_id_of
from tests.exactness.plant import BEGIN, HOUR, Plant
from tests.exactness.reading import read_table, rows_in
from tests.fuzzing.mutate import mutated
from tests.fuzzing.poisoner import Poison, Rewrite, of_tags, poisoned_site
from tests.variants import slowly

END = BEGIN + HOUR
MODES = ("batch", "streamset", "single")
_AT = b'{"Timestamp":"2024-03-05T00:10:00Z","Good":true,"Value":%s}'


def events(*items: bytes, more: bytes = b"") -> bytes:
    return b'{"Items":[%s]%s}' % (b",".join(items), more)


def constant(content: bytes) -> Poison:
    return lambda _said: content


# Nothing of these can be read: the tag is named.
UNREADABLE = {
    "a number": b"7",
    "a text": b'"\\ud83d"',
    "a list": b"[[1]]",
    "nested beyond reason": events(_AT % (b"[" * 5000 + b"]" * 5000)),
    "an open bracket half a million times": b"[" * 500_000,
    "items that are no events": events(b"1", b"null", b'"x"'),
    "items that are an object": b'{"Items":{"0":1}}',
    "no time": events(b'{"Timestamp":null,"Value":1}'),
    "the year 0": events(b'{"Timestamp":"0000-01-01T00:00:00Z","Value":1}'),
    "a leap second": events(b'{"Timestamp":"2024-03-05T00:59:60Z","Value":1}'),
    "half a surrogate for a time": events(b'{"Timestamp":"\\udc00","Value":1}'),
    "a flag that is a text": events(b'{"Timestamp":"2024-03-05T00:10:00Z","Value":1,"Good":"\\ud83d"}'),
    "an error in half a surrogate": b'{"Errors":["\\ud83d \\u0000"]}',
    "200,000 brackets in an error": b'{"Errors":["%s"]}' % (b"<" * 200_000),
    "invalid UTF-8 and no JSON": b"\xff\xfe{",
    "no JSON": b'{"Items":[',
}
# These are events like others, in whatever spelling.
READABLE = {
    "half a surrogate for a unit": (events(_AT % b"1", more=b',"UnitsAbbreviation":"\\ud83d"'), (1.0, None, "")),
    "half a surrogate in a text": (events(_AT % b'"a\\ud83db"'), (None, "a\ufffdb", "")),
    "invalid UTF-8 in a text": (events(_AT % b'"a\xffb"'), (None, "a\ufffdb", "")),
    "what looks like a mark of ours": (events(_AT % b'"\\u0000NaN"'), (None, "\0NaN", "")),
    "20 digits of a second": (
        events(b'{"Timestamp":"2024-03-05T00:10:00.12345678901234567890Z","Value":2}'),
        (2.0, None, ""),
    ),
    "the same key twice": (events(b'{"Timestamp":"2024-03-05T00:10:00Z","Value":1,"Value":2}'), (2.0, None, "")),
    "an exponent beyond reason": (events(_AT % b"1e-1000000000"), (0.0, None, "")),
    "a whole number beyond 64 bits": (events(_AT % str(2**64 + 1).encode()), (2.0**64, str(2**64 + 1), "")),
}


async def poisoned_run(root: Path, mode: str, rewrite: Rewrite, *, tags: int = 9) -> tuple[Plant, RunReport]:
    plant = Plant.of(root, tags=tags, interval_secs=60, types=(("Float32", 1.0), ("String", 1.0)))
    async with plant.simulator(END).serve() as url, poisoned_site(url, rewrite) as poisoned:
        report = await run(
            plant.config(poisoned, extraction={"request_mode": mode}, performance={"values_per_answer": 10_000})
        )
    assert report.error is None, report.error
    return plant, report


def assert_others_exact(plant: Plant, poisoned: Collection[int]) -> None:
    others = [index for index in range(plant.options.tags) if index not in poisoned]
    mine = {web_id_of(index) for index in poisoned}
    assert_same_rows([row for row in rows_in(plant.timeseries) if row[0] not in mine], plant.rows(others, BEGIN, END))
    plant.assert_marks(others, BEGIN, END)


def landed(plant: Plant, index: int) -> list[tuple[object, ...]]:
    rows = read_table(plant.timeseries).to_pylist()
    return [(row["value"], row["value_string"], row["units"]) for row in rows if row["tag_webid"] == web_id_of(index)]


@pytest.mark.parametrize("mode", MODES)
async def test_tags_that_cannot_be_read_are_named_and_the_others_land(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All kinds of poison at once, every other tag being a good one."""
    kinds = [*UNREADABLE.values(), *(content for content, _ in READABLE.values())]
    poisons = {2 * n + 1: constant(content) for n, content in enumerate(kinds)}
    rewrite = of_tags({web_id_of(index): poison for index, poison in poisons.items()})
    plant, report = await poisoned_run(tmp_path, mode, rewrite, tags=2 * len(kinds) + 1)
    assert_others_exact(plant, poisons)
    assert report.exit_code == 1
    unreadable = sorted(poisons)[: len(UNREADABLE)]
    assert dict(report.tags_failed).keys() == {plant.name(index) for index in unreadable}
    assert all(reason.isprintable() for _, reason in report.tags_failed)
    for index, (_, (value, text, units)) in zip(sorted(poisons)[len(UNREADABLE) :], READABLE.values(), strict=True):
        [row] = landed(plant, index)
        assert row[:2] == (value, text)
        assert not units or row[2] == units
    assert not [record for record in caplog.records if record.exc_info or record.name == "osipi.decode"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
async def test_one_tag_that_cannot_be_read_is_named_and_the_others_land(
    tmp_path: Path, mode: str, content: bytes
) -> None:
    plant, report = await poisoned_run(tmp_path, mode, of_tags({web_id_of(4): constant(content)}))
    assert_others_exact(plant, [4])
    assert (report.exit_code, [name for name, _ in report.tags_failed]) == (1, [plant.name(4)])


@pytest.mark.parametrize(
    ("seed", "mode"),
    [(1, "batch"), *slowly(*((seed, mode) for seed in range(1, 21) for mode in MODES if (seed, mode) != (1, "batch")))],
)
async def test_random_bytes_harm_no_other_tag(
    tmp_path: Path, mode: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned = (3, 8, 9, 15)
    dice = {index: Random(f"{mode}/{seed}/{index}") for index in poisoned}

    def poison_of(index: int) -> Poison:
        return lambda said: mutated(said, dice[index], most=20_000)

    rewrite = of_tags({web_id_of(index): poison_of(index) for index in poisoned})
    plant, report = await poisoned_run(tmp_path, mode, rewrite, tags=20)
    assert_others_exact(plant, poisoned)
    assert report.exit_code in {0, 1}
    assert dict(report.tags_failed).keys() <= {plant.name(index) for index in poisoned}
    raised = [record.getMessage() for record in caplog.records if record.name == "osipi.decode"]
    assert not raised, "the decoder raised what its interface does not say: mend it"


HALF = b"\\ud83d"


@pytest.mark.parametrize(
    "changes",
    [
        {
            ("/points$", b'"EngineeringUnits":"', b'"EngineeringUnits":"' + HALF),
            ("/points$", b'"PointType":"', b'"Descriptor":"' + HALF + b'","PointType":"'),
            ("/enumerationvalues|/batch", b'"Name":"', b'"Name":"' + HALF),
        },
        {("/enumerationsets$", b'"WebId":"', b'"WebId":"' + HALF)},
        {("/enumerationsets$", b"{", b"[" * 100_000)},
        {("/enumerationvalues|/batch$", b'"Value":', b'"Value":9223372036854775808,"X":')},
    ],
    ids=["half a surrogate in texts", "half a surrogate in WebIDs of sets", "no list of sets", "codes beyond 64 bits"],
)
async def test_poison_in_what_is_said_of_points_and_states(
    tmp_path: Path, changes: set[tuple[str, bytes, bytes]]
) -> None:
    """A batch may hold values or states; only the states are touched."""
    touched: set[str] = set()

    def rewrite(path: str, asked: bytes, answer: bytes) -> bytes:
        for route, old, new in changes:
            if re.search(route, path) and b'"Timestamp"' not in answer and old in answer:
                touched.add(route)
                answer = answer.replace(old, new)
        return answer

    plant, report = await poisoned_run(tmp_path, "batch", rewrite)
    assert touched == {route for route, _, _ in changes}
    assert (report.exit_code, report.tags_failed) == (0, ())
    assert {row[:3] for row in rows_in(plant.timeseries)} == {row[:3] for row in plant.rows(range(9), BEGIN, END)}
