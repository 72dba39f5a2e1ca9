"""The matrix of faults: what can go wrong, how a test makes it, and how a run of each dataset has to end.

This is data. `test_faults_at_the_source.py` and `test_faults_elsewhere.py` try every cell, and `page.py` makes docs/faults.md of it.

A fault that passes is met by two requests; one that stays is met by all. Whatever happens, a table holds nothing but what
the source has, an end with 0 and without a word means that all of it is there, and the next run makes it whole.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

from tests.faults import acts
from tests.faults.acts import LOGIN_PAGE, Act, gzipped

__all__ = [
    "ALL_WELL",
    "DATASETS",
    "ELSEWHERE",
    "FAULTS",
    "MIDWAY",
    "REFUSED",
    "Elsewhere",
    "End",
    "Fault",
    "Midway",
    "Rows",
]

DATASETS = (
    *("recorded", "sampled", "tags", "digital_states", "data_servers", "point_attributes", "assets", "event_frames"),
)


class Rows(Enum):
    """What the tables of a dataset hold after a run, of what is new at the source."""

    ALL = "all"
    NONE = "none"  # as they were
    SOME = "some"


@dataclass(frozen=True)
class End:
    """How a run of a dataset ends: its exit code, and the rows. `told`: it says what it has not done."""

    code: int
    rows: Rows
    told: bool


Ends: TypeAlias = Mapping[str, End]


def ends(text: str) -> Ends:
    """By dataset. `1`: exit code 1, the tables as they were; `1s`: some of the rows; `0`: all is well; `0n`, `0s`: none, or some,
    of the rows, which the report says; `0w`: all rows, and a word of warning; `0q`, `0d`: no row, or only some, are due, and
    nothing is said.
    """
    found = {}
    for name, word in zip(DATASETS, text.split(), strict=True):
        rows = {"n": Rows.NONE, "q": Rows.NONE, "s": Rows.SOME, "d": Rows.SOME, "w": Rows.ALL}.get(
            word[1:], Rows.ALL if word == "0" else Rows.NONE
        )
        found[name] = End(int(word[0]), rows, word not in {"0", "0q", "0d"})
    return found


# In the order of DATASETS. Digital states are read beside values: the report warns, and nothing is lost by waiting.
ALL_WELL = ends("0 0 0 0 0 0 0 0")
UNREAD = ends("1 1 1 0n 1 1 1 1")
# Parts of answers, or pieces of them, leave the attributes of points as they are, with a warning.
UNREAD_IN_PARTS = ends("1 1 1 0n 1 0n 1 1")
# What is refused for good is said to be the configuration, unless it may be about one tag or one object.
WRONG_ADDRESS = ends("2 2 2 0n 2 2 2 2")
REFUSED_FOR_GOOD = ends("1 2 2 0n 2 2 1 1")
FORBIDDEN = ends("1 3 3 0n 3 3 1 1")
NO_LOGIN = ends("3 3 3 0n 3 3 3 3")
PARTS_REFUSED_FOR_GOOD = ends("1 1 2 0n 2 0n 1 1")
PARTS_FORBIDDEN = ends("1 1 3 0n 3 0n 1 1")
# Another way to ask is found for values and attributes: batches, streamsets, single requests.
ONCE_REFUSED = ends("0 2 2 0n 2 2 1 0")


@functools.cache
def _bomb() -> bytes:
    return gzipped(b" " * (50 << 20))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault at the source, or on the way.

    `made`: how, for people. `stays`: how a run ends that meets it with every request; `passes`: one of which two requests meet it.
    `says`: a pattern of what is said of a dataset that is not read.
    `whole`: once met, every request meets it. `timeout`: what `pi_web_api.timeout` is set to where it stays.
    """

    name: str
    made: str
    act: Act
    says: str = ""
    stays: Ends = field(default_factory=lambda: UNREAD)
    passes: Ends = field(default_factory=lambda: ALL_WELL)
    whole: bool = False
    timeout: str = "3s"


CONNECTION = (
    Fault(
        name="refused",
        made="no connection is taken, or none for a moment",
        act=acts.refused(0.02),
        says="connection refused",
    ),
    Fault(
        name="reset before the answer",
        made="a reset in place of an answer",
        act=acts.reset_in_head(0),
        says="reset by peer",
    ),
    Fault(
        name="reset in the head",
        made="a reset after 20 bytes of the head",
        act=acts.reset_in_head(20),
        says="reset by peer|not HTTP|in the middle",
    ),
    Fault(
        name="reset after the head",
        made="a reset before the first byte of the body",
        act=acts.reset_at(0),
        says="in the middle",
    ),
    Fault(
        name="reset in the body", made="a reset after half of the body", act=acts.reset_at(0.5), says="in the middle"
    ),
    Fault(name="reset at the end", made="a reset before the last byte", act=acts.reset_at(1), says="in the middle"),
    Fault(
        name="closed", made="the connection is closed in place of an answer", act=acts.closed, says="without an answer"
    ),
    Fault(
        name="silent",
        made="no answer within `pi_web_api.timeout`",
        act=acts.silent,
        says="did not answer within",
        whole=True,
        timeout="100ms",
    ),
    Fault(
        name="stalled",
        made="half of the answer, and then nothing",
        act=acts.stalled,
        says="did not answer within",
        whole=True,
        timeout="100ms",
    ),
    Fault(name="slow", made="the answer comes in pieces, in time", act=acts.slow, stays=ALL_WELL),
)
BODY = (
    Fault(
        name="cut short",
        made="half of the body, with a length that fits",
        act=acts.cut_short,
        says="cannot be read|holds nothing|no data server|cut midway|cannot be read",
    ),
    Fault(
        name="gzip garbage",
        made="bytes that are no gzip stream, and are called one",
        act=acts.encoded(lambda _: b"\x1f\x8b" + b"\x99" * 200),
        says="gzip",
    ),
    Fault(
        name="gzip cut",
        made="a gzip stream that ends midway",
        act=acts.encoded(lambda body: gzipped(body)[:-12]),
        says="gzip",
    ),
    Fault(
        name="gzip bomb",
        made="a gzip stream of 50 kB that unpacks to 50 MB",
        act=acts.encoded(lambda _: _bomb()),
        says="larger than|cut midway|cannot be read|bytes",
        stays=UNREAD_IN_PARTS,
        passes=ends("0 0 0 0n 1 0 1 0"),
    ),
    Fault(
        name="another coding",
        made="`Content-Encoding: br`, which was not asked for",
        act=acts.encoded(lambda body: body, "br"),
        says="Content-Encoding 'br'",
    ),
    Fault(
        name="binary",
        made="`application/octet-stream` with bytes that are no JSON",
        act=acts.answered(b"\x00\xff\x00", "application/octet-stream"),
        says="cannot be read|holds nothing|no data server|no JSON|cannot be read",
    ),
    Fault(
        name="wrong content type",
        made="JSON that is called `text/plain`",
        act=acts.called("text/plain"),
        stays=ALL_WELL,
    ),
    Fault(
        name="web page",
        made="200 with a login page, from a layer before PI Web API",
        act=acts.answered(LOGIN_PAGE, "text/html"),
        says="web page",
    ),
    Fault(
        name="empty",
        made="200 without a body",
        act=acts.answered(b""),
        says="cannot be read|holds nothing|no data server|no JSON|cannot be read|empty",
    ),
    Fault(
        name="null",
        made="200 with `null`",
        act=acts.answered(b"null"),
        says="cannot be read|holds nothing|holds no list|no data server|expected|not what the protocol says",
    ),
    Fault(
        name="a list",
        made="200 with `[]`",
        act=acts.answered(b"[]"),
        says="cannot be read|holds nothing|holds no list|no data server|expected|not what the protocol says",
    ),
    Fault(
        name="an empty object",
        made="200 with `{}`",
        act=acts.answered(b"{}"),
        says="cannot be read|holds nothing|no data server|no list|not what the protocol says",
        stays=UNREAD_IN_PARTS,
        passes=ends("0 0 0 0 0 0s 0 0"),
    ),
    Fault(
        name="no HTTP",
        made="the greeting of another protocol",
        act=acts.raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        says="not HTTP",
    ),
    Fault(
        name="endless head",
        made="a header of 400 kB",
        act=acts.raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 400_000 + b"\r\n\r\n"),
        says="not HTTP",
    ),
)
PROTOCOL = (
    Fault(
        name="redirect",
        made="302 to a login page elsewhere",
        act=acts.refused_with(302, headers="Location: https://login.example/\r\n"),
        says="points to https://login.example",
        stays=WRONG_ADDRESS,
        passes=WRONG_ADDRESS,
    ),
    Fault(
        name="WebException",
        made="half of the items, and a WebException",
        act=acts.changed(acts.web_exception),
        says="no data server|broke off|Error occurred",
        stays=ends("1s 1 1 0n 1 0n 1 1"),
        passes=ends("0 0 0 0n 0 0n 0 0"),
    ),
    Fault(
        name="item errors",
        made="every other item is an error in its place",
        act=acts.changed(acts.item_errors),
        says="denied|error|no time|no name|cannot be read|not what the protocol",
        stays=ends("1 1 1 0n 1 0s 1 1s"),
        passes=ends("0 0 1 0n 0 0s 1 1s"),
    ),
    Fault(
        name="half a batch",
        made="every other part of a batch is missing",
        act=acts.half_missing,
        says="holds nothing for it",
        stays=ends("0 0 0 0w 0 0 0 0"),
        passes=ends("0 0 0 0w 0 0 0 0"),
    ),
)
# What a layer or the server says in place of every answer, and in place of every part of a batch.
AGAIN = (408, 429, 500, 502, 503, 504)
REFUSED = (
    *(
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        407,
        408,
        409,
        410,
        411,
        412,
        413,
        414,
        415,
        416,
        417,
        422,
        423,
        424,
        425,
        426,
        428,
    ),
    *(429, 431, 451, 500, 501, 502, 503, 504),
)
PARTS = (400, 401, 403, 404, 409, 410, 429, 500, 502, 503, 504)


# By status, how a run ends where it stays, and where two requests meet it.
_ANSWERS: Mapping[int, tuple[Ends, Ends]] = {
    **dict.fromkeys(REFUSED, (REFUSED_FOR_GOOD, ONCE_REFUSED)),
    **dict.fromkeys(AGAIN, (UNREAD, ALL_WELL)),
    **{status: (WRONG_ADDRESS, ends("0 2 2 0n 2 2 2 2")) for status in (405, 407, 501)},
    401: (NO_LOGIN, NO_LOGIN),
    403: (FORBIDDEN, ends("0 3 3 0n 3 3 1 0")),
    413: (PARTS_REFUSED_FOR_GOOD, ends("0 0 2 0n 2 0 1 0")),
    414: (ends("2 2 2 0n 2 1 2 2"), ends("0 0 2 0n 2 0 2 2")),
    431: (ends("2 2 3 0n 3 1 2 2"), ends("0 0 3 0n 3 0 2 2")),
}
_PARTS: Mapping[int, tuple[Ends, Ends]] = {
    **{status: (PARTS_REFUSED_FOR_GOOD, ends("1 1 2 0n 2 0n 1 0")) for status in (404, 410)},
    **{status: (PARTS_REFUSED_FOR_GOOD, ends("0 1 2 0n 2 0n 1 0")) for status in (400, 409)},
    **dict.fromkeys(AGAIN, (UNREAD_IN_PARTS, ALL_WELL)),
    401: (ends("3 1 3 0n 3 0n 3 3"), ends("3 1 3 0n 3 0n 3 3")),
    403: (PARTS_FORBIDDEN, ends("1 1 3 0n 3 0n 1 0")),
}
_PAGES: Mapping[int, tuple[Ends, Ends]] = {
    **{status: (ends("2 2 2 0n 2 1 2 2"), ends("0 0 2 0n 2 0 2 2")) for status in (403, 404)},
    502: (UNREAD, ALL_WELL),
}


STATUSES = (
    *(
        Fault(
            name=f"status {status}",
            made=f"{status} in place of each answer",
            act=acts.refused_with(status, body={"Message": "refused"}),
            says=f"{status}|refused|rejected|credentials",
            stays=_ANSWERS[status][0],
            passes=_ANSWERS[status][1],
        )
        for status in REFUSED
    ),
    *(
        Fault(
            name=f"status {status} of parts",
            made=f"{status} in place of each part of a batch, and of each answer to other requests",
            act=acts.parts_refused(status),
            says=f"{status}|refused|rejected|internal error|credentials",
            stays=_PARTS[status][0],
            passes=_PARTS[status][1],
        )
        for status in PARTS
    ),
    *(
        Fault(
            name=f"page with {status}",
            made=f"a web page with {status}, from a layer before PI Web API",
            act=acts.refused_with(status, body=b"<html><title>Refused</title></html>", page=True),
            says=f"{status}|web page|Refused",
            stays=_PAGES[status][0],
            passes=_PAGES[status][1],
        )
        for status in (403, 404, 502)
    ),
)
FAULTS: Mapping[str, tuple[Fault, ...]] = {
    "The connection": CONNECTION,
    "The bytes of an answer": BODY,
    "What an answer says": PROTOCOL,
    "Refusals": STATUSES,
}


@dataclass(frozen=True, kw_only=True)
class Midway:
    """What changes midway at the source: the clock that it `shows`, its certificate, or a login, which it `renews` or not."""

    name: str
    made: str
    of: Literal["clock", "certificate", "login"]
    ends: Ends
    says: str = ""
    shows: bytes = b""
    renews: bool = False


MIDWAY = (
    Midway(
        name="clock ahead",
        made="the clock of the archive is years ahead of that of PI Web API, and of ours",
        of="clock",
        shows=b"2099-01-01T00:00:00Z",
        ends=ends("1 1 1 1 1 1 1 1"),
        says="clock|ahead",
    ),
    Midway(
        name="clock back",
        made="the clock of the archive is behind the watermarks",
        of="clock",
        shows=b"2024-03-05T00:30:00Z",
        ends=ends("0q 0q 0 0 0 0 0 0d"),
    ),
    Midway(
        name="certificate expires",
        made="from the first request of the dataset on, new connections are shown a certificate that has expired",
        of="certificate",
        ends=ends("3 3 3 0n 3 3 3 3"),
        says="certificate",
    ),
    Midway(
        name="login expires",
        made="the token is refused from the first request of the dataset on, and a new one is given",
        of="login",
        renews=True,
        ends=ALL_WELL,
    ),
    Midway(
        name="login ends",
        made="the token is refused from then on, and no other one is given",
        of="login",
        ends=NO_LOGIN,
        says="token|credentials|client",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A fault that is not at the source, and is the same to every dataset: the exit codes that a run may end with."""

    name: str
    made: str
    codes: frozenset[int]
    says: str = ""


ELSEWHERE = {
    one.name: one
    for one in (
        Elsewhere(name="read-only folder", made="the file system has become read-only", codes=frozenset({4}), says="read-only"),
        Elsewhere(name="full disk", made="no file can grow any more", codes=frozenset({4}), says="no room left|cannot be written"),
        Elsewhere(name="other writers", made="another engine commits before each step of ours", codes=frozenset({0})),
        Elsewhere(name="object store 500, passing", made="two uploads are answered 500", codes=frozenset({0})),
        Elsewhere(name="object store 500", made="every upload is answered 500", codes=frozenset({1}), says="cannot be reached|unknown"),
        Elsewhere(name="object store 503, passing", made="two requests are answered 503", codes=frozenset({0})),
        Elsewhere(name="object store 503", made="every download is answered 503", codes=frozenset({1}), says="cannot be reached|unknown"),
        Elsewhere(name="object store slow", made="every answer to an upload comes in pieces", codes=frozenset({0})),
        Elsewhere(name="catalog away, passing", made="no answer comes to the first commit, nor to two requests after it", codes=frozenset({0})),
        Elsewhere(name="catalog away", made="the catalog answers 500 from the first commit on", codes=frozenset({4}), says="lost|Catalog"),
        # A signal that comes when all is done meets a process that no longer listens for it.
        Elsewhere(name="SIGTERM", made="the signal comes at a turn of the event loop, which is between two awaits", codes=frozenset({0, 130, -15})),
        Elsewhere(name="SIGKILL", made="the process is killed at a turn of the event loop", codes=frozenset({0, -9})),
    )
}  # fmt: skip
