"""What reads foreign bytes, as functions that a fuzzer can call. Each takes the bytes alone.

A target calls what production calls, the way it is called there, and looks at what comes out: an answer
that can be stored, or one of our errors with a message that can be printed. Whatever else is raised is a
finding. `ValueError` is let pass where a docstring promises it, and only there.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Self, TypeVar

import aiohttp
import pyarrow as pa

from config import ExtractionConfig
from config.errors import ExtractError
from engine.datasets.recorded_values import with_digests
from engine.datasets.sampled import series_of_tag
from engine.datasets.tags import _now
from engine.model import Ask, DecodedAnswer, Tag
from engine.net.auth.kerberos import _server_token
from engine.net.auth.ntlm import challenge_in, offer_of, proof_of
from engine.net.auth.oauth import OAuth, OAuthSettings
from engine.net.body import read_body
from engine.piweb import counts, points, problems, states, times, updates, webid
from engine.piweb.assets import decode_list
from engine.piweb.attribute_tags import as_tags, decode_attributes
from engine.piweb.batches import overload_of
from engine.piweb.columns import ticks_of
from engine.piweb.decode import decode
from engine.piweb.http import Response
from engine.piweb.point_attributes import decode_point_attributes
from engine.piweb.sampled import decode_sampled
from engine.piweb.values import parse_json, stored_value
from engine.piweb.wire import DataServer, Shape
from engine.plan.update_windows import windows_of
from tests.piweb_protocol.decoders import DECODERS
from writers.delta.log_entry import is_checkpoint_due
from writers.log import deletion_vectors
from writers.log.data_files import files_in_range
from writers.log.entries import classify, parse_entry
from writers.log.snapshot import Snapshot, retention_ms
from writers.storage.log_checkpoints import find_checkpoint, parse
from writers.tables import PI_SAMPLED, PI_TIMESERIES
from writers.unity.answers import CatalogAnswer
from writers.unity.client import CatalogClient
from writers.unity.compatibility import refuse_foreign
from writers.unity.delta_api import DeltaApi, Proposal
from writers.unity.names import TableName
from writers.unity.transport import Transport, _parsed, _seconds

__all__ = ["TARGETS", "Target", "poisoned", "tag_of"]

Target = Callable[[bytes], None]
T = TypeVar("T")

START = times.parse_micros("2024-03-05T10:00:00Z")
END = times.parse_micros("2024-03-05T11:00:00Z")
POINT_TYPES = ("Float32", "String", "Timestamp", "Blob", "Digital")
STATUSES = (200, 207, 302, 400, 401, 403, 404, 405, 407, 408, 413, 429, 500, 501, 503)
_DAY = 86_400_000_000


def tag_of(n: int) -> Tag:
    return Tag(f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:06d}", f"Unit1.Tag{n}", "m", POINT_TYPES[n % len(POINT_TYPES)])


def asks_of(size: int, max_count: int) -> list[Ask]:
    return [Ask(tag_of(n), START, END, max_count) for n in range(size)]


# --- rules for what comes out ------------------------------------------------------


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # what Unicode calls Cc


def look_at(error: ExtractError) -> None:
    """An error is a sentence that can be printed and stored, on one line."""
    for text in (error.message, error.hint):
        text.encode()
        assert not _CONTROL.search(text), f"control characters in {text!r}"
        assert len(text) < 2000, f"a message of {len(text)} characters"


def look_at_text(*texts: str | None) -> None:
    for text in texts:
        if text is not None:
            text.encode()


def look_at_answer(
    answer: DecodedAnswer, asks: Sequence[Ask], truth: Sequence[str] = PI_TIMESERIES.grain.truth
) -> None:
    """Rows can be stored; outcomes account for them; nothing outside of a window counts."""
    answer.rows.validate(full=True)
    outcomes = list(with_digests(answer, truth).outcomes)
    assert len(outcomes) == len(asks)
    assert sum(outcome.rows for outcome in outcomes) == answer.rows.num_rows
    for outcome, ask in zip(outcomes, asks, strict=True):
        assert outcome.ask == ask
        assert ask.start <= outcome.until <= ask.end
        assert outcome.last_event is None or ask.start <= outcome.last_event < ask.end
        if outcome.error is not None:
            look_at(outcome.error)


# --- recorded values -----------------------------------------------------------------


def _recorded(shape: Shape, size: int) -> Target:
    def target(data: bytes) -> None:
        for max_count in (2, 1000):  # long streams are taken apart on another way
            asks = asks_of(size, max_count)
            answers = []
            for decoder in DECODERS.values():
                try:
                    answers.append(decoder(data, asks, shape, ingested_at=END))
                    look_at_answer(answers[-1], asks)
                except ExtractError as error:
                    look_at(error)
            # The native decoder, where it is installed, says what Python says.
            assert len({str(answer.rows.to_pylist()) for answer in answers}) <= 1
            assert len(answers) in {0, len(DECODERS)}

    return target


_GRID = 10 * 60 * 1_000_000


def sampled_asks(kinds: Sequence[str], size: int, max_count: int = 1000) -> list[Ask]:
    """A series of each kind for each tag: the hour on a grid of ten minutes."""
    return [Ask(series_of_tag(tag_of(n), _GRID, kind), START, END, max_count) for n in range(size) for kind in kinds]


def _sampled(shape: Shape, kinds: Sequence[str], size: int) -> Target:
    def target(data: bytes) -> None:
        for max_count in (3, 1000):
            asks = sampled_asks(kinds, size, max_count)
            try:
                answer = decode_sampled(decode, data, asks, shape, ingested_at=END)
            except ExtractError as error:
                look_at(error)
                continue
            look_at_answer(answer, asks, PI_SAMPLED.grain.truth)
            at = answer.rows.column("timestamp").cast(pa.int64()).to_pylist()
            assert all(one % _GRID == 0 for one in at), "a value off the grid"
            series = zip(answer.rows.column("series_id").to_pylist(), at, strict=True)
            assert len(set(series)) == len(at), "two values at one point"

    return target


def poisoned(content: bytes, shape: Shape) -> bytes:
    """An answer for three tags, of which the second says `content`, which is JSON."""
    good = b'{"Items":[{"Timestamp":"2024-03-05T10:00:0%dZ","Value":%d,"Good":true}],"UnitsAbbreviation":"bar"%s}'
    if shape is Shape.BATCH:
        return b'{"0":{"Status":200,"Content":%s},"1":{"Status":200,"Content":%s},"2":{"Status":200,"Content":%s}}' % (
            good % (1, 1, b""),
            content,
            good % (2, 2, b""),
        )
    mine = content.lstrip()
    if mine[:1] == b"{":
        mine = b'{"WebId":"%s"%s' % (tag_of(1).web_id.encode(), b"}" if mine[1:].strip() == b"}" else b"," + mine[1:])
    return b'{"Items":[%s,%s,%s]}' % (
        good % (1, 1, b',"WebId":"%s"' % tag_of(0).web_id.encode()),
        mine,
        good % (2, 2, b',"WebId":"%s"' % tag_of(2).web_id.encode()),
    )


def _beside(shape: Shape) -> Target:
    """Whatever one tag's part holds, the rows of the others are the ones that were sent."""

    def target(data: bytes) -> None:
        try:
            json.loads(data.decode(), parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            return  # no JSON: then the whole answer is none, and is asked for again by halves
        asks = asks_of(3, 1000)
        body = poisoned(data, shape)
        answer = decode(body, asks, shape, ingested_at=END)
        look_at_answer(answer, asks)
        for n, value in ((0, 1.0), (2, 2.0)):
            outcome = answer.outcomes[n]
            first = int(answer.outcomes.rows[:n].sum())
            if outcome.recheck:  # the content speaks of another tag: the others are asked again, alone
                assert (outcome.error, outcome.rows, shape) == (None, 0, Shape.STREAMSET)
                continue
            assert (outcome.error, outcome.rows, outcome.until) == (None, 1, END)
            row = answer.rows.slice(first, 1).to_pylist()[0]
            assert (row["tag_webid"], row["units"], row["good"]) == (tag_of(n).web_id, "bar", True)
            # A blob and a number alike: it is a number that was sent.
            assert (row["value"], row["value_kind"]) == (value, "number")

    return target


def _values(data: bytes) -> None:
    """A value by itself, whatever the type of the point."""
    try:
        value = parse_json(data)
    except ValueError:
        return
    for point_type in POINT_TYPES:
        try:
            landed = stored_value(value, point_type)
        except ValueError:  # a state that no column can hold
            continue
        look_at_text(landed.text)
        pa.array([landed.value], pa.float64())
        pa.array([landed.code], pa.int32())


# --- counts ----------------------------------------------------------------------------


def _counted(shape: Shape, size: int) -> Target:
    def target(data: bytes) -> None:
        asks = [Ask(tag_of(n), 0, 2 * _DAY + n, 3) for n in range(size)]
        try:
            found = counts.decode_counts(data, asks, shape)
        except ExtractError as error:
            look_at(error)
            return
        assert [one.ask for one in found] == asks
        for one in found:
            assert (one.error is None) == (len(one.days) == counts.days_of(one.ask))
            pa.array(one.days, pa.int64())
            assert all(-10 < day < 2**63 for day in one.days)
            if one.error is not None:
                look_at(one.error)

    return target


# --- points, states, updates ---------------------------------------------------------------


def _points(read: Callable[[bytes], points.Points]) -> Target:
    def target(data: bytes) -> None:
        try:
            found = read(data)
        except ExtractError as error:
            look_at(error)
            return
        found.rows.validate(full=True)
        assert len(found.tags) == found.rows.num_rows
        for tag in found.tags:
            look_at_text(tag.web_id, tag.name, tag.units, tag.point_type)
        for name, why in found.failures:
            look_at_text(name, why)

    return target


def _point_attributes(data: bytes) -> None:
    try:
        found = decode_point_attributes(data, ("*",))
    except ExtractError as error:
        look_at(error)
        return
    for name, text in found.texts.items():
        look_at_text(name, text or "")
    look_at_text(*found.unread)


def _servers(data: bytes) -> None:
    try:
        servers = points.data_servers(data)
        for server in servers[:3]:
            look_at_text(server.WebId, server.Name)
            _now(server, {"date": "Tue, 05 Mar 2024 10:15:30 GMT"}, ExtractionConfig())
    except ExtractError as error:
        look_at(error)


_SETS = [states.SetOfStates("PI1", f"Set{n}", f"F1MS{n}") for n in range(3)]


def _look_at_states(read: Sequence[states.States]) -> None:
    states.rows_of(read).validate(full=True)
    for one in read:
        look_at_text(one.problem)


def _sets(data: bytes) -> None:
    try:
        for one in states.decode_sets(data, "PI1").sets.values():
            look_at_text(one.name, one.web_id)
            states.states_of(one)
    except ExtractError as error:
        look_at(error)


def _states(data: bytes) -> None:
    for status in (200, 404, 500):
        _look_at_states([states.decode_states(_SETS[0], Response(status, data))])


def _states_batch(data: bytes) -> None:
    try:
        _look_at_states(states.decode_batch(_SETS, data))
    except ExtractError as error:
        look_at(error)


def _registrations(data: bytes) -> None:
    asked = [tag_of(n).web_id for n in range(3)]
    try:
        found = updates.decode_registrations(data, asked)
    except ExtractError as error:
        look_at(error)
        return
    assert [one.web_id for one in found] == asked
    for one in found:
        look_at_text(one.reason, one.marker)
        assert one.marker or one.reason
    list(updates.retrievals([one.marker for one in found if one.marker]))


def _retrievals(data: bytes) -> None:
    asked = ["m1", "m2"]
    try:
        found = updates.decode_retrievals(data, asked)
    except ExtractError as error:
        look_at(error)
        return
    assert [one.asked for one in found] == asked
    for one in found:
        look_at_text(one.reason, one.marker)
        assert one.marker or one.reason
        windows_of(one.messages)
    list(updates.retrievals([one.marker for one in found if one.marker]))


# --- refusals, headers, texts -------------------------------------------------------------


def _refusals(data: bytes) -> None:
    """The body of an error, of any status."""
    look_at_text(problems.excerpt_of(data))
    for status in STATUSES:
        response = Response(status, data)
        problems.is_batch_unsupported(response)
        problems.is_csrf_refusal(response)
        updates.is_unsupported(response)
        for tags in (0, 1, 2):
            if error := problems.error_for(response, "reading", tags=tags):
                look_at(error)


def _sentences(data: bytes) -> None:
    """The error of one tag, inside of an answer."""
    try:
        content = parse_json(data)
    except ValueError:
        return
    look_at_text(problems.sentence_of(content))
    for status in (200, 400, 404, 429, 500, 503):
        look_at(problems.tag_error(status, content, tag_of(0), content))


def _headers(data: bytes) -> None:
    """The text of a header, wherever a header is read."""
    text = data.decode("latin-1")
    for headers in ({"retry-after": text, "date": text}, {"retry-after": text}, {"date": text, "retry-after": "5"}):
        for secs in (problems.retry_after_secs(headers, now=0.0), problems.retry_after_secs(headers), _seconds(text)):
            assert secs is None or secs >= 0
    for status in (401, 407):
        if error := problems.error_for(Response(status, b"", {"www-authenticate": text}), "reading"):
            look_at(error)
    for server in (None, DataServer("F1DS", "PI1", ServerTime=text)):
        try:
            _now(server, {"date": text}, ExtractionConfig())
        except ExtractError as error:
            look_at(error)
    for read in (times.parse_http_date, _token_of):
        with suppress(ValueError):
            read(text)


def _ntlm_challenge(data: bytes) -> None:
    """Once as the header that holds it, and once as what is in the header."""
    challenge_in({"www-authenticate": data.decode("latin-1")})
    context = offer_of("CORP\\svc_pi", "Sesame-0pen", host="pi.example")
    context.step()
    proof = proof_of(context, data)
    assert proof is None or proof.startswith(b"NTLMSSP\0\x03")


def _batch_overload(data: bytes) -> None:
    found = overload_of(data)
    assert found is None or found.retry_after_secs >= 0


def _token_of(text: str) -> bytes:
    return _server_token({"www-authenticate": text})


def _times(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    ticks_of([text, text])
    ticks_of([text, "2024-03-05T10:00:00Z", "0001-01-01T00:00:00Z"])
    try:
        ticks = times.parse_ticks(text)
    except ValueError:
        return
    assert -(2**63) < ticks < 2**63
    assert times.parse_micros(text) == ticks // 10


def _web_ids(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    webid.kind_of(text)
    webid.form_of(text)
    webid.is_web_id(text)
    ref = webid.parse_tag(text)
    with suppress(ValueError):
        webid.split_path(ref.text)


# --- logins -----------------------------------------------------------------------------------


@dataclass
class _Answering:
    """Stands for a session whose every answer is these bytes."""

    status: int
    data: bytes

    def request(self, *_: Any, **__: Any) -> _Answering:
        return self

    async def __aenter__(self) -> Self:
        self._left = self.data
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def content(self) -> _Answering:
        return self

    async def read(self, size: int) -> bytes:
        piece, self._left = self._left[:size], self._left[size:]
        return piece


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _token_endpoint(data: bytes) -> None:
    for status in (200, 400, 500):
        for token_url in ("", "https://login.example/token"):
            auth = OAuth(OAuthSettings("https://pi.example/piwebapi", "me", "not-a-secret", token_url))
            try:
                at_once(auth.credential(_Answering(status, data))).header.encode("ascii")  # type: ignore[arg-type]
            except ExtractError as error:
                look_at(error)


class _Pieces:
    """A body as it comes from the network."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def _all(self) -> Any:
        for piece in self._pieces:
            yield piece

    def iter_any(self) -> Any:
        return self._all()


def _bodies(data: bytes) -> None:
    """A compressed body, whole and in two pieces."""
    middle = len(data) // 2
    found = []
    for pieces in ((data,), (data[:middle], data[middle:])):
        try:
            # A long one is unpacked in a thread.
            body = _loop().run_until_complete(read_body(_Pieces(*pieces), encoding="gzip", max_bytes=1 << 20))  # type: ignore[arg-type]
            assert len(body.data) <= 1 << 20
            found.append(body.data)
        except aiohttp.ClientPayloadError:
            found.append(b"damaged")
    assert found[0] == found[1] or b"damaged" in found


# --- Unity Catalog and the log of a table ---------------------------------------------------------

_NAME = TableName("main", "bronze", "pi_timeseries")
_PROPOSAL = Proposal(3, 1, "00000000000000000003.x.json", 10, 1)


class _Catalog(Transport):
    """A catalog whose every answer is these bytes."""

    def __init__(self, status: int, data: bytes) -> None:
        super().__init__("https://catalog.example", dict, sleep=lambda _: None)
        body = _parsed(data)
        self._answer = CatalogAnswer(status, body or {}, garbled=body is None)

    def _send(self, *_: Any) -> CatalogAnswer:
        return self._answer


def _catalog(data: bytes) -> None:
    for status in (200, 400, 403, 404, 409, 429, 500):
        for call in _calls(_Catalog(status, data)):
            try:
                call()
            except ExtractError as error:
                look_at(error)


def _calls(transport: Transport) -> Sequence[Callable[[], Any]]:
    client, api = CatalogClient(transport), DeltaApi(transport)
    return (
        lambda: client.ensure_schema(_NAME.parent, ""),
        lambda: client.table_credentials(entry) if (entry := client.find_table(_NAME)) else None,
        lambda: client.path_credentials("s3://there/here"),
        lambda: api.check_served("main"),
        lambda: api.stage_table(_NAME),
        lambda: refuse_foreign(_NAME, api.load(_NAME)),
        lambda: api.credentials(_NAME),
        lambda: api.propose(_NAME, "id", _PROPOSAL),
        lambda: api.report_published(_NAME, "id", 3),
    )


def _entries(data: bytes) -> None:
    """An entry of the log of a table, as others may have written it."""
    try:
        actions = parse(data, "version 0")
        snapshot = Snapshot()
        snapshot.advance(0, actions)
        retention_ms(snapshot.properties.get("delta.deletedFileRetentionDuration"))
        is_checkpoint_due(99, snapshot.properties)
        assert snapshot.features is not None
        list(snapshot.checkpoint(0))
        list(snapshot.files({}))
        list(files_in_range(snapshot.files({}), PI_TIMESERIES.grain, 0, 2**60))
        snapshot.last_sequence("default")
    except ExtractError as error:
        look_at(error)
    try:
        entry = parse_entry(1, data)
        classify([entry], "token")
        assert isinstance(entry.seen, int)
        entry.takes_from({})
        assert entry.replaces in {True, False}
    except ExtractError as error:
        look_at(error)


def _names(data: bytes) -> None:
    """The names of what lies in the folder of a log."""
    find_checkpoint(data.decode("utf-8", "replace").split("\n"), 10**20)


def _vectors(data: bytes) -> None:
    """The first line is what the log says of a deletion vector, the rest is its file."""
    told, _, content = data.partition(b"\n")
    try:
        said = parse(b'{"remove":{"path":"a","deletionVector":%s}}' % told, "version 0")[0]["remove"]["deletionVector"]
    except (ExtractError, LookupError):
        return
    if not said:
        return
    try:
        place = deletion_vectors.inline_or_path(said)
        found = place if isinstance(place, bytes) else deletion_vectors.slice_of_file(content, said)
        deletion_vectors.deleted_rows(found, said)
    except ValueError:
        pass  # promised, and turned into an error of ours where it is called


def _all() -> Iterator[tuple[str, Target]]:
    for shape, size in ((Shape.BATCH, 4), (Shape.STREAMSET, 4), (Shape.STREAM, 1)):
        yield f"recorded_{shape.value}", _recorded(shape, size)
        yield f"counts_{shape.value}", _counted(shape, min(size, 2))
    for shape, size in ((Shape.BATCH, 2), (Shape.STREAMSET, 2), (Shape.STREAM, 1)):
        yield f"interpolated_{shape.value}", _sampled(shape, ("interpolated",), size)
        yield f"summaries_{shape.value}", _sampled(shape, ("average", "maximum"), size)
    yield "beside_batch", _beside(Shape.BATCH)
    yield "beside_streamset", _beside(Shape.STREAMSET)
    yield "values", _values
    yield "points_page", _points(points.decode_page)
    yield "points_multiple", _points(lambda body: points.decode_multiple(body, [r"\\PI1\SINUSOID", r"\\PI1\TANK"]))
    yield "points_single", _points(points.decode_point)
    yield "attributes_multiple", _points(lambda body: decode_attributes(body, ["F1AbEa", "F1AbEb"]).found)
    yield "attributes_list", _points(lambda body: as_tags(decode_list(body).items).found)
    yield "point_attributes", _point_attributes
    yield "servers", _servers
    yield "state_sets", _sets
    yield "states", _states
    yield "states_batch", _states_batch
    yield "registrations", _registrations
    yield "retrievals", _retrievals
    yield "refusals", _refusals
    yield "sentences", _sentences
    yield "headers", _headers
    yield "ntlm_challenge", _ntlm_challenge
    yield "batch_overload", _batch_overload
    yield "times", _times
    yield "web_ids", _web_ids
    yield "token_endpoint", _token_endpoint
    yield "bodies", _bodies
    yield "catalog", _catalog
    yield "log_entries", _entries
    yield "log_names", _names
    yield "deletion_vectors", _vectors


TARGETS: Mapping[str, Target] = dict(_all())
