"""Only our errors come out of what reads foreign bytes, and an input takes a second at most.

Here with the corpus, with what was found before, and with a few mutations, the same ones every time;
`make fuzz` goes on from there, guided by coverage.
"""

from __future__ import annotations

from itertools import islice

import pytest

from .harness import FindingError, corpus_of, round_of, try_out
from .mutate import MAX_BYTES, TOKENS
from .targets import TARGETS

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
