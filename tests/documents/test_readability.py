"""The documents have no sentence that must be read twice because it is long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.readability import MOST_WORDS, long_sentences, main

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LONG = " ".join(["word"] * (MOST_WORDS + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_is_long(page: Path) -> None:
    assert list(long_sentences(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "around", ["{}.", "- {}", "| a | b |\n|---|---|\n| {} | b |", "# {}", "A [link to {}](x.md).", "**{}**"]
)
def test_a_long_sentence_is_found_wherever_it_stands(
    around: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Short.\n\n{around.format(LONG)}\n")
    assert main([str(page)]) == 1
    assert re.match(r".*page\.md:[35]: \d+ words", capsys.readouterr().out)


@pytest.mark.parametrize("text", [f"```\n{LONG}\n```", f"`{LONG}`", "Short. " * 30, f"<!-- {LONG} -->"])
def test_code_and_short_sentences_are_no_long_sentence(text: str) -> None:
    assert list(long_sentences(text)) == []


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_each_sentence_counts_its_own_words(lengths: list[int]) -> None:
    text = " ".join("A" + " word" * (length - 1) + "." for length in lengths)
    assert [words for _, words, _ in long_sentences(text)] == [one for one in lengths if one > MOST_WORDS]
