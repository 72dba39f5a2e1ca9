"""A source that misbehaves: what got through is exact, what did not is named, and a rerun completes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigurationError, UnavailableError
from engine.simulator import Event
from tests.exactness.expected import assert_same_rows, rows_of, web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, text_of
from tests.exactness.reading import is_table, read_table, rows_in
from tests.patience import patiently
from tests.variants import crossed, first_of, slowly

MODES = ("batch", "streamset", "single")
END = BEGIN + HOUR
EVERY_SHAPE = tuple((name, 1.0) for name in ("steady", "jittered", "doubled", "crowded"))
PATIENT = {"retry": {"max_attempts": 6, "initial_wait": "1ms", "max_wait": "5ms"}}


def plant_of(root: Path, tags: int = 9, **options: Any) -> Plant:
    return Plant.of(root, tags=tags, shapes=EVERY_SHAPE, interval_secs=30, **options)


def rules(*rules: dict[str, Any], **switches: Any) -> dict[str, Any]:
    return {"rules": list(rules), "switches": switches}


def data_of(plant: Plant, index: int, **do: Any) -> dict[str, Any]:
    """A rule about the recorded values of one tag, however they are asked for."""
    return {"match": {"route": "*recorded", "tag": plant.name(index)}, "do": do}


async def repaired(plant: Plant, **sections: Any) -> None:
    report = await plant.run(END, retry_holes=True, **sections)
    assert (report.status, report.exit_code, report.tags_failed) == ("succeeded", 0, ())
    plant.assert_exact(BEGIN, END)


# --- what passes by itself -------------------------------------------------------

PASSING = {
    "503": {"status": 503},
    "500": {"status": 500},
    "502 from a proxy": {"status": 502, "html": True},
    "429": {"status": 429},
    "429 with Retry-After": {"status": 429, "retry_after": 0},
    "cut": {"truncate_bytes": 200},
    "cut at once": {"truncate_bytes": 0},
    "cut midway": {"fail_midway": True},
    "web exception": {"web_exception": True},
    "dropped": {"drop_connection": True},
    "a login page": {"status": 200, "html": True, "body": "<html><title>Sign in</title></html>"},
    "half a JSON": {"body": '{"Items":[{"Timestamp":"2024-03-05T00:0'},
    "nothing at all": {"body": ""},
}


MORE_PASSING = {"500", "502 from a proxy", "429", "cut at once", "cut", "nothing at all"}


@pytest.mark.parametrize(("mode", "do"), crossed(["batch", "single"], PASSING, slow=MORE_PASSING))
async def test_a_burst_of_faults_passes_without_a_trace(tmp_path: Path, mode: str, do: dict[str, Any]) -> None:
    plant = plant_of(tmp_path)
    route = {"batch": "batch", "single": "streams/*/recorded"}[mode]
    fault = {"match": {"route": route, "scope": "outer", "after": 1, "first": 4}, "do": do}
    report = await plant.run(
        END, faults=rules(fault), extraction={"request_mode": mode}, performance={"values_per_answer": 300}, **PATIENT
    )
    assert plant.requests[-1].stats["rules_applied"] == [3]
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


@pytest.mark.parametrize("mode", first_of(MODES))
async def test_a_rate_limit_is_waited_out(tmp_path: Path, mode: str) -> None:
    """Parts of a batch count too, and are refused one by one inside an answer that succeeded."""
    plant = plant_of(tmp_path, tags=40)
    report = await plant.run(
        END,
        faults=rules(rate_limit=25, rate_limit_secs=0.4),
        extraction={"request_mode": mode},
        retry={"max_attempts": 8, "initial_wait": "100ms", "max_wait": "500ms"},
    )
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


def in_time(secs: float) -> str:
    """A time-out that a busy machine keeps to where an answer comes at all; a tag that is slow takes 30 s."""
    return f"{round(1000 * min(10.0, patiently(secs)))}ms"


async def test_an_answer_that_never_comes_is_asked_for_again(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    hang = {"match": {"route": "batch", "nth": 2}, "do": {"hang": True}}
    report = await plant.run(END, faults=rules(hang), pi_web_api={"timeout": in_time(0.5)}, **PATIENT)
    assert (report.status, report.retries) == ("succeeded", 1)
    plant.assert_exact(BEGIN, END)


# --- one bad tag among good ones -------------------------------------------------

BAD = {
    "forbidden": {"status": 403},
    "gone": {"status": 404},
    "deleted": {"status": 410},
    "malformed": {"status": 400},
    "broken": {"status": 500},
    "secured": {"status": 500, "body": {"Errors": ["[-10401] No Read Access - Secure Object"]}},
    "behind a broken proxy": {"status": 502, "html": True},
    "conflict": {"status": 409},
    "web exception": {"web_exception": True},
    "null": {"body": "null"},
    "no items": {"body": {}},
    "null items": {"body": {"Items": None}},
    "items of another kind": {"body": {"Items": [1, 2]}},
    "a list": {"body": "[]"},
    "no time": {"body": {"Items": [{"Timestamp": "yesterday", "Value": 1.0, "Good": True}]}},
    "only errors": {"body": {"Errors": ["Data was not available."]}},
    "web exception alone": {"body": {"WebException": {"Errors": ["x"], "StatusCode": 500}, "Items": []}},
}


@pytest.mark.parametrize("mode", ["batch", "single"])
async def test_bad_tags_of_every_kind_hold_up_no_other(tmp_path: Path, mode: str) -> None:
    plant = plant_of(tmp_path, tags=2 * len(BAD))
    limits = {"request_mode": mode, "max_count_per_tag": 50}
    faults = rules(*(data_of(plant, 2 * index, **do) for index, do in enumerate(BAD.values())))
    report = await plant.run(END, faults=faults, extraction=limits)
    plant.assert_exact_but(range(0, 2 * len(BAD), 2), BEGIN, END, report)


@pytest.mark.parametrize(("mode", "do"), crossed(["batch", "single"], BAD, slow=BAD.keys() - {"forbidden", "null"}))
async def test_one_bad_tag_holds_up_no_other(tmp_path: Path, mode: str, do: dict[str, Any]) -> None:
    plant = plant_of(tmp_path)
    limits = {"request_mode": mode, "max_count_per_tag": 50}
    report = await plant.run(END, faults=rules(data_of(plant, 4, **do)), extraction=limits)
    plant.assert_exact_but([4], BEGIN, END, report)


@pytest.mark.parametrize("status", [403, 500, *slowly(400, 404, 409, 410, 502)])
async def test_a_bad_tag_spoils_its_streamset_for_no_other(tmp_path: Path, status: int) -> None:
    plant = plant_of(tmp_path)
    limits = {"request_mode": "streamset", "max_count_per_tag": 50}
    report = await plant.run(END, faults=rules(data_of(plant, 4, status=status)), extraction=limits)
    plant.assert_exact_but([4], BEGIN, END, report)
    await repaired(plant, extraction=limits)


async def test_a_streamset_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    """A 200 that ends with a WebException: nobody knows which of its streams is not whole."""
    plant = plant_of(tmp_path)
    once = {"match": {"route": "streamsets/recorded", "first": 1}, "do": {"web_exception": True}}
    report = await plant.run(END, faults=rules(once), extraction={"request_mode": "streamset"})
    assert plant.requests[-1].stats["rules_applied"] == [1]
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


async def test_a_tag_that_breaks_every_set_it_is_in_holds_up_no_other(tmp_path: Path) -> None:
    plant = plant_of(tmp_path, tags=40)
    limits = {"request_mode": "streamset", "max_count_per_tag": 50}
    bad = rules(*(data_of(plant, index, web_exception=True) for index in (3, 4, 17, 30, 31)))
    report = await plant.run(END, faults=bad, extraction=limits)
    plant.assert_exact_but([3, 4, 17, 30, 31], BEGIN, END, report)
    await repaired(plant, extraction=limits)


@pytest.mark.parametrize(("mode", "place"), crossed(MODES, [0, 1, 7], slow="1"))
async def test_a_value_with_errors_is_a_bad_row_until_it_is_compared_again(
    tmp_path: Path, mode: str, place: int
) -> None:
    plant = plant_of(tmp_path)
    failing = rules(data_of(plant, 2, value_error=place))
    report = await plant.run(END, faults=failing, extraction={"request_mode": mode})
    assert (report.status, report.exit_code) == ("succeeded", 0)
    rows = read_table(plant.timeseries).to_pylist()
    [bad] = [row for row in rows if row["value_kind"] == "error"]
    assert (bad["tag_name"], bad["value"], bad["good"]) == (plant.name(2), None, False)
    assert bad["value_string"] == "Data was not available for attribute."
    assert len(rows) == len(plant.rows(range(9), BEGIN, END))
    await repaired(plant, extraction={"lookback": "2h"})


@pytest.mark.parametrize("mode", first_of(["single", "batch", "streamset"]))
async def test_a_tag_that_answers_too_late_is_given_up(tmp_path: Path, mode: str) -> None:
    plant = plant_of(tmp_path, tags=3)
    slow = {"tags": [{"tag": plant.name(1), "slow_secs": 30}]}
    report = await plant.run(END, faults=slow, extraction={"request_mode": mode}, pi_web_api={"timeout": in_time(0.3)})
    plant.assert_exact_but([1], BEGIN, END, report)
    await repaired(plant)


@pytest.mark.parametrize(("mode", "trouble"), crossed(MODES, [{"gone": True}, {"forbidden": 403}, {"forbidden": 500}]))
async def test_points_in_trouble_are_named(tmp_path: Path, mode: str, trouble: dict[str, Any]) -> None:
    plant = plant_of(tmp_path)
    faults = {"tags": [{"tag": plant.name(index), **trouble} for index in (0, 8)]}
    report = await plant.run(END, faults=faults, extraction={"request_mode": mode})
    plant.assert_exact_but([0, 8], BEGIN, END, report)
    await repaired(plant)


@pytest.mark.parametrize("bad_web_id", [400, "per_stream", *slowly(404)])
async def test_a_streamset_that_fails_for_one_tag_is_narrowed_down_to_it(tmp_path: Path, bad_web_id: Any) -> None:
    plant = plant_of(tmp_path, tags=30)
    faults = {"tags": [{"tag": plant.name(17), "gone": True}], "switches": {"bad_web_id": bad_web_id}}
    report = await plant.run(END, faults=faults, extraction={"request_mode": "streamset"})
    plant.assert_exact_but([17], BEGIN, END, report)
    await repaired(plant)


@pytest.mark.parametrize(("mode", "status"), crossed(MODES, [403, 500]))
async def test_many_bad_tags_in_a_row_hold_up_no_other_either(tmp_path: Path, mode: str, status: int) -> None:
    """As many refusals, one after another, as a server that is down would give."""
    plant = plant_of(tmp_path, tags=40)
    bad = range(5, 30)
    faults = rules(*(data_of(plant, index, status=status) for index in bad))
    report = await plant.run(END, faults=faults, extraction={"request_mode": mode})
    plant.assert_exact_but(bad, BEGIN, END, report)
    await repaired(plant)


# --- limits of the server --------------------------------------------------------


@pytest.mark.parametrize("mode", first_of(["streamset", "batch", "single"]))
async def test_a_server_that_gives_less_than_we_ask_for(tmp_path: Path, mode: str) -> None:
    plant = plant_of(tmp_path)
    report = await plant.run(END, faults=rules(max_items=40, check_product=True), extraction={"request_mode": mode})
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


@pytest.mark.parametrize(
    ("mode", "switches"),
    crossed(
        ["batch", "streamset"],
        {"items": {"batch_max_items": 4}, "body": {"max_body_bytes": 3000}, "url": {"url_max_bytes": 900}},
    ),
)
async def test_requests_too_large_are_made_smaller(tmp_path: Path, mode: str, switches: dict[str, Any]) -> None:
    plant = plant_of(tmp_path, tags=20)
    report = await plant.run(
        END,
        faults=rules(**switches),
        extraction={
            "request_mode": mode, "tag_name_filter": [], "tags": [plant.simulator(0).web_id(i) for i in range(20)]
        },
    )  # fmt: skip
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


@pytest.mark.parametrize(("mode", "same_tick"), crossed(MODES, [True, False]))
async def test_more_events_in_one_microsecond_than_a_page_holds(tmp_path: Path, mode: str, same_tick: bool) -> None:
    """The page is made larger until the microsecond fits, and back to normal after it."""
    plant = plant_of(tmp_path)
    at = BEGIN + 20 * MINUTE + 123_456
    faults = {"tags": [{"tag": plant.name(3), "stuck": {"at": text_of(at), "events": 90, "same_tick": same_tick}}]}
    report = await plant.run(END, faults=faults, extraction={"request_mode": mode, "max_count_per_tag": 10})
    assert report.status == "succeeded"
    assert_same_rows(rows_in(plant.timeseries), with_history(plant, 3, BEGIN, END))
    assert plant.mark(3).high == END


@pytest.mark.parametrize("mode", first_of(MODES))
async def test_a_microsecond_that_no_page_can_hold_is_a_hole_until_one_can(tmp_path: Path, mode: str) -> None:
    plant = plant_of(tmp_path)
    at = BEGIN + 20 * MINUTE + 123_456
    stuck = {"tags": [{"tag": plant.name(3), "stuck": {"at": text_of(at), "events": 90, "same_tick": True}}]}
    report = await plant.run(
        END,
        faults={**stuck, "switches": {"max_items": 60}},
        extraction={"request_mode": mode, "max_count_per_tag": 20},
    )
    assert (report.status, report.exit_code, report.tags_failed) == ("incomplete", 1, ())
    assert [(hole.tag, hole.hole.start, hole.hole.end) for hole in report.holes] == [(plant.name(3), at, at + 1)]
    expected = with_history(plant, 3, BEGIN, END)
    assert_same_rows(rows_in(plant.timeseries), [row for row in expected if row[2] != at or row[0] != web_id_of(3)])
    assert plant.mark(3).high == END
    report = await plant.run(
        END, faults=stuck, extraction={"request_mode": mode, "max_count_per_tag": 20}, retry_holes=True
    )
    assert (report.status, report.holes) == ("succeeded", ())
    assert_same_rows(rows_in(plant.timeseries), with_history(plant, 3, BEGIN, END))


async def test_history_is_read_past_a_microsecond_that_no_page_can_hold(tmp_path: Path) -> None:
    """The window grows both ways; below it a microsecond is stuck, above it all is well."""
    plant = plant_of(tmp_path, tags=3)
    done = {"start_date": text_of(BEGIN + 30 * MINUTE), "end_date": text_of(BEGIN + 40 * MINUTE)}
    await plant.run(END, extraction=done)
    at = BEGIN + 20 * MINUTE + 123_456
    stuck = {"tags": [{"tag": plant.name(1), "stuck": {"at": text_of(at), "events": 90, "same_tick": True}}]}
    limits = {"mode": "full", "max_count_per_tag": 20}
    report = await plant.run(
        END,
        faults={**stuck, "switches": {"max_items": 60}},
        extraction=limits,
        performance={"commit_rows": 100},
    )
    assert (report.status, report.exit_code) == ("incomplete", 1)
    assert [(hole.tag, hole.hole.start, hole.hole.end) for hole in report.holes] == [(plant.name(1), at, at + 1)]
    mark = plant.mark(1)
    assert (mark.low, mark.high, mark.status) == (BEGIN, END, "ok")
    expected = with_history(plant, 1, BEGIN, END)
    assert_same_rows(rows_in(plant.timeseries), [row for row in expected if row[2] != at or row[0] != web_id_of(1)])
    report = await plant.run(END, faults=stuck, extraction=limits, retry_holes=True)
    assert (report.status, report.holes) == ("succeeded", ())
    assert_same_rows(rows_in(plant.timeseries), with_history(plant, 1, BEGIN, END))


def with_history(plant: Plant, index: int, start: int, end: int) -> list[Any]:
    """Expected rows where one tag shows what the archive was made to hold."""
    shown: list[Event] = plant.requests[-1].events(index, start * 10, end * 10)
    others = [other for other in range(plant.options.tags) if other != index]
    return plant.rows(others, start, end) + rows_of(plant.requests[-1]._site.point(index), shown)


# --- the whole server ------------------------------------------------------------


@pytest.mark.parametrize("status", first_of([405, 404, 501]))
async def test_without_batch_there_is_another_way(tmp_path: Path, status: int) -> None:
    plant = plant_of(tmp_path)
    no_batch = rules({"match": {"route": "batch"}, "do": {"status": status}})
    with pytest.raises(ConfigurationError, match="POST /batch"):
        await plant.run(END, faults=no_batch, extraction={"request_mode": "batch"})
    assert plant.count() == 0
    report = await plant.run(END, faults=no_batch)
    assert report.status == "succeeded"
    plant.assert_exact(BEGIN, END)


@pytest.mark.parametrize(
    ("mode", "do"), crossed(MODES, [{"status": 500}, {"status": 503}, {"status": 429}, {"drop_connection": True}])
)
async def test_a_server_that_gives_no_values_moves_nothing(tmp_path: Path, mode: str, do: dict[str, Any]) -> None:
    plant = plant_of(tmp_path)
    await plant.run(BEGIN + MINUTE)
    dead = rules(
        {"match": {"route": "*recorded", "scope": "outer"}, "do": do},
        {"match": {"route": "batch", "after": 1}, "do": do},
    )
    report = await plant.run(END, faults=dead, extraction={"request_mode": mode})
    assert (report.status, report.exit_code, report.records_written) == ("incomplete", 1, 0)
    assert report.tags_extracted == 0
    assert {mark.high for mark in plant.marks().values()} == {BEGIN + MINUTE}
    await repaired(plant)


async def test_a_login_that_is_taken_away_midway_ends_the_run_and_keeps_what_was_read(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    # The longest answer is looked behind: a request more than tags.
    locked = rules({"match": {"route": "streams/*/recorded", "after": 5}, "do": {"status": 401}})
    report = await plant.run(END, faults=locked, extraction={"request_mode": "single"}, pi_web_api={"max_in_flight": 1})
    assert (report.status, report.exit_code, report.tags_undone) == ("incomplete", 3, 5)
    done = [index for index in range(9) if web_id_of(index) in plant.marks()]
    assert len(done) == 4
    plant.assert_exact(BEGIN, END, indexes=done)
    await repaired(plant)


async def test_a_server_that_cannot_be_reached_makes_no_tables(tmp_path: Path) -> None:
    plant = plant_of(tmp_path)
    everything = rules({"do": {"drop_connection": True}})
    with pytest.raises(UnavailableError, match=r"closed the connection|broke the connection"):
        await plant.run(END, faults=everything)
    assert not is_table(plant.timeseries)
