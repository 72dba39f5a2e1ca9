"""`python docs/readability.py FILE...`: finds sentences that have too many words. `make check` runs it.

codespell finds words that are avoided. No well-kept linter for Python finds long sentences without a program or a data
set that it fetches when it first runs, so this does: markdown-it reads the pages, and the rest is counting.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

MOST_WORDS = 25
# What ends a sentence, and a colon or semicolon that another one follows; not the dot of "e.g.".
_END = re.compile(r"""(?<!e\.g)(?<!i\.e)(?<=[.!?])[)"']*\s+(?=\S)|(?<=[:;])\s+(?=[A-Z])""")
_WORD = re.compile(r"[^\W\d][\w'-]*")


def long_sentences(markdown: str, most: int = MOST_WORDS) -> Iterator[tuple[int, int, str]]:
    """The line of the block, the number of words, and the sentence, of each that has more than `most` words.

    Code, as a block or in a line, counts as one word. A cell of a table, an item of a list and a heading end a sentence.
    """
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "inline":
            for sentence in _END.split(_text_of(token)):
                words = len(_WORD.findall(sentence))
                if words > most:
                    yield (token.map or [0])[0] + 1, words, " ".join(sentence.split())


def _text_of(token: Token) -> str:
    parts = {"code_inline": "Code", "softbreak": " ", "hardbreak": ". ", "html_inline": ""}
    return "".join(parts.get(one.type, one.content) for one in token.children or [])


def main(files: Sequence[str]) -> int:
    """Print each long sentence as `file:line`. Exit code 1 if there is one."""
    found = 0
    for name in files:
        for line, words, sentence in long_sentences(Path(name).read_text(encoding="utf-8")):
            print(f"{name}:{line}: {words} words, at most {MOST_WORDS}: {sentence}")
            found += 1
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
