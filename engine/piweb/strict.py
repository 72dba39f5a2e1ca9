"""Answers with recorded values in the strict shapes, which hold nearly all there is. Pure.

Three ways in, each slower and more patient than the one before it:

1. the whole body at once; a long stream takes itself apart as soon as it is decoded
2. only the envelope, each stream on its own, so that a stream that is not strict is read by
   `tolerant` without slowing down the others
3. the standard library, for bodies whose envelope no strict parser accepts (a bare NaN is enough)

Invariant: what comes out says the same, whichever way it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from config.errors import UnavailableError

from .columns import ColumnChunk, take_apart
from .problems import sentence_of
from .streams import cut_midway
from .values import parse_json
from .wire import Shape, WireEvent

_NOT_STRICT = (ValueError, RecursionError)
# Shorter streams are taken apart several at a time.
_LONG = 512


class Stream(Struct, gc=False):
    """The recorded values of one tag, or an error in their place. `WebId` is there in streamsets only."""

    Items: list[WireEvent] | None = None
    UnitsAbbreviation: str | None = None
    WebId: str = ""
    # Of type None alone: a stream that broke off is for `tolerant`.
    WebException: None = None
    Errors: Any = None
    Message: Any = None
    MessageDetail: Any = None
    chunk: ClassVar[ColumnChunk | None] = None

    def is_whole(self) -> bool:
        return self.Items is not None and not self.Errors

    def said(self) -> dict[str, Any]:
        """What it says where it holds no values."""
        return {"Errors": self.Errors, "Message": self.Message, "MessageDetail": self.MessageDetail}


class _LongStream(Stream, dict=True, gc=True):
    """One that may be long, and then takes itself apart. Short ones by the thousand are spared the question."""

    def __post_init__(self) -> None:
        if self.Items is not None and len(self.Items) >= _LONG:
            self.__dict__["chunk"] = take_apart(self.Items)
            self.Items = []


S = TypeVar("S", bound=Stream)


class SubResponse(Struct):
    """One tag's part of an answer. `Content` is a `Stream`, or any other JSON, parsed or still raw."""

    Status: int
    Content: Any = None
    Headers: Any = None


class _StrictSubResponse(Struct, Generic[S], gc=False):
    Status: int
    Content: S | str | None = None
    Headers: Raw = Raw(b"null")


class _RawSubResponse(Struct, gc=False):
    Status: int
    Content: Raw = Raw(b"null")
    Headers: Raw = Raw(b"null")


class _StrictStreamset(Struct, Generic[S]):
    Items: list[S]
    WebException: None = None


class _RawStreamset(Struct):
    Items: list[Raw]
    WebException: None = None


_BEFORE_A_VALUE = re.compile(rb'"Value"\s*:\s*\Z')
_AFTER_A_VALUE = re.compile(rb"\s*[,}]")
_REACH = 64  # more white space than this before a value sends the body the slow way
_MARKED_NUMBER = re.compile(rb'"\\u0000(NaN|-?Infinity)"')
_NUL = b"\\u0000"  # the only way in which JSON can spell it
_STREAM = msgspec.json.Decoder(_LongStream)
# By whether streams may be long.
_BATCH: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(dict[str, _StrictSubResponse[Stream]]),
    True: msgspec.json.Decoder(dict[str, _StrictSubResponse[_LongStream]]),
}
_STREAMSET: dict[bool, msgspec.json.Decoder[Any]] = {
    False: msgspec.json.Decoder(_StrictStreamset[Stream]),
    True: msgspec.json.Decoder(_StrictStreamset[_LongStream]),
}
_BATCH_OF_RAW = msgspec.json.Decoder(dict[str, _RawSubResponse])
_PART_OF_BATCH = msgspec.json.Decoder(_RawSubResponse)
_STREAMSET_OF_RAW = msgspec.json.Decoder(_RawStreamset)


class OpenedAnswer(NamedTuple):
    """Each tag's `SubResponse` (or what looks like one) by key.

    `marked`: numbers that JSON does not know may stand there as texts, as `BARE_NUMBERS` has them; in other answers
    such a text is one that was sent.
    """

    contents: Mapping[str, Any]
    marked: bool = False


def open_answer(body: bytes, shape: Shape, *, most_events: int) -> OpenedAnswer:
    """Open an answer. `most_events`: of one tag, as was asked for.

    Raises `UnavailableError` for a body that is no complete JSON, or that a server broke off by its own account.
    """
    open_whole = partial(_open_whole, long=most_events >= _LONG)
    with suppress(*_NOT_STRICT):
        return OpenedAnswer(open_whole(body, shape))
    marked = body
    # Where a text holds a NUL, it might look like a mark.
    for word in () if _NUL in body else (b"NaN", b"Infinity"):  # hardly ever both
        tried, marked = marked, _mark_bare(marked, word)
        if marked is not tried:
            with suppress(*_NOT_STRICT):
                return OpenedAnswer(open_whole(marked, shape), marked=True)
    if shape is not Shape.STREAM:
        with suppress(*_NOT_STRICT):
            return OpenedAnswer(_open_envelope(marked, shape, marked=marked is not body), marked=marked is not body)
    return OpenedAnswer(open_loosely(body, shape))


def _mark_bare(body: bytes, word: bytes) -> bytes:
    """Quote values sent as a bare word, so that one of them does not cost all the others.

    A quote inside of a JSON string is escaped, so nothing in there looks like a value.
    """
    pieces: list[bytes] = []
    last = 0
    for start, end in _bare(body, word):
        pieces += (body[last:start], b'"\\u0000', body[start:end], b'"')
        last = end
    return b"".join((*pieces, body[last:])) if pieces else body


def _bare(body: bytes, word: bytes) -> Iterator[tuple[int, int]]:
    """Where the word stands for a whole value; Infinity may have a sign.

    Jumping from one first letter to the next is quicker than a pattern that looks at every byte.
    """
    letter = word[:1]
    at = body.find(letter)
    while at >= 0:
        start, end = at, at + len(word)
        if body[at:end] == word:
            if letter == b"I" and body[at - 1 : at] == b"-":
                start -= 1
            if _BEFORE_A_VALUE.search(body, max(0, start - _REACH), start) and _AFTER_A_VALUE.match(body, end):
                yield start, end
        at = body.find(letter, at + 1)


def _unmarked(raw: Raw) -> bytes:
    return _MARKED_NUMBER.sub(rb"\1", bytes(raw))


def open_loosely(body: bytes, shape: Shape) -> dict[str, SubResponse]:
    """The same, by the standard library alone."""
    answer = parsed(body)
    if shape is Shape.STREAM:
        return {"0": SubResponse(200, answer)}
    if not isinstance(answer, dict):
        return {}
    if failure := answer.get("WebException"):
        # It is unknown which stream was being written. As with a 500, it may be that of one bad tag.
        raise UnavailableError(f"the answer broke off: {sentence_of(failure) or 'it does not say why'}", status=500)
    if shape is Shape.STREAMSET:
        items = answer.get("Items")
        return _by_web_id([item for item in items if isinstance(item, dict)] if isinstance(items, list) else [])
    return {
        key: SubResponse(sub["Status"], sub.get("Content"), sub.get("Headers"))
        for key, sub in answer.items()
        if isinstance(sub, dict) and isinstance(sub.get("Status"), int)
    }


def parsed(text: Any) -> Any:
    """Parse what is still text. Raises `UnavailableError` if that cannot be done."""
    if not isinstance(text, bytes | Raw):
        return text
    try:
        return parse_json(bytes(text))
    except ValueError as error:
        raise cut_midway(str(error)) from error


def _open_whole(body: bytes, shape: Shape, *, long: bool) -> Mapping[str, Any]:
    subs: Mapping[str, Any]
    if shape is Shape.BATCH:
        subs = _BATCH[long].decode(body)
    elif shape is Shape.STREAMSET:
        subs = _by_web_id(_STREAMSET[long].decode(body).Items)
    else:
        subs = {"0": SubResponse(200, _STREAM.decode(body))}
    for sub in subs.values():
        # Nothing but values, or an error as a whole.
        if 200 <= sub.Status < 300 and not (isinstance(sub.Content, Stream) and sub.Content.is_whole()):
            msg = "a stream holds more than values"
            raise ValueError(msg)
    return subs


def _open_envelope(body: bytes, shape: Shape, *, marked: bool) -> Mapping[str, Any]:
    if shape is Shape.STREAMSET:
        streams = [_stream(raw, marked=marked) for raw in _STREAMSET_OF_RAW.decode(body).Items]
        return _by_web_id([stream for stream in streams if isinstance(stream, Stream | dict)])
    subs = _BATCH_OF_RAW.decode(body)
    return {key: SubResponse(sub.Status, _stream(sub.Content, marked=marked), sub.Headers) for key, sub in subs.items()}


def open_part(part: bytes, shape: Shape) -> SubResponse:
    """One part of an answer of many: a sub-response of a batch, a stream of a streamset.

    Raises `ValueError` or `RecursionError` for one whose envelope no strict parser accepts.
    """
    if shape is Shape.BATCH:
        sub = _PART_OF_BATCH.decode(part)
        return SubResponse(sub.Status, _stream(sub.Content, marked=False), sub.Headers)
    return SubResponse(200, _stream(Raw(part), marked=False))


def _stream(raw: Raw, *, marked: bool) -> Any:
    """A strict stream, or the parsed JSON of what is not one."""
    try:
        stream = _STREAM.decode(raw)
        if stream.is_whole():
            return stream
    except _NOT_STRICT:
        pass
    return parsed(_unmarked(raw) if marked else raw)


def _by_web_id(streams: Sequence[Any]) -> dict[str, SubResponse]:
    return {
        stream.WebId if isinstance(stream, Stream) else str(stream.get("WebId")): SubResponse(200, stream)
        for stream in streams
    }
