"""JSON is read by a quick decoder where it can be, and means the same to the patient one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.piweb.batches import batch_of, parts_of
from engine.piweb.values import _parse_float, _parse_int, parse_json
from tests.examples import examples

numbers = st.integers() | st.floats() | st.sampled_from([0, -0.0, 2**53 + 1, -(2**63) - 1, 2**64, 1e22, 5e-324])
contents = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def patiently(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_parse_int, parse_float=_parse_float)


@examples(300)
@given(contents, st.booleans())
def test_both_decoders_read_the_same(content: Any, is_ascii: bool) -> None:
    text = json.dumps(content, ensure_ascii=is_ascii)
    assert repr(parse_json(text.encode("utf-8", "replace"))) == repr(patiently(text))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [(b"NaN", math.nan), (b"1E400", math.inf), (b'"\\ud800"', "\ufffd"), (b'"a\tb"', "a\tb"), (b"\xef\xbb\xbf{}", {}), (b'"\xff"', "\ufffd"), (b"1" * 401, math.inf), (b" [%b]" % (b"9" * 401), [math.inf]), (b"-" + b"1" * 400, -math.inf)],
)  # fmt: skip
def test_what_json_does_not_know_is_read_all_the_same(text: bytes, meaning: Any) -> None:
    assert repr(parse_json(text)) == repr(meaning)


@pytest.mark.parametrize("spelt", [b'{"Items":[1.5e400,NaN]}', b'{"Items": [ "\\ud83d\\ude00" , 1 ] }', b"null"])
def test_a_part_of_a_batch_keeps_its_content(spelt: bytes) -> None:
    body = b'{"1":{"Status":200,"Headers":{},"Content":%b},"0":{"Status":404,"Content":{"Errors":["x"]}},"3":{"Content":1}}'
    first, second, third, last = parts_of(body % spelt, 4)
    assert (first.status, second.status, third.status, last.status) == (404, 200, 502, 502)
    assert repr(parse_json(second.body)) == repr(parse_json(spelt))
    assert json.loads(first.body) == {"Errors": ["x"]}
    assert json.loads(batch_of(["/a"], "http://h/").body or b"")["0"]["Resource"] == "http://h/a"
