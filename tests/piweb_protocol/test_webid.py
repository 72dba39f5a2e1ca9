"""What people write for a tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.piweb.webid import TagText, form_of, is_web_id, kind_of, parse_tag, split_path, tag_path

POINT = "I1DPcQo8XkQrbk-dEAx74aLzAQEgQAAA"
ATTRIBUTE = "I1AbE8ncdisNgjkul1D-SxrAeVQTj0sG2Bf7hGMmQJCrBIAAgX049LHFgoVILHH2On6Cxwg"


@pytest.mark.parametrize(
    ("web_id", "kind", "form"),
    [
        (POINT, "point", "IDOnly"),
        ("F1DPcQo8XkQrbk-dEAx74aLzAQEgQAAAU0lNREFcVU5JVDEuRkxPVw", "point", "Full"),
        ("P1DPU0lNREFcVU5JVDEuRkxPVw", "point", "PathOnly"),
        ("F1DScQo8XkQrbk-dEAx74aLzAQU0lNREE", "data server", "Full"),
        (ATTRIBUTE, "attribute", "IDOnly"),
        ("I1Em8ncdisNgjkul1D-SxrAeVQTj0sG2Bf7hGMmQJCrBIAAg", "element", "IDOnly"),
        ("I1Fm8ncdisNgjkul1D-SxrAeVQYF9OPYJx7hGTpLXG1-j5AQ", "event frame", "IDOnly"),
        ("P0qhIbR1y2AEu1VwBQVoKa_AAQAAAA", "point", None),
        ("A0EqhIbR1y2AEu1VwBQVoKa_A", "attribute or another asset object", None),
    ],
)
def test_webids_are_recognised(web_id: str, kind: str, form: str | None) -> None:
    assert is_web_id(web_id)
    assert (kind_of(web_id), form_of(web_id)) == (kind, form)
    assert parse_tag(web_id).kind is TagText.WEB_ID


@pytest.mark.parametrize(
    "name",
    ["SINUSOID", "Unit1.Flow", "P1DPump", "I1DP", "F1XXcQo8XkQrbk-dEAx74aLzAQEgQAAA", "P0", "", "A0Level", POINT + "."],
)
def test_names_are_not_taken_for_webids(name: str) -> None:
    assert not is_web_id(name)
    assert parse_tag(name).kind is TagText.NAME


def test_a_path_begins_with_two_backslashes() -> None:
    found = parse_tag("  \\\\SRV\\TAG ")
    assert (found.kind, found.text) == (TagText.PATH, "\\\\SRV\\TAG")


@given(st.text(st.characters(exclude_characters="\\"), min_size=1), st.text(min_size=1))
def test_paths_come_apart_as_they_were_put_together(server: str, name: str) -> None:
    assert split_path(tag_path(server, name)) == (server, name)


@pytest.mark.parametrize("path", ["", "TAG", "\\SRV\\TAG", "\\\\SRV", "\\\\SRV\\", "\\\\\\TAG"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        split_path(path)
