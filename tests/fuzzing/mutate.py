"""Changes an input into one that a server might send on a bad day. A function of input and dice.

JSON is changed as a tree, so that most of what comes out still gets past the parser; anything else, and
JSON now and then, byte by byte and token by token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["DICTIONARY", "MAX_BYTES", "TOKENS", "mutated"]

MAX_BYTES = 1 << 16
DICTIONARY = Path(__file__).parent / "dictionary.txt"


def _tokens() -> list[bytes]:
    """As libFuzzer reads them: a line each, in quotes, with \\xNN for what is not printed."""
    lines = [line for line in DICTIONARY.read_text().splitlines() if line.startswith('"')]
    return [line[1:-1].encode().decode("unicode_escape").encode("latin-1") for line in lines]


TOKENS = _tokens()


class _Raw:
    """Stands for text that goes into the JSON as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


_LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 7, "", [], {}, [None], [[]], {"": None}, "x" * 600),
    *(2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**25),
    *("\ud83d", "\udc00x", "\0", "\0NaN", "NaN", "Infinity", "\u2028", "\x1b[31m", "e\u0301", "\U0001f600", "{}"),
    *("2024-03-05T10:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"),
    *(
        "2024-03-05T10:59:60Z",
        "2024-03-05T10:00:00.12345678901234567890Z",
        "2024-03-05T10:00:00",
        "2024-03-05T24:00:00Z",
    ),
    *("2024-03-05T10:00:00+99:99", "soon", "1970-01-01T00:00:00Z", "+12024-03-05T10:00:00Z"),
    {"Errors": ["PI Point not found."]},
    {"Errors": [{"FieldName": "Value", "Message": ["No Data"]}]},
    {"Name": "On", "Value": 1, "IsSystem": False},
    {"Name": "No Data", "Value": 248, "IsSystem": True},
    {"Name": "\ud83d", "Value": 2**31, "IsSystem": "x"},
    {"Name": None, "Value": 3},
    *map(_Raw, ("NaN", "-Infinity", "1e999", "-1e-999", "1E400", "0.1e1000000000", "9" * 500, "1" + "0" * 5000)),
    _Raw("[" * 3000 + "]" * 3000),
    _Raw('{"Errors":' * 2000 + "0" + "}" * 2000),
    _Raw('"\\ud800\\ud800"'),
    _Raw('"\\u0000NaN"'),
)
_KEYS = (
    *("Items", "Value", "Timestamp", "Errors", "Message", "WebException", "Status", "Content", "Headers", "Name"),
    *("WebId", "UnitsAbbreviation", "Good", "IsSystem", "StatusCode", "Links", "Next", "Type", "Exception", "0", "1"),
    *("metaData", "txn", "add", "remove", "commitInfo", "\ud83d", ""),
)


def mutated(data: bytes, dice: Random, *, most: int = MAX_BYTES) -> bytes:
    """The input after one to four changes."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        changed = _as_tree(data, dice) if dice.random() < 0.7 else None
        data = _as_bytes(data, dice) if changed is None else changed
    return data[:most]


def _as_tree(data: bytes, dice: Random) -> bytes | None:
    lines = data.split(b"\n")
    chosen = dice.randrange(len(lines)) if len(lines) > 1 else None
    try:
        tree = json.loads(data if chosen is None else lines[chosen])
        places: list[tuple[Any, Any]] = []
        _walk(tree, places)
        if not places or dice.random() < 0.03:
            tree = dice.choice(_LEAVES)
        else:
            dice.choice(_CHANGES)(*dice.choice(places), dice)
        text = _written(tree, dice)
    except (ValueError, RecursionError):
        return None
    if chosen is None:
        return text
    lines[chosen] = text
    return b"\n".join(lines)


def _walk(tree: Any, places: list[tuple[Any, Any]]) -> None:
    """Where everything is: the container, and the key or number in it."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        places.append((tree, key))
        _walk(tree[key], places)


def _written(tree: Any, dice: Random) -> bytes:
    """JSON, mostly in plain ASCII; else in bytes that need not be UTF-8."""
    raw: list[str] = []

    def mark(one: Any) -> str:
        raw.append(one.text)
        return f"@raw{len(raw) - 1}@"

    text = json.dumps(tree, default=mark, ensure_ascii=dice.random() < 0.8, separators=(",", ":"))
    for n, instead in enumerate(raw):
        text = text.replace(f'"@raw{n}@"', instead)
    return text.encode("utf-8", "surrogatepass")


def _replace(container: Any, key: Any, dice: Random) -> None:
    container[key] = dice.choice(_LEAVES)


def _remove(container: Any, key: Any, dice: Random) -> None:
    del container[key]


def _rename(container: Any, key: Any, dice: Random) -> None:
    if isinstance(container, dict):
        container[dice.choice(_KEYS)] = container.pop(key)


def _add(container: Any, key: Any, dice: Random) -> None:
    if isinstance(container, dict):
        container[dice.choice(_KEYS)] = dice.choice(_LEAVES)
    else:
        container.insert(key, dice.choice(_LEAVES))


def _repeat(container: Any, key: Any, dice: Random) -> None:
    if isinstance(container, list):
        container[key:key] = [container[key]] * dice.choice((1, 2, 600))
    else:
        container[key] = [container[key]]


def _swap(container: Any, key: Any, dice: Random) -> None:
    other = dice.choice(list(container) if isinstance(container, dict) else range(len(container)))
    container[key], container[other] = container[other], container[key]


def _lengthen(container: Any, key: Any, dice: Random) -> None:
    token = dice.choice(TOKENS).decode("latin-1") * dice.choice((1, 1, 2, 40, 3000))
    one = container[key]
    container[key] = f"{one}{token}" if isinstance(one, str) and dice.random() < 0.5 else token


_CHANGES: tuple[Callable[[Any, Any, Random], None], ...] = (
    *(_replace, _replace, _replace, _lengthen, _remove, _rename, _add, _repeat, _swap),
)  # fmt: skip


def _as_bytes(data: bytes, dice: Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    end = min(len(data), at + dice.choice((0, 0, 1, 2, 8, 64)))
    token = dice.choice(TOKENS)
    match dice.randrange(6):
        case 0:  # over what was there
            return data[:at] + token + data[end:]
        case 1:
            return data[:at] + token * dice.choice((2, 50, 20_000)) + data[at:]
        case 2:  # cut
            return data[:at]
        case 3:
            return data[:at] + data[end:]
        case 4:  # the same twice
            return data[:at] + data[at:end] * 2 + data[end:]
        case _:
            return data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
