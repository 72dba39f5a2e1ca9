"""What is asked about digital sets, and what is made of the answers."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from config.errors import UnavailableError
from engine.datasets.digital_states import requests_for, sets_at_once
from engine.datasets.request_mode import Mode
from engine.datasets.tags import WantedSets, sets_wanted
from engine.piweb.http import Response
from engine.piweb.states import (
    STATES_SCHEMA,
    SetOfStates,
    decode_batch,
    decode_sets,
    decode_states,
    rows_of,
    sets_of,
    states_batch,
    states_of,
)

PUMP = SetOfStates("PIDA", "Pump", "I1MSD1")
VALVE = SetOfStates("PIDA", "Valve", "I1MSD2")


def answer(*items: Any, status: int = 200, **more: Any) -> Response:
    return Response(status, json.dumps({"Items": list(items), **more}).encode())


def state(code: Any, name: Any) -> dict[str, Any]:
    return {"Name": name, "Value": code}


# --- asking ------------------------------------------------------------------


def test_the_sets_of_a_server_are_one_request() -> None:
    request = sets_of("F1DS+/x")
    assert (request.method, request.body) == ("GET", None)
    assert request.path == (
        "/dataservers/F1DS%2B%2Fx/enumerationsets?selectedFields=Items.WebId;Items.Name;Links.Next&webIdType=IDOnly"
    )


def test_a_batch_asks_for_each_set_what_a_request_of_its_own_would() -> None:
    request = states_batch([PUMP, VALVE], "https://pi/piwebapi/")
    assert (request.method, request.path, request.safe) == ("POST", "/batch", True)
    assert json.loads(request.body or b"") == {
        str(n): {"Method": "GET", "Resource": f"https://pi/piwebapi{states_of(one).path}"}
        for n, one in enumerate((PUMP, VALVE))
    }


# --- sets --------------------------------------------------------------------


def test_sets_are_found_in_any_case_and_broken_ones_are_left_out() -> None:
    body = answer(
        {"WebId": "w0", "Name": "System"},
        {"WebId": "w1", "Name": "PUMP Öl"},
        {"WebId": "w2", "Name": None},
        {"Name": "no id"},
        {"WebId": "w3", "Name": "pump öl"},
        {"WebId": "w4", "Name": "half a \ud800 pair"},
        {"WebId": "w5\ud800", "Name": "half a WebID"},
        {"WebId": 6, "Name": ["odd"]},
        None,
    ).body
    assert decode_sets(body, "PIDA").sets == {
        "system": SetOfStates("PIDA", "SYSTEM", "w0"),
        "pump öl": SetOfStates("PIDA", "PUMP Öl", "w1"),
        "half a � pair": SetOfStates("PIDA", "half a � pair", "w4"),
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b'{"Items": 3}', b'{"Items": [{"WebId"'])
def test_a_list_of_sets_that_is_none_says_so(body: bytes) -> None:
    with pytest.raises(UnavailableError):
        decode_sets(body, "PIDA")


# --- states ------------------------------------------------------------------


def test_states_become_rows() -> None:
    pump = decode_states(PUMP, answer(state(0, "Aus ✓"), state(-1, ""), state(7, None), Links={}))
    assert (pump.names, pump.problem, pump.doubled) == ({0: "Aus ✓", -1: "", 7: None}, "", ())
    rows = rows_of([pump, decode_states(VALVE, answer(state(0, "half a \ud800 pair")))])
    assert rows.schema == STATES_SCHEMA
    assert rows.to_pylist() == [
        {"data_server": "PIDA", "digital_set": "Pump", "state_code": 0, "name": "Aus ✓", "set_webid": "I1MSD1"},
        {"data_server": "PIDA", "digital_set": "Pump", "state_code": -1, "name": "", "set_webid": "I1MSD1"},
        {"data_server": "PIDA", "digital_set": "Pump", "state_code": 7, "name": None, "set_webid": "I1MSD1"},
        {
            "data_server": "PIDA",
            "digital_set": "Valve",
            "state_code": 0,
            "name": "half a � pair",
            "set_webid": "I1MSD2",
        },
    ]
    assert rows_of([]).schema == STATES_SCHEMA


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_states_with_one_code_the_first_by_name_is_taken_in_any_order(turn: int) -> None:
    items = [state(1, "On"), state(1, "Ein"), state(0, "Off"), state(2, None), state(2, ""), state(3, "x")]
    found = decode_states(PUMP, answer(*items[::turn], state(3, "x")))
    assert found.names == {1: "Ein", 0: "Off", 2: "", 3: "x"}
    assert set(found.doubled) == {1, 2}


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response(403, b'{"Message": "Access denied"}'), "answered 403: Access denied"),
        (Response(404, b'{"Errors": ["Enumeration set not found."]}'), "Enumeration set not found"),
        (Response(500, b'{"Errors": ["boom"]}'), "answered 500: boom"),
        (Response(200, b"<html><title>Log in</title>"), "a web page"),
        (Response(200, b""), "cannot be read"),
        (Response(200, b'{"Items": [{"Value": 1, "Na'), "cannot be read"),
        (answer(), "shows no state"),
        (answer(state(0, "a"), Links={"Next": "https://pi/more"}), "only a part"),
        (answer(state(0, "a"), WebException={"StatusCode": 500, "Errors": ["broke"]}), "broke off: broke"),
        (answer(state(0, "a"), Errors=["no"]), "broke off: no"),
        (answer(state(0, "a"), state(None, "b")), "not what the protocol says"),
        (answer(state(2**31, "b")), "not what the protocol says"),
        (answer(state("one", "b")), "not what the protocol says"),
        (answer(state(0.5, "b")), "not what the protocol says"),
        (answer(state(True, "b")), "not what the protocol says"),
        (answer(state(0, "a"), None), "not what the protocol says"),
        (answer(state(0, "a"), {**state(1, "b"), "WebException": {"Errors": ["broke"]}}), "broke off: broke"),
        (answer(state(1, 1)), "not what the protocol says"),
        (Response(200, b"null"), "not what the protocol says"),
    ],
    ids=str,
)
def test_an_answer_that_may_lack_states_gives_none_of_them(response: Response, words: str) -> None:
    """Alone, and as a part of a batch."""
    alone = decode_states(PUMP, response)
    assert words in alone.problem
    assert not alone.names
    try:
        content = json.loads(response.body)
    except ValueError:
        return  # a part of a batch is JSON
    good = {"Status": 200, "Headers": {}, "Content": {"Items": [state(1, "x")]}}
    body = json.dumps({"1": good, "0": {"Status": response.status, "Headers": {}, "Content": content}}).encode()
    part, other = decode_batch([PUMP, VALVE], body)
    assert words in part.problem
    assert not part.names
    assert (other.of, other.names, other.problem) == (VALVE, {1: "x"}, "")


def test_codes_may_be_texts_or_have_a_point_be_negative_have_gaps_and_come_in_any_order() -> None:
    found = decode_states(PUMP, answer(state("7", "d"), state(1.0, "b"), state(-1, "a"), state(3, "c")))
    assert (found.names, found.problem) == ({7: "d", 1: "b", -1: "a", 3: "c"}, "")


def test_every_set_of_a_batch_comes_back() -> None:
    parts = {"0": {"Status": 403, "Content": "no"}, "2": "nonsense", "9": {"Status": 200, "Content": {}}}
    sets = [PUMP, VALVE, SetOfStates("PIDA", "Mode", "w")]
    found = decode_batch(sets, json.dumps(parts).encode())
    assert [one.of for one in found] == sets
    assert [bool(one.problem) for one in found] == [True] * 3
    assert "holds nothing for it" in found[1].problem
    with pytest.raises(UnavailableError):
        decode_batch(sets, b"[]")


# --- which sets --------------------------------------------------------------


def tags(*pairs: tuple[str | None, str | None]) -> pa.Table:
    servers, sets = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table({"data_server": pa.array(servers, pa.string()), "digital_set": pa.array(sets, pa.string())})


def test_sets_are_wanted_by_server_each_with_the_states_any_tag_may_hold() -> None:
    rows = tags(("A", "Pump"), ("A", ""), ("A", "Pump"), ("A", "system"), ("B", None), (None, "Lost"), ("A", "Mode"))
    assert sets_wanted(rows, {"a": "wa", "C": "wc"}) == (
        WantedSets("A", "wa", frozenset({"Pump", "Mode", "SYSTEM"})),
        WantedSets("B", "", frozenset({"SYSTEM"})),
    )
    assert sets_wanted(tags(), {"A": "wa"}) == ()


def test_requests_are_counted_as_they_will_be_made() -> None:
    wanted = [WantedSets("A", "wa", frozenset(map(str, range(150)))), WantedSets("B", "wb", frozenset({"SYSTEM"}))]
    assert requests_for(wanted, sets_at_once(Mode.BATCH, 100)) == 1 + 2 + 1 + 1
    assert requests_for(wanted, sets_at_once(Mode.SINGLE, 100)) == 1 + 150 + 1 + 1
    assert requests_for(wanted, sets_at_once(Mode.STREAMSET, 100)) == 1 + 150 + 1 + 1
    left = wanted[0].without([("A", "0"), ("B", "1")])
    assert left.names == wanted[0].names - {"0"}
