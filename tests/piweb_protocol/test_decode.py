"""What a decoder makes of every kind of answer. All of it holds for the reference too."""

from __future__ import annotations

import base64
import json
import math

import pyarrow as pa
import pytest

from config.errors import (
    SplitError,
    TagError,
    TagForbiddenError,
    TagGoneError,
    ThrottledError,
    UnavailableError,
    UndecodableError,
    WrongWindowError,
)
from engine.model import DecodedAnswer
from engine.piweb import decode as fast
from engine.piweb import reference_decoder
from engine.piweb.decode import ROWS_SCHEMA, Decoder
from engine.piweb.wire import Shape
from tests.piweb_protocol.piweb_answers import (
    END,
    INGESTED_AT,
    START,
    ask,
    at,
    batch,
    column,
    event,
    stream,
    streamset,
    tag,
)
from writers.tables import PI_TIMESERIES


@pytest.fixture(params=[fast.decode, reference_decoder.decode], ids=["decode", "reference"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return request.param


def one(decoder: Decoder, content: object, **of_ask: object) -> DecodedAnswer:
    return decoder(batch(content), [ask(**of_ask)], Shape.BATCH, ingested_at=INGESTED_AT)


def values_of(answer: DecodedAnswer) -> list[tuple[object, ...]]:
    names = ("value", "value_string", "state_code", "value_kind")
    return list(zip(*(column(answer, name) for name in names), strict=True))


def test_units_that_cannot_be_read_are_those_of_the_point(decoder: Decoder) -> None:
    content = stream(event("10:00:01", 2.5), UnitsAbbreviation="\ud800")
    assert column(one(decoder, content, units="m3/h"), "units") == ["m3/h"]


def test_a_row_has_everything_the_table_wants(decoder: Decoder) -> None:
    content = stream(event("10:00:05.1499999", 33.85205, Questionable=True), UnitsAbbreviation="degC")
    answer = one(decoder, content, units="m3/h")
    assert answer.rows.schema.names == PI_TIMESERIES.schema.names
    assert answer.rows.schema == ROWS_SCHEMA
    assert {name: column(answer, name)[0] for name in answer.rows.schema.names} == {
        "tag_webid": tag().web_id,
        "tag_name": "Unit1.Tag0",
        "timestamp": at("10:00:05.149999"),
        "sequence": 0,
        "value": 33.85205,
        "value_string": None,
        "state_code": None,
        "value_kind": "number",
        "good": True,
        "questionable": True,
        "substituted": False,
        "annotated": False,
        "units": "degC",
        "ingestion_timestamp": INGESTED_AT,
        "partition_date": __import__("datetime").date(2024, 3, 5),
    }
    [outcome] = answer.outcomes
    assert (outcome.rows, outcome.until, outcome.last_event) == (1, END, at("10:00:05.149999"))
    assert answer.body_bytes == len(batch(content))


@pytest.mark.parametrize(("sent", "flag"), [("True", True), ("false", False), (1, True), (0, False), ("0", False)])
def test_flags_that_came_through_xml_are_flags(decoder: Decoder, sent: object, flag: bool) -> None:
    answer = one(decoder, stream(event("10:00:01", 1.5, Good=sent, Annotated=sent)))
    assert (column(answer, "good"), column(answer, "annotated")) == ([flag], [flag])


@pytest.mark.parametrize(
    ("sent", "point_type", "landed"),
    [
        (1.5, "Float32", (1.5, None, None, "number")),
        (7, "Int32", (7.0, None, None, "number")),
        (-0.0, "Float64", (-0.0, None, None, "number")),
        (2**53, "Float64", (2.0**53, None, None, "number")),
        (2**53 + 1, "Int64", (2.0**53, "9007199254740993", None, "number")),
        (-(10**30) - 1, "", (-1e30, str(-(10**30) - 1), None, "number")),
        (10**320, "", (math.inf, str(10**320), None, "number")),
        ("Batch 7", "String", (None, "Batch 7", None, "string")),
        ("", "String", (None, "", None, "string")),
        ("NaN", "String", (None, "NaN", None, "string")),
        ("NaN", "", (None, "NaN", None, "string")),
        ("Infinity", "Float32", (math.inf, None, None, "number")),
        ("-Infinity", "Float64", (-math.inf, None, None, "number")),
        ("Prüfstand ½ 🙂", "String", (None, "Prüfstand ½ 🙂", None, "string")),
        ("\ud800 half", "String", (None, "\ufffd half", None, "string")),
        ("2024-03-05T09:00:00.1234567Z", "Timestamp", (None, "2024-03-05T09:00:00.1234567Z", None, "timestamp")),
        (True, "", (None, "true", None, "boolean")),
        (False, "", (None, "false", None, "boolean")),
        (None, "Float32", (None, None, None, "null")),
        ({"Name": "Running", "Value": 1, "IsSystem": False}, "Digital", (None, "Running", 1, "digital")),
        ({"Name": "Enum", "Value": -3}, "", (None, "Enum", -3, "digital")),
        ({"Name": "Open", "Value": 1.0, "IsSystem": False}, "Digital", (None, "Open", 1, "digital")),
        ({"Name": "I/O Timeout", "Value": 246, "IsSystem": True}, "Float32", (None, "I/O Timeout", 246, "system")),
        ({"Value": 246, "IsSystem": True}, "Float32", (None, None, 246, "system")),
        ([1, 2, 255], "Blob", (None, base64.b64encode(b"\x01\x02\xff").decode(), None, "blob")),
        ([], "Blob", (None, "", None, "blob")),
        ([1, 2, 256], "Blob", (None, "[1,2,256]", None, "array")),
        ([1, 2, 255], "Float64", (None, "[1,2,255]", None, "array")),
        ([1, 2.5, "x", None], "", (None, '[1,2.5,"x",null]', None, "array")),
        ({"X": 1.5, "Y": [2]}, "", (None, '{"X":1.5,"Y":[2]}', None, "array")),
    ],
)
def test_every_type_of_value_keeps_its_meaning(
    decoder: Decoder, sent: object, point_type: str, landed: tuple[object, ...]
) -> None:
    neighbour = stream(event("10:00:01", 2.5))
    answer = decoder(
        batch(stream(event("10:00:00", sent)), neighbour),
        [ask(0, point_type=point_type), ask(1)],
        Shape.BATCH,
        ingested_at=INGESTED_AT,
    )
    assert [outcome.error for outcome in answer.outcomes] == [None, None]
    assert values_of(answer) == [landed, (2.5, None, None, "number")]


@pytest.mark.parametrize(
    ("text", "landed"),
    [
        ("NaN", (math.nan, None, None, "number")),
        ("Infinity", (math.inf, None, None, "number")),
        ("-Infinity", (-math.inf, None, None, "number")),
        ("1e400", (math.inf, "1e400", None, "number")),
        ("-1E999", (-math.inf, "-1E999", None, "number")),
        ("1" + "0" * 5000, (math.inf, "1" + "0" * 5000, None, "number")),
        ('"\\udc00"', (None, "\ufffd", None, "string")),
        ('"tab\there"', (None, "tab\there", None, "string")),
    ],
)
def test_json_that_is_not_quite_json_is_read_all_the_same(
    decoder: Decoder, text: str, landed: tuple[object, ...]
) -> None:
    body = batch(stream(event("10:00:00", "HERE")), stream(event("10:00:01", 2.5)))
    body = body.replace(b'"HERE"', text.encode())
    answer = decoder(body, [ask(0), ask(1)], Shape.BATCH, ingested_at=INGESTED_AT)
    assert [outcome.error for outcome in answer.outcomes] == [None, None]
    assert repr(values_of(answer)) == repr([landed, (2.5, None, None, "number")])


def test_bytes_that_are_no_text_are_replaced_not_fatal(decoder: Decoder) -> None:
    body = batch(stream(event("10:00:00", "HERE"))).replace(b"HERE", b"\xff\xfe")
    assert column(decoder(body, [ask()], Shape.BATCH, ingested_at=INGESTED_AT), "value_string") == ["\ufffd\ufffd"]


def test_a_byte_order_mark_is_no_obstacle(decoder: Decoder) -> None:
    body = b"\xef\xbb\xbf" + batch(stream(event("10:00:00")))
    assert decoder(body, [ask()], Shape.BATCH, ingested_at=INGESTED_AT).rows.num_rows == 1


def test_flags_not_sent_are_null(decoder: Decoder) -> None:
    bare = {"Timestamp": "2024-03-05T10:00:00Z", "Value": 1.0}
    answer = one(decoder, stream(bare, event("10:00:01", Good=False, Annotated=None)))
    assert column(answer, "good") == [None, False]
    assert column(answer, "substituted") == [None, False]
    assert column(answer, "annotated") == [None, None]


def test_unknown_fields_are_passed_over(decoder: Decoder) -> None:
    answer = one(decoder, stream(event("10:00:00", Annotations=[{"Id": 1}], New={"x": 1e2}), Links={"Self": "x"}))
    assert answer.rows.num_rows == 1


def test_units_of_the_tag_fill_in_where_the_answer_has_none(decoder: Decoder) -> None:
    body = batch(stream(event("10:00:00")), stream(event("10:00:00"), UnitsAbbreviation="bar"), stream())
    asks = [ask(0, units="m"), ask(1, units="Pa"), ask(2)]
    assert column(decoder(body, asks, Shape.BATCH, ingested_at=INGESTED_AT), "units") == ["m", "bar"]


class TestTime:
    def test_the_seventh_digit_is_cut_off_and_not_rounded(self, decoder: Decoder) -> None:
        answer = one(decoder, stream(event("10:00:00.9999999"), event("10:00:01.0000009")))
        assert column(answer, "timestamp") == [at("10:00:00.999999"), at("10:00:01")]

    def test_cutting_off_means_earlier_before_1970_too(self, decoder: Decoder) -> None:
        answer = one(decoder, stream(event("1969-12-31T23:59:59.9999999Z")), start=-10)
        assert column(answer, "timestamp") == [-1]
        assert [str(day) for day in column(answer, "partition_date")] == ["1969-12-31"]

    def test_events_of_one_microsecond_are_numbered_in_the_order_they_came(self, decoder: Decoder) -> None:
        first = [
            event(clock, float(n)) for n, clock in enumerate(("10:00:00", "10:00:00.0000001", "10:00:00", "10:01"))
        ]
        first[2]["Timestamp"] = first[1]["Timestamp"]
        second = [event("10:01:00", 9.0), event("10:01:00", 8.0)]
        answer = decoder(batch(stream(*first), stream(*second)), [ask(0), ask(1)], Shape.BATCH, ingested_at=INGESTED_AT)
        assert column(answer, "sequence") == [0, 1, 2, 0, 0, 1]
        assert column(answer, "value") == [0.0, 1.0, 2.0, 3.0, 9.0, 8.0]

    @pytest.mark.parametrize("year", ["0001", "1601", "2023", "2025", "9999"])
    def test_an_event_of_another_time_shows_that_the_question_was_not_understood(
        self, decoder: Decoder, year: str
    ) -> None:
        """AVEVA's reference: `recorded` gives values inside of the range. A gateway that drops the query does not."""
        far = event(f"{year}-01-01T00:00:00Z")
        events = [far, event("10:00:00")] if year < "2024" else [event("10:00:00"), far]
        body = batch(stream(*events), stream(event("10:00:00")))
        answer = decoder(body, [ask(0), ask(1)], Shape.BATCH, ingested_at=INGESTED_AT)
        wrong, fine = answer.outcomes
        assert isinstance(wrong.error, WrongWindowError)
        assert "2024-03-05T10:00:00Z" in str(wrong.error)
        assert (wrong.rows, wrong.until) == (0, START)
        assert (fine.rows, fine.until, fine.error) == (1, END, None)

    def test_a_year_beyond_nanoseconds_lands_if_it_was_asked_for(self, decoder: Decoder) -> None:
        answer = one(decoder, stream(event("3000-01-01T00:00:00.5Z")), end=1 << 55)
        assert column(answer, "timestamp") == [32503680000_500000]

    def test_offsets_are_honoured(self, decoder: Decoder) -> None:
        answer = one(decoder, stream(event("10:00:00"), event("2024-03-05T12:30:00+02:00")))
        assert column(answer, "timestamp") == [START, at("10:30:00")]

    @pytest.mark.parametrize("stamp", ["2024-03-05T10:00:00", "yesterday", "", None, 17, "2024-02-30T00:00:00Z"])
    def test_a_time_that_cannot_be_read_sets_that_tag_aside_alone(self, decoder: Decoder, stamp: object) -> None:
        broken = event("10:00:01") | {"Timestamp": stamp}
        body = batch(stream(event("10:00:00"), broken), stream(event("10:00:00", 5.0)))
        answer = decoder(body, [ask(0), ask(1)], Shape.BATCH, ingested_at=INGESTED_AT)
        bad, fine = answer.outcomes
        assert isinstance(bad.error, UndecodableError)
        assert (bad.rows, bad.until) == (0, START)
        assert (fine.rows, fine.until, fine.error) == (1, END, None)
        assert column(answer, "value") == [5.0]

    def test_times_that_go_back_set_that_tag_aside_alone(self, decoder: Decoder) -> None:
        back = stream(event("10:00:00.0000002"), event("10:00:00.0000001"))
        body = batch(back, stream(event("10:00:00")), stream(event("09:59:59"), event("10:00:00")))
        answer = decoder(body, [ask(0), ask(1), ask(2)], Shape.BATCH, ingested_at=INGESTED_AT)
        assert [type(outcome.error) for outcome in answer.outcomes] == [UndecodableError, type(None), type(None)]
        assert [outcome.rows for outcome in answer.outcomes] == [0, 1, 1]

    def test_events_as_far_outside_the_window_as_servers_round_are_dropped(self, decoder: Decoder) -> None:
        answer = one(decoder, stream(event("09:59:59.9999999"), event("10:30:00"), event("11:00:00")))
        assert column(answer, "timestamp") == [at("10:30:00")]
        assert (answer.outcomes[0].rows, answer.outcomes[0].until) == (1, END)


class TestFullPage:
    def test_it_stands_up_to_its_last_microsecond(self, decoder: Decoder) -> None:
        clocks = ("10:00:00", "10:00:01.0000001", "10:00:02", "10:00:02.0000005")
        answer = one(decoder, stream(*map(event, clocks)), max_count=4)
        [outcome] = answer.outcomes
        assert (outcome.rows, outcome.until, outcome.last_event) == (2, at("10:00:02"), at("10:00:01"))
        assert not outcome.recheck
        assert column(answer, "timestamp") == [START, at("10:00:01")]

    def test_of_one_later_microsecond_moves_up_to_it_without_rows(self, decoder: Decoder) -> None:
        answer = one(decoder, stream(event("10:00:02"), event("10:00:02.0000001")), max_count=2)
        [outcome] = answer.outcomes
        assert (outcome.rows, outcome.until, outcome.last_event) == (0, at("10:00:02"), None)
        assert outcome.error is None

    def test_of_the_first_microsecond_does_not_move(self, decoder: Decoder) -> None:
        [outcome] = one(decoder, stream(event("10:00:00"), event("10:00:00.0000009")), max_count=2).outcomes
        assert (outcome.rows, outcome.until, outcome.error, outcome.recheck) == (0, START, None, False)

    def test_that_reaches_beyond_the_window_completes_it(self, decoder: Decoder) -> None:
        [outcome] = one(decoder, stream(event("10:00:00"), event("11:00:00.5")), max_count=2).outcomes
        assert (outcome.rows, outcome.until) == (1, END)

    def test_tags_are_cut_each_at_their_own_last_event(self, decoder: Decoder) -> None:
        fast_tag = stream(event("10:00:00"), event("10:00:01"), event("10:00:02"))
        body = batch(fast_tag, stream(event("10:59:00")), fast_tag)
        answer = decoder(body, [ask(n, max_count=3) for n in range(3)], Shape.BATCH, ingested_at=INGESTED_AT)
        assert [outcome.until for outcome in answer.outcomes] == [at("10:00:02"), END, at("10:00:02")]
        assert [outcome.rows for outcome in answer.outcomes] == [2, 1, 2]
        assert column(answer, "tag_name") == ["Unit1.Tag0"] * 2 + ["Unit1.Tag1"] + ["Unit1.Tag2"] * 2


class TestFailure:
    @pytest.mark.parametrize(
        "failed",
        [
            event("10:00:01", {"Errors": ["no data"]}),
            event("10:00:01", {"Errors": "no data"}, Good=False),
            event("10:00:01", {"Name": "x", "Value": 1, "Errors": ["no data"]}),
            event("10:00:01", 1.0, WebException={"Errors": ["no data"], "StatusCode": 500}),
            event("10:00:01", 1.0, Errors="no data"),
            event("10:00:01", 1.0, Errors=["no data"]),
            event("10:00:01", None, Errors=[{"FieldName": "Value", "Message": ["no data"]}]),
            event("10:00:01", None, Errors=[{"Message": "no data"}]),
        ],
    )
    def test_a_value_that_is_an_error_is_a_row_with_its_words(
        self, decoder: Decoder, failed: dict[str, object]
    ) -> None:
        """AVEVA's reference, "Value types": an error stands in place of a value that cannot be shown."""
        answer = one(decoder, stream(event("10:00:00"), failed, event("10:00:02")))
        [outcome] = answer.outcomes
        assert (outcome.rows, outcome.until, outcome.error) == (3, END, None)
        assert column(answer, "value_kind") == ["number", "error", "number"]
        assert column(answer, "value_string") == [None, "no data", None]
        assert column(answer, "good") == [True, False, True]
        assert column(answer, "value")[1] is None

    @pytest.mark.parametrize("said", [{"Errors": [{}]}, {"Errors": [7]}])
    def test_an_error_without_words_is_one_all_the_same(self, decoder: Decoder, said: object) -> None:
        answer = one(decoder, stream(event("10:00:01", said)))
        assert column(answer, "value_kind") == ["error"]
        assert column(answer, "value_string") == ["the server does not say why"]

    def test_errors_of_another_field_leave_the_value_as_it_is(self, decoder: Decoder) -> None:
        """PropertyError in the schema of PI Web API names the field."""
        units = {"FieldName": "UnitsAbbreviation", "Message": ["Unit not found."]}
        answer = one(decoder, stream(event("10:00:01", 5.0, Errors=[units])))
        assert column(answer, "value") == [5.0]
        assert column(answer, "good") == [True]
        both = event("10:00:01", 5.0, Errors=[units, {"FieldName": "Value", "Message": ["no data"]}])
        answer = one(decoder, stream(both))
        assert column(answer, "value_string") == ["no data"]

    def test_an_event_without_a_value_is_a_null(self, decoder: Decoder) -> None:
        answer = one(decoder, stream({"Timestamp": "2024-03-05T10:00:01Z", "Good": True}))
        assert column(answer, "value_kind") == ["null"]
        assert column(answer, "value_string") == [None]

    @pytest.mark.parametrize("code", [2**31, -(2**31) - 1, 2**70])
    def test_a_state_code_that_does_not_fit_stays_beside_its_name(self, decoder: Decoder, code: int) -> None:
        answer = one(decoder, stream(event("10:00:01", {"Name": "On", "Value": code, "IsSystem": True})))
        assert column(answer, "value_kind") == ["system"]
        assert column(answer, "state_code") == [None]
        assert json.loads(column(answer, "value_string")[0]) == {"Name": "On", "Value": code, "IsSystem": True}

    def test_an_empty_list_of_errors_is_none(self, decoder: Decoder) -> None:
        [outcome] = one(decoder, stream(event("10:00:00", Errors=[]), Errors=[])).outcomes
        assert (outcome.rows, outcome.error) == (1, None)

    def test_a_stream_that_broke_off_stands_before_its_last_microsecond(self, decoder: Decoder) -> None:
        content = stream(
            event("10:00:00"), event("10:00:01"), WebException={"Errors": ["writing failed"], "StatusCode": 500}
        )
        answer = one(decoder, content)
        [outcome] = answer.outcomes
        assert isinstance(outcome.error, UnavailableError)
        assert (outcome.rows, outcome.until) == (1, at("10:00:01"))
        assert column(answer, "timestamp") == [START]

    def test_a_stream_that_broke_off_at_once_holds_nothing(self, decoder: Decoder) -> None:
        [outcome] = one(decoder, stream(WebException={"StatusCode": 404, "Errors": ["gone"]})).outcomes
        assert isinstance(outcome.error, TagGoneError)
        assert (outcome.rows, outcome.until) == (0, START)

    @pytest.mark.parametrize(
        ("status", "content", "error"),
        [
            (404, {"Errors": ["PI Point not found."]}, TagGoneError),
            (404, {"Message": "gone"}, TagGoneError),
            (404, "gone", TagGoneError),
            (404, None, TagGoneError),
            (410, {}, TagGoneError),
            (404, {"Message": "No HTTP resource was found that matches the request URI."}, TagError),
            (403, {"Message": "Access denied"}, TagForbiddenError),
            (401, "", TagForbiddenError),
            (500, {"Errors": ["[-10401] No Read Access - Secure Object"]}, TagForbiddenError),
            (500, {"Errors": ["An internal error occurred."]}, UnavailableError),
            (502, "<html><body>Bad Gateway</body></html>", UnavailableError),
            (503, {}, UnavailableError),
            (429, {"Message": "Rate limit was reached."}, ThrottledError),
            (400, {"Errors": ["Parameter (maxCount) is greater than the maximum allowed (150000)."]}, SplitError),
            (400, {"Errors": ["The specified object was not found."]}, TagGoneError),
            (400, {"Errors": ["The time string 'nonsense' is not valid."]}, TagError),
            (409, "The following ParentIds did not complete successfully: bad.", TagError),
            (501, {"Message": "Unsupported"}, TagError),
        ],
    )
    def test_each_status_inside_a_batch_says_what_to_do(
        self, decoder: Decoder, status: int, content: object, error: type[Exception]
    ) -> None:
        body = batch((status, content), stream(event("10:00:00")))
        answer = decoder(body, [ask(0), ask(1)], Shape.BATCH, ingested_at=INGESTED_AT)
        failed, fine = answer.outcomes
        assert type(failed.error) is error
        assert "Unit1.Tag0" in str(failed.error)
        assert (failed.rows, failed.until) == (0, START)
        assert (fine.rows, fine.error) == (1, None)

    def test_retry_after_inside_a_batch_is_heard(self, decoder: Decoder) -> None:
        sub = {"Status": 503, "Headers": {"Retry-After": "7"}, "Content": None}
        body = json.dumps({"0": sub}).encode()
        [outcome] = decoder(body, [ask()], Shape.BATCH, ingested_at=INGESTED_AT).outcomes
        assert isinstance(outcome.error, ThrottledError)
        assert outcome.error.retry_after_secs == 7

    @pytest.mark.parametrize("content", [{}, None, "text", [], {"Items": None}, {"Message": "hm"}, {"Items": 3}])
    def test_a_good_status_without_events_is_undecodable(self, decoder: Decoder, content: object) -> None:
        [outcome] = one(decoder, content).outcomes
        assert isinstance(outcome.error, UndecodableError)
        assert outcome.until == START

    @pytest.mark.parametrize(
        "broken",
        [
            5,
            None,
            event("10:00:01", Good="yes"),
        ],
    )
    def test_an_event_that_makes_no_sense_sets_the_tag_aside(self, decoder: Decoder, broken: object) -> None:
        [outcome] = one(decoder, stream(event("10:00:00"), broken)).outcomes
        assert isinstance(outcome.error, UndecodableError)
        assert outcome.error.excerpt == ("" if broken is None else json.dumps(broken))
        assert (outcome.rows, outcome.until) == (0, START)

    def test_errors_of_a_stream_speak_for_it(self, decoder: Decoder) -> None:
        [outcome] = one(decoder, {"Errors": ["PI Point not found."]}).outcomes
        assert isinstance(outcome.error, TagGoneError)

    def test_an_ask_without_its_part_is_asked_again(self, decoder: Decoder) -> None:
        answer = decoder(batch(stream()), [ask(0), ask(1)], Shape.BATCH, ingested_at=INGESTED_AT)
        there, missing = answer.outcomes
        assert (there.until, there.error) == (END, None)
        assert isinstance(missing.error, UnavailableError)
        assert missing.until == START

    @pytest.mark.parametrize("shape", list(Shape))
    def test_a_body_cut_anywhere_is_no_answer(self, decoder: Decoder, shape: Shape) -> None:
        content = stream(event("10:00:00", {"Name": "On", "Value": 1}), event("10:00:01", "x"))
        body = {
            Shape.BATCH: batch(content),
            Shape.STREAMSET: streamset(content),
            Shape.STREAM: json.dumps(content).encode(),
        }[shape]
        assert decoder(body, [ask()], shape, ingested_at=INGESTED_AT).rows.num_rows == 2
        for length in range(len(body)):
            with pytest.raises(UnavailableError, match="cut midway"):
                decoder(body[:length], [ask()], shape, ingested_at=INGESTED_AT)

    def test_html_is_no_answer(self, decoder: Decoder) -> None:
        with pytest.raises(UnavailableError):
            decoder(b"<html>Sign in</html>", [ask()], Shape.BATCH, ingested_at=INGESTED_AT)

    @pytest.mark.parametrize("shape", list(Shape))
    @pytest.mark.parametrize(
        "body", [b"[]", b"3", b'"x"', b"null", b"{}", b'{"Message": "hm"}', b'{"0": 7, "Items": [1]}']
    )
    def test_other_json_fails_the_ask_not_the_decoder(self, decoder: Decoder, shape: Shape, body: bytes) -> None:
        [outcome] = decoder(body, [ask()], shape, ingested_at=INGESTED_AT).outcomes
        assert isinstance(outcome.error, UndecodableError | UnavailableError)
        assert (outcome.rows, outcome.until) == (0, START)

    def test_nesting_without_end_is_no_answer(self, decoder: Decoder) -> None:
        with pytest.raises(UnavailableError):
            decoder(b"[" * 200_000, [ask()], Shape.BATCH, ingested_at=INGESTED_AT)


class TestStreamset:
    def test_streams_are_matched_by_webid_in_any_order(self, decoder: Decoder) -> None:
        streams = [stream(event("10:00:00", float(n)), WebId=tag(n).web_id) for n in (2, 0, 1)]
        answer = decoder(streamset(*streams), [ask(n) for n in range(3)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        assert column(answer, "value") == [0.0, 1.0, 2.0]
        assert column(answer, "tag_webid") == [tag(n).web_id for n in range(3)]

    def test_fewer_events_than_the_count_are_complete(self, decoder: Decoder) -> None:
        body = streamset(stream(event("10:00:00")), stream(event("10:00:00")))
        answer = decoder(body, [ask(n, max_count=3) for n in range(2)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        assert [(outcome.until, outcome.recheck) for outcome in answer.outcomes] == [(END, False)] * 2

    def test_more_events_than_the_count_show_that_it_is_per_tag(self, decoder: Decoder) -> None:
        two = stream(event("10:00:00"), event("10:00:01"))
        body = streamset(two, two, stream())
        answer = decoder(body, [ask(n, max_count=3) for n in range(3)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        assert [(outcome.until, outcome.recheck) for outcome in answer.outcomes] == [(END, False)] * 3

    def test_exactly_the_count_in_all_leaves_every_tag_to_be_rechecked(self, decoder: Decoder) -> None:
        body = streamset(stream(event("10:00:00"), event("10:00:01")), stream(event("10:00:02")), stream())
        answer = decoder(body, [ask(n, max_count=3) for n in range(3)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        assert [(outcome.rows, outcome.until) for outcome in answer.outcomes] == [
            (1, at("10:00:01")),
            (0, at("10:00:02")),
            (0, START),
        ]
        assert all(outcome.recheck and outcome.error is None for outcome in answer.outcomes)

    def test_events_that_cannot_be_read_count_as_well(self, decoder: Decoder) -> None:
        """Else a tag beside a broken one would pass for complete."""
        broken = stream(event("10:00:00", Good="yes"), event("10:00:01"))
        body = streamset(broken, stream(event("10:00:02")))
        answer = decoder(body, [ask(n, max_count=3) for n in range(2)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        bad, other = answer.outcomes
        assert isinstance(bad.error, UndecodableError)
        assert not bad.recheck
        assert (other.until, other.recheck) == (at("10:00:02"), True)

    def test_a_strange_webid_makes_the_count_unsure(self, decoder: Decoder) -> None:
        body = streamset(stream(event("10:00:00")), stream(WebId="F1DPelsewhere"))
        answer = decoder(body, [ask(0), ask(1)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        there, missing = answer.outcomes
        assert (there.until, there.recheck) == (START, True)
        assert isinstance(missing.error, UnavailableError)

    def test_one_tag_alone_is_never_unsure(self, decoder: Decoder) -> None:
        body = streamset(stream(event("10:00:00"), event("10:00:01")))
        [outcome] = decoder(body, [ask(max_count=2)], Shape.STREAMSET, ingested_at=INGESTED_AT).outcomes
        assert (outcome.until, outcome.recheck) == (at("10:00:01"), False)

    def test_a_stream_with_errors_fails_alone(self, decoder: Decoder) -> None:
        body = streamset({"Errors": ["PI Point not found."]}, stream(event("10:00:00")))
        answer = decoder(body, [ask(0), ask(1)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        assert isinstance(answer.outcomes[0].error, TagGoneError)
        assert answer.outcomes[1].until == END

    def test_a_set_that_broke_off_is_no_answer(self, decoder: Decoder) -> None:
        """It does not say which stream was being written: any of them may lack events."""
        body = json.loads(streamset(stream(event("10:00:00")), stream(event("10:00:00"))))
        broken = body | {"WebException": {"Errors": ["writing failed"], "StatusCode": 500}}
        with pytest.raises(UnavailableError, match="broke off: writing failed"):
            decoder(json.dumps(broken).encode(), [ask(0), ask(1)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        whole = json.dumps(body | {"WebException": None}).encode()
        answer = decoder(whole, [ask(0), ask(1)], Shape.STREAMSET, ingested_at=INGESTED_AT)
        assert [outcome.until for outcome in answer.outcomes] == [END, END]


def test_nothing_asked_gives_nothing(decoder: Decoder) -> None:
    answer = decoder(b"{}", [], Shape.BATCH, ingested_at=INGESTED_AT)
    assert (answer.rows.num_rows, len(answer.outcomes)) == (0, 0)
    assert answer.rows.schema == ROWS_SCHEMA


def test_texts_that_repeat_are_dictionaries_in_memory(decoder: Decoder) -> None:
    schema = one(decoder, stream(event("10:00:00"))).rows.schema
    encoded = {field.name for field in schema if pa.types.is_dictionary(field.type)}
    assert encoded == {"tag_webid", "tag_name", "value_kind", "units"}
    assert all(schema.field(name).type == pa.dictionary(pa.int32(), pa.string()) for name in encoded)
