"""The native decoder reads what is usual itself, hands back what is not, and says what Python says."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.piweb import decode as python
from engine.piweb.decode import keys_of
from engine.piweb.wire import Shape
from tests.examples import examples
from tests.fuzzing.mutate import mutated
from tests.piweb_protocol.decoders import NATIVE, needs_native
from tests.piweb_protocol.piweb_answers import batch, event, stream, streamset
from tests.piweb_protocol.test_decode_equals_reference import any_content, asks_of, run, statuses

pytestmark = needs_native

_FLAGS = {"Good": True, "Questionable": False, "Substituted": False, "Annotated": False}
_USUAL = stream(
    event("10:00:01.1234567", 23.450000762939453, UnitsAbbreviation="", **_FLAGS),
    event("10:00:02", 7, **_FLAGS),
    event("10:00:03", "text \u00e9", Good=True),
    event("10:00:04", {"Name": "I/O Timeout", "Value": 246, "IsSystem": True}, Good=False),
    event("10:00:05", None),
    event("10:00:06", True),
)


def _read(body: bytes, size: int, shape: Shape = Shape.BATCH) -> Any:
    import osipi_native

    return osipi_native.read_answer(body, shape.value, keys_of(asks_of(size, 100), shape), bytes(size))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_usual_answer_is_read_without_python(separators: tuple[str, str]) -> None:
    for shape, body, size in (
        (Shape.BATCH, batch(_USUAL, _USUAL), 2),
        (Shape.STREAMSET, streamset(_USUAL, _USUAL), 2),
        (Shape.STREAM, json.dumps(_USUAL).encode(), 1),
    ):
        written = json.dumps(json.loads(body), separators=separators).encode()
        assert _read(written, size, shape).counts == [6] * size


@pytest.mark.parametrize(
    "odd", ["[1,2]", "9007199254740992", "-9007199254740992", "1e400", '{"Name":"x","Value":2147483648}', '{"X":1}']
)
def test_a_part_with_an_odd_value_is_handed_back_and_the_others_are_not(odd: str) -> None:
    body = batch(_USUAL, stream(event("10:00:01", 4711)), _USUAL, (404, {"Errors": ["PI Point not found."]}))
    body = body.replace(b"4711", odd.encode())
    assert _read(body, 5).counts == [6, -2, 6, -2, -1]
    asks = asks_of(5, 100)
    assert NATIVE is not None
    assert run(NATIVE, body, asks, Shape.BATCH) == run(python.decode, body, asks, Shape.BATCH)


@pytest.mark.parametrize("bare", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_numbers_that_json_lacks_are_read_without_python(bare: str, separators: tuple[str, str]) -> None:
    content = stream(event("10:00:01", 1.5), event("10:00:02", float(bare)), event("10:00:03", 2.5))
    body = json.dumps({"0": {"Status": 200, "Content": content}}, separators=separators).encode()
    assert bare.encode() in body
    assert _read(body, 1).counts == [3]
    asks = asks_of(1, 100)
    assert NATIVE is not None
    assert run(NATIVE, body, asks, Shape.BATCH) == run(python.decode, body, asks, Shape.BATCH)


@given(st.binary(max_size=60), st.sampled_from(list(Shape)))
def test_no_bytes_make_it_raise(body: bytes, shape: Shape) -> None:
    read = _read(body, 1, shape)
    assert read is None or len(read.counts) == 1


@examples(400)
@given(st.lists(st.tuples(statuses, any_content), max_size=4), st.integers(0, 2**32), st.sampled_from(list(Shape)))
def test_mutated_answers_are_decoded_alike(parts: list[Any], seed: int, shape: Shape) -> None:
    dice = Random(seed)
    body = batch(*parts)
    if shape is not Shape.BATCH:
        contents = [content for _, content in parts if isinstance(content, dict)]
        body = streamset(*contents) if shape is Shape.STREAMSET else json.dumps(contents[:1]).encode()[1:-1]
    compact = dice.random() < 0.5 and body
    if compact:
        body = json.dumps(json.loads(body), separators=(",", ":")).encode()
    body = mutated(body, dice)
    asks = asks_of(1 if shape is Shape.STREAM else len(parts), dice.choice((2, 1000)))
    assert NATIVE is not None
    assert run(NATIVE, body, asks, shape) == run(python.decode, body, asks, shape)


def test_the_corpus_of_the_fuzzer_is_decoded_alike() -> None:
    assert NATIVE is not None
    files = [file for file in (Path(__file__).parents[1] / "fuzzing" / "corpus").glob("recorded*/*") if file.is_file()]
    assert files
    for file in files:
        for shape in Shape:
            asks = asks_of(1 if shape is Shape.STREAM else 3, 1000)
            body = file.read_bytes()
            assert run(NATIVE, body, asks, shape) == run(python.decode, body, asks, shape), file.name


def test_cut_and_changed_answers_make_it_panic_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    """A panic is caught, and Python decodes the answer: but it says something, and here that is a failure."""
    compact = json.dumps(json.loads(batch(_USUAL)), separators=(",", ":")).encode()
    for end in range(len(compact)):
        assert _read(compact[:end], 1) is None
    for seed in range(2_000):
        dice = Random(seed)
        for shape in Shape:
            _read(mutated(compact, dice), 1, shape)
    assert capfd.readouterr().err == ""
