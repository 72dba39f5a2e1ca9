"""A line of a Delta log that is damaged is one sentence that names its file; what is null is not there."""

from __future__ import annotations

import json

import pytest

from config.errors import StorageError
from writers.log.entries import parse_entry
from writers.log.lines import actions_in, read_action

DAMAGED = {
    "no JSON": b'{"txn":',
    "no UTF-8": b'{"txn":{"appId":"\xff","version":1}}',
    "a list": b"[1]",
    "half a surrogate": b'{"txn":{"appId":"\\ud83d","version":1}}',
    "nested beyond reason": b'{"commitInfo":' + b"[" * 100_000,
    "a version that is a text": b'{"txn":{"appId":"a","version":"1"}}',
    "a version beyond 64 bits": b'{"txn":{"appId":"a","version":9223372036854775808}}',
    "a file without a path": b'{"remove":{"deletionTimestamp":1}}',
    "a time that is a text": b'{"commitInfo":{"inCommitTimestamp":"now"}}',
    "a table of properties that is a list": b'{"metaData":{"configuration":[1]}}',
}


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_named_with_its_file(line: bytes) -> None:
    good = b'{"txn":{"appId":"a","version":1}}\n\n'
    with pytest.raises(StorageError, match=r"^The log of a Delta table is damaged in _delta_log/7.json: ") as raised:
        list(actions_in(good + line, "_delta_log/7.json"))
    assert raised.value.message.isprintable()


def test_an_entry_of_which_a_line_is_damaged_is_named_by_its_version() -> None:
    with pytest.raises(StorageError, match="damaged in version 7: "):
        parse_entry(7, DAMAGED["a version that is a text"])


@pytest.mark.parametrize(
    "line",
    [
        b'{"txn":{"appId":"a","version":1,"lastUpdated":null,"later":{"x":[1]}},"add":null}',
        b'{"whatAnotherEngineKnows":[1,{"a":null}]}',
        b'{"commitInfo":{"operation":null,"operationParameters":{"mode":"Append"},"isBlindAppend":true}}',
        b'{"add":{"path":"a","partitionValues":{"d":null},"size":0,"stats":null,"tags":{"x":"y"}}}',
    ],
)
def test_what_others_write_is_handed_on_whole(line: bytes) -> None:
    assert read_action(line, "x") == {kind: body for kind, body in json.loads(line).items() if body is not None}
