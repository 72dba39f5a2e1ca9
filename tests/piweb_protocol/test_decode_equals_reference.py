"""The fast decoders and the obvious one say the same of every answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import UnavailableError
from engine.model import Ask, DecodedAnswer
from engine.piweb import decode as fast
from engine.piweb import reference_decoder
from engine.piweb.decode import Decoder
from engine.piweb.times import iso_text
from engine.piweb.wire import Shape
from tests.examples import examples
from tests.piweb_protocol.decoders import DECODERS
from tests.piweb_protocol.piweb_answers import END, INGESTED_AT, START, ask, batch, event, stream, tag
from tests.variants import slowly

POINT_TYPES = ("", "Float32", "Int32", "String", "Digital", "Timestamp", "Blob")

states = st.fixed_dictionaries(
    {"Name": st.text(max_size=5), "Value": st.integers(-5, 300)}, optional={"IsSystem": st.booleans() | st.none()}
)
strict_values = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-10, 10)
    | st.integers(-(2**65), 2**65)
    | st.text(max_size=6)
    | st.sampled_from(["NaN", "Infinity", "-Infinity"])
    | st.booleans()
    | st.none()
    | states
)
odd_values = (
    st.lists(st.integers(0, 256), max_size=4)
    | st.dictionaries(st.sampled_from(["Name", "Value", "Errors", "X"]), strict_values, max_size=3)
    | st.just(float("nan"))
    | st.just(float("-inf"))
    | st.just(10**400)
    | st.just("\ud83d")
)
flags = st.booleans() | st.none()


@st.composite
def events(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
    """Events mostly in order, mostly in the window, often sharing a microsecond."""
    ticks = START * 10 + draw(st.integers(-3, 3))
    items = []
    for _ in range(draw(st.integers(0, 8))):
        ticks += draw(st.sampled_from([0, 0, 1, 1, 9, 10, 11, 10_000_000, 5_000_000_000, 30_000_000_000]))
        ticks += draw(st.sampled_from([0] * 30 + [-1, -25]))
        item = {"Timestamp": _stamp(ticks), "Value": draw(values)}
        item |= draw(st.fixed_dictionaries({}, optional={"Good": flags, "Questionable": flags, "Annotated": flags}))
        items.append(item)
    return items


def _stamp(ticks: int) -> str:
    text = iso_text(ticks // 10)[:-1]
    fraction = f"{text[20:]:0<6}{ticks % 10}".rstrip("0")
    return f"{text[:19]}.{fraction}Z" if fraction else f"{text[:19]}Z"


def contents(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda items, units: stream(*items, UnitsAbbreviation=units), events(values), st.sampled_from(["", "bar", None])
    )


broken_contents = st.one_of(
    st.just({"Errors": ["PI Point not found."]}),
    st.just("text"),
    st.none(),
    st.builds(
        lambda content: content | {"WebException": {"Errors": ["broke off"], "StatusCode": 500}},
        contents(strict_values),
    ),
    st.builds(
        lambda content: content | {"Items": [*content["Items"], event("11:00:00", 1, Errors=[{"Message": ["x"]}])]},
        contents(strict_values),
    ),
    st.builds(
        lambda content: content | {"Items": [*content["Items"], {"Timestamp": "soon", "Value": 1}]},
        contents(strict_values),
    ),
)
statuses = st.sampled_from([200] * 8 + [400, 403, 404, 429, 500, 503])


def asks_of(count: int, max_count: int) -> list[Ask]:
    return [ask(n, max_count=max_count, point_type=POINT_TYPES[n % len(POINT_TYPES)], units="m") for n in range(count)]


def said(answer: DecodedAnswer) -> tuple[Any, ...]:
    """All an answer says, in a form that compares: NaN equals NaN, errors by class."""
    return (
        answer.rows.schema,
        repr(answer.rows.to_pylist()),
        [
            (outcome.ask, outcome.rows, outcome.until, outcome.last_event, type(outcome.error), outcome.recheck)
            for outcome in answer.outcomes
        ],
        answer.body_bytes,
    )


def run(decoder: Decoder, body: bytes, asks: list[Ask], shape: Shape) -> Any:
    try:
        return said(decoder(body, asks, shape, ingested_at=INGESTED_AT))
    except UnavailableError:
        return "no answer"


def check(body: bytes, asks: list[Ask], shape: Shape) -> Any:
    expected = run(reference_decoder.decode, body, asks, shape)
    for name, decoder in DECODERS.items():
        assert run(decoder, body, asks, shape) == expected, name
    return expected


any_content = st.one_of(*[contents(strict_values)] * 4, contents(strict_values | odd_values), broken_contents)


@examples(300)
@given(st.lists(st.tuples(statuses, any_content), max_size=6), st.integers(1, 9))
@example([], 1)
def test_of_batches(parts: list[Any], max_count: int) -> None:
    outcome = check(batch(*parts), asks_of(len(parts), max_count), Shape.BATCH)
    assert outcome != "no answer"


@examples(200)
@given(st.lists(st.one_of(contents(strict_values), contents(odd_values)), max_size=5), st.integers(1, 12), st.data())
def test_of_streamsets(streams: list[Any], max_count: int, data: st.DataObject) -> None:
    items = [{**content, "WebId": tag(n).web_id} for n, content in enumerate(streams)]
    shuffled = data.draw(st.permutations(items))
    body = json.dumps({"Links": {}, "Items": shuffled}).encode()
    assert check(body, asks_of(len(streams) + data.draw(st.integers(0, 1)), max_count), Shape.STREAMSET) != "no answer"


@examples(150)
@given(any_content, st.integers(1, 9))
def test_of_single_streams(content: Any, max_count: int) -> None:
    assert check(json.dumps(content).encode(), asks_of(1, max_count), Shape.STREAM) != "no answer"


@examples(200)
@given(st.lists(contents(strict_values), min_size=1, max_size=3), st.data())
def test_of_bodies_with_a_byte_changed(streams: list[Any], data: st.DataObject) -> None:
    """Both may find other things in a damaged body, but never different ones."""
    body = bytearray(batch(*streams))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.sampled_from(b'0"{}[],:eZ\\ \n'))
    check(bytes(body), asks_of(len(streams), 100), Shape.BATCH)


@pytest.mark.parametrize("length", [511, 512, 513, 2048, *slowly(2047, 5000)])
def test_of_streams_long_enough_to_be_taken_apart_early(length: int) -> None:
    """Long and short streams, odd ones between them: rows stay in the order of the asks."""
    kinds = (1.5, 3, "text", None, True, {"Name": "On", "Value": 1}, 2**60 + 1)
    step = (END - START) // (length + 1)

    def of(size: int, odd: Any = None) -> dict[str, Any]:
        items = [
            {"Timestamp": _stamp((START + n * step) * 10 + 7), "Value": kinds[n % 7], "Good": n % 3 > 0}
            for n in range(size)
        ]
        return stream(*items, *([] if odd is None else [event("10:59:59.9999", odd)]))

    parts = [of(3), of(length), of(2, [1]), of(length, {"X": 1}), of(1), of(0), of(length)]
    outcome = check(batch(*parts), asks_of(len(parts), 1 << 20), Shape.BATCH)
    assert [rows for _, rows, *_ in outcome[2]] == [3, length, 3, length + 1, 1, 0, length]


@pytest.mark.parametrize("bare", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize(
    "beside", [b'"plain"', rb'"a \"Value\":NaN, b"', b"[1, NaN]", b"1e400", b'{"Name": "On", "Value": 1}']
)
def test_of_bare_numbers_that_json_lacks(bare: bytes, beside: bytes) -> None:
    """One such value is common in a plant; it must neither cost the others nor touch text that looks like it."""
    [one] = asks_of(1, 100)
    body = b'{"Items":[{"Timestamp":"%s","Value":%s},{"Timestamp":"%s","Value":%s}]}' % (
        _stamp(START * 10).encode(),
        bare,
        _stamp(START * 10 + 10_000_000).encode(),
        beside,
    )
    check(body, [one], Shape.STREAM)
    assert fast.decode(body, [one], Shape.STREAM, ingested_at=INGESTED_AT).rows.num_rows == 2


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("beside", ["NaN", "Infinity", "1", "[1]", '"NaN"', '{"X":1}', r'"\u0000-Infinity"'])
@pytest.mark.parametrize(
    "text", [r"\u0000NaN", r"\u0000Infinity", r"\u0000\u004eaN", r"a\u0000NaN", r"\"Value\":NaN,\u0000"]
)
def test_a_text_that_looks_like_a_number_we_have_marked_is_a_text(shape: Shape, beside: str, text: str) -> None:
    """Bare numbers are quoted behind a NUL, so that one of them does not cost the others: no text may pass for one."""
    item = '{"Timestamp":"2024-03-05T10:00:0%dZ","Value":%s}'
    items = ",".join(item % (n, value) for n, value in enumerate((f'"{text}"', beside)))
    one = asks_of(2, 100)[1]
    content = f'{{"WebId":"{one.tag.web_id}","Items":[{items}]}}'
    body = {
        Shape.BATCH: f'{{"0":{{"Status":200,"Content":{content}}}}}',
        Shape.STREAMSET: f'{{"Items":[{content}]}}',
        Shape.STREAM: content,
    }[shape].encode()
    check(body, [one], shape)
    rows = fast.decode(body, [one], shape, ingested_at=INGESTED_AT).rows.to_pylist()
    assert (rows[0]["value"], rows[0]["value_string"]) == (None, json.loads(f'"{text}"'))
    if beside in {"NaN", "Infinity"}:
        assert (str(rows[1]["value"]), rows[1]["value_kind"]) == ({"NaN": "nan", "Infinity": "inf"}[beside], "number")
