"""`af` shows the asset framework as the tables will hold it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.commands.af.main import _print_csv
from tests.command_line.conftest import NOW, Called, simulated, written

UNIT = r"Site 01\Unit 02"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with simulated("--tags", "50", "--elements", "130", "--now", NOW) as url:
        yield url


def test_databases(called: Called, here: Path, site: str) -> None:
    written(here, site)
    [one] = called("af", "databases", "-c", "plant.yaml", "--json").json["databases"]
    assert (one["name"], one["path"]) == ("Plant", r"\\SIMAF\Plant")
    assert called("af", "databases", "-c", "plant.yaml").out.splitlines()[-1] == "1 AF database"


@pytest.mark.parametrize("path", [UNIT, rf"\\SIMAF\Plant\{UNIT}", rf"{UNIT}" + "\\"])
def test_elements_below_a_path(called: Called, here: Path, site: str, path: str) -> None:
    written(here, site)
    found = called("af", "elements", path, "-c", "plant.yaml", "--json").json
    assert found["count"] == len(found["elements"]) == 10
    assert {one["element_path"].rpartition("\\")[0] for one in found["elements"]} == {rf"\\SIMAF\Plant\{UNIT}"}
    shown = called("af", "elements", path, "-c", "plant.yaml").out.splitlines()
    assert shown[0].split() == ["name", "template", "children", "description"]
    assert shown[-1] == rf"10 elements below \\SIMAF\Plant\{UNIT}"


def test_elements_of_all_levels_filtered_and_as_csv(called: Called, here: Path, site: str) -> None:
    written(here, site)
    every = called("af", "elements", "-c", "plant.yaml", "--all-levels", "--json").json["elements"]
    assert len(every) == 130
    done = called("af", "elements", "-c", "plant.yaml", "--all-levels", "--template", "Equipment", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    wanted = {"Pump", "Compressor", "Tank", "Heater"}
    assert [row["element_webid"] for row in rows] == [
        one["element_webid"] for one in every if one["template_name"] in wanted
    ]
    named = called("af", "elements", "-c", "plant.yaml", "--all-levels", "--name", "pump*", "--limit", "3")
    assert named.out.splitlines()[-1].endswith("; 3 are listed, --limit 0 lists all")
    assert len(named.out.splitlines()) == 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+cmd", "'+1+cmd"),
        ("-10VDC", "'-10VDC"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "\N{REPLACEMENT CHARACTER}=1"),
        ("-10.5", "-10.5"),
        ("+1e-3", "+1e-3"),
        ("Pump-1", "Pump-1"),
        ("", ""),
    ],
)
def test_no_text_in_csv_is_a_formula(capsys: pytest.CaptureFixture[str], value: str, shown: str) -> None:
    _print_csv([{"name": value, "level": -1}])
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row == {"name": shown, "level": "-1"}


def test_attributes_with_values(called: Called, here: Path, site: str) -> None:
    written(here, site)
    found = called("af", "attributes", rf"{UNIT}\Tank 00023", "-c", "plant.yaml", "--json").json["attributes"]
    by_name = {one["attribute_path"].partition("|")[2]: one for one in found}
    assert (
        by_name["Ledger number"]["value_string"] == str(9_007_199_254_740_993 + 23) or by_name["Ledger number"]["value"]
    )
    assert by_name["Limits|High"]["trait"] == "LimitHi"
    assert by_name["Level"]["tag_path"].startswith(r"\\SIMDA")
    assert by_name["Level"]["value_timestamp"] <= NOW
    lines = called("af", "attributes", rf"{UNIT}\Tank 00023", "-c", "plant.yaml").out.splitlines()
    assert any(line.startswith("Limits|High ") for line in lines)
    assert "Internal note" not in str(called("af", "attributes", UNIT, "-c", "plant.yaml").out)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("elements", "Nowhere"), r"error: there is no element \\SIMAF\Plant\Nowhere"),
        (("attributes", "Nowhere"), r"error: there is no element \\SIMAF\Plant\Nowhere"),
        (("elements", "--database", "Else"), "error: there is no AF database 'Else'"),
        (("attributes", r"\\SIMAF\Plant"), "error: an AF database has no attributes"),
        (("elements", "--template", "Nothing"), "error: listing the elements below"),
        (("elements", "--json", "--csv"), "error: --json and --csv exclude each other"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(
    called: Called, here: Path, site: str, arguments: tuple[str, ...], error: str
) -> None:
    written(here, site)
    done = called("af", *arguments, "-c", "plant.yaml")
    assert done.code != 0
    assert done.err.splitlines()[0].startswith(error), done.err
    assert len(done.err.splitlines()) <= 2


def test_without_an_address_it_says_which_key_is_missing(called: Called, here: Path) -> None:
    written(here)
    done = called("af", "databases", "-c", "plant.yaml")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: $.pi_web_api.url: the address of the PI Web API is missing",
    )


@pytest.mark.parametrize("command", ["databases", "elements", "attributes"])
def test_help_has_examples(called: Called, here: Path, command: str) -> None:
    done = called("af", command, "--help")
    assert (done.code, f"python -m engine af {command}" in done.out) == (0, True)
