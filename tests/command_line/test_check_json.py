"""`check --json`: one object with every check, and the exit code of the plain command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line.conftest import Called, written

NAMES = ["packages", "configuration", "secrets", "PI Web API", "login", "tags", "requests", "reading"]


def test_each_check_is_in_the_object(called: Called, here: Path, site: str):
    written(here, site)
    plain, told = called("check", "-c", "plant.yaml"), called("check", "-c", "plant.yaml", "--json")
    assert plain.code == told.code == told.json["exit_code"] == 0
    assert (told.json["pipeline"], told.json["status"]) == ("plant", "passed")
    checks = told.json["checks"]
    assert [one["name"] for one in checks][: len(NAMES)] == NAMES
    assert {one["status"] for one in checks} == {"passed"}
    assert {one["hint"] for one in checks} == {None}
    lines = plain.out.splitlines()[:-1]  # the last one says what is next
    assert [line.split(maxsplit=1)[1].startswith(one["name"]) for line, one in zip(lines, checks, strict=True)] == [
        True
    ] * len(checks)


@pytest.mark.parametrize(
    ("sections", "code", "failed", "skipped"),
    [
        ({"extraction": {"tags": ["NOTHING"]}}, 1, {"tags"}, set()),
        ({"pi_web_api": {"auth_type": "basic", "username": "pi", "password": "wrong"}}, 3, {"login"}, {"tags"}),
    ],
    ids=["unknown tag", "wrong password"],
)
def test_what_fails_says_what_to_do_and_ends_as_the_plain_command(
    called: Called, here: Path, guarded_site: str, site: str, sections, code, failed, skipped
):
    written(here, guarded_site if code == 3 else site, **sections)
    plain, told = called("check", "-c", "plant.yaml"), called("check", "-c", "plant.yaml", "--json")
    assert plain.code == told.code == told.json["exit_code"] == code
    assert told.json["status"] == "failed"
    by_status = {
        status: {c["name"] for c in told.json["checks"] if c["status"] == status} for status in ("failed", "skipped")
    }
    assert by_status["failed"] == failed
    assert by_status["skipped"] >= skipped
    [problem] = [one for one in told.json["checks"] if one["status"] == "failed"]
    assert problem["text"] in plain.out
    assert problem["hint"] in plain.out
    assert "wrong" not in told.out.replace("wrong password", "")


def test_a_configuration_that_cannot_be_read_is_the_usual_object(called: Called):
    done = called("check", "-c", "nowhere.yaml", "--json")
    assert done.code == done.json["exit_code"] == 2
    assert done.json["error"]["message"].startswith("nowhere.yaml: cannot be read")
