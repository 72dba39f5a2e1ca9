"""Only our errors come out of what reads foreign bytes, and an input takes a second at most.

Here with the corpus, with what was found before, and with a few mutations, the same ones every time;
`make fuzz` goes on from there, guided by coverage.
"""

from __future__ import annotations

import re
from itertools import islice

import pytest

from tests.fuzzing.harness import FindingError, corpus_of, round_of, try_out
from tests.fuzzing.mutate import MAX_BYTES, TOKENS
from tests.fuzzing.targets import TARGETS
from tests.variants import first_of

MUTATIONS = 25
# What patterns look for, and what nests.
GROWING = [token for token in TOKENS if token in {
    b"<", b"<!--", b"<script", b"<title>", b"&#", b"[", b"{", b"(", b" ", b"://a:b", b"password=", b"0", b"-", b"\\ud83d",
}]  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found_before(name: str) -> None:
    corpus = corpus_of(name)
    assert corpus, "a target without a seed finds nothing"
    for _, data in corpus:
        try_out(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_mutations(name: str) -> None:
    for data in islice(round_of(name, seed=1), MUTATIONS):
        try_out(name, data)


@pytest.mark.parametrize(
    "name", ["refusals", "sentences", "recorded_batch", "headers", "web_ids", "times", "log_names"]
)
def test_nothing_grows_faster_than_its_input(name: str) -> None:
    """Whatever is said over and over, on its own and inside of a text."""
    for token in GROWING:
        many = token * (MAX_BYTES // len(token))
        try_out(name, many)
        escaped = many.decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')[:MAX_BYTES].rstrip("\\")
        printable = "".join(max(letter, " ") for letter in escaped).encode()
        try_out(name, b'{"Errors":["' + printable + b'"]}')


NESTS = (
    (b"[", b"]"),
    (b'{"Errors":', b"}"),
    (b'{"Items":[', b"]}"),
    (b'{"0":{"Status":200,"Content":', b"}}"),
    (b'{"Items":[{"WebId":"F1DP","Value":', b"}]}"),
)
# Around what Python and msgspec allow, which count in different ways, and far beyond.
DEPTHS = {"few": (240, 990, 4_000), "more": (90, 480, 960, 1_000)}


@pytest.mark.parametrize("depths", first_of(DEPTHS))
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_nested_beyond_reason_is_our_error(name: str, depths: str) -> None:
    """From the first byte on, or in a part of an answer; closed again, or cut."""
    for opens, closes in NESTS:
        for depth in DEPTHS[depths]:
            if depth * len(opens) > 16 * MAX_BYTES:
                continue
            whole = opens * depth + b"1" + closes * depth
            for data in (whole, opens * depth, b'{"0":{"Status":200,"Headers":{},"Content":' + whole + b"}}"):
                try_out(name, data)


NUMBERS = (
    b"1" + b"0" * 3_000,
    b"-1" + b"0" * 3_000,
    b"9" * 5_000,
    b"1e400",
    b"0.5",
)  # Python shows 4,300 digits at most
_NUMBER = re.compile(rb"(?<=[:\[,])\s*-?\d[\d.]*")


@pytest.mark.parametrize("name", TARGETS)
def test_a_number_beyond_reason_is_our_error(name: str) -> None:
    """In the place of every number of the first seeds, alone and all at once."""
    for _, data in corpus_of(name)[:2]:
        for number in NUMBERS:
            try_out(name, _NUMBER.sub(number, data))
            for place in list(_NUMBER.finditer(data))[:4]:
                try_out(name, data[: place.start()] + number + data[place.end() :])


def test_the_harness_finds_what_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbles(data: bytes) -> None:
        raise KeyError(data)

    def dawdles(data: bytes) -> None:
        sum(1 for _ in range(3_000_000))

    monkeypatch.setattr("tests.fuzzing.harness.TARGETS", {"stumbles": stumbles, "dawdles": dawdles})
    with pytest.raises(FindingError, match=r"stumbles: KeyError: b'x'"):
        try_out("stumbles", b"x")
    with pytest.raises(FindingError, match=r"dawdles: .* s for 1 bytes"):
        try_out("dawdles", b"x", longest_secs=0.001)
