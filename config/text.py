"""Foreign text, made safe for the place where it is shown: a line, or SQL. Pure.

Names, messages and paths come from servers and files. A control character in one could forge a line of a log, steer a
terminal, or turn the order of letters around. `engine.telemetry.formats` has the same rule for commands that must not
load this package; a test compares the two.
"""

from __future__ import annotations

import re

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def one_line(text: str) -> str:
    """The text, each character replaced that does not show as itself: line breaks, control and format characters
    (C0, C1, DEL, U+200B, U+202E and the like) and lone surrogates. Its length stays.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def sql_name(*parts: str) -> str:
    """A name of several parts in SQL, in backticks where it needs them."""
    return ".".join(part if _PLAIN_NAME.fullmatch(part) else sql_quoted(part) for part in parts)


def sql_quoted(name: str) -> str:
    """A name, a principal or a path in backticks. No character in it can end them."""
    return "`" + one_line(name).replace("`", "``") + "`"


def sql_string(text: str) -> str:
    """A string in SQL, with its quotes. No character in it can end them."""
    return "'" + one_line(text).replace("\\", "\\\\").replace("'", "\\'") + "'"
