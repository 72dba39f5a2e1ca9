"""YAML: mistakes are one line with file, line and column; plain words mean what they say."""

from __future__ import annotations

import tracemalloc

import pytest

from config.errors import ConfigurationError
from config.yaml_text import parse, parse_scalar


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("pipeline: a\npipeline: b\n", "f.yaml, line 2, column 1: the key pipeline stands twice"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "f.yaml, line 4, column 3: the key b stands twice"),
        ("a: {b: 1, b: 2}", "f.yaml, line 1, column 11: the key b stands twice"),
        (
            "a: [1,\nb: 2\n",
            "f.yaml, line 3, column 1: while parsing a flow sequence that begins in line 1, expected ',' or ']', ",
        ),
        ("a: b: c", "f.yaml, line 1, column 5: "),
        ("a: 1\n\tb: 2", "f.yaml, line 2, column 1: "),
        ("a: 1\n---\nb: 2\n", "f.yaml, line 2, column 1: "),
    ],
)
def test_a_mistake_names_file_line_and_column(text, where):
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value).startswith(where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "password: *hunter2",
        "password: !hunter2 x",
        "password: !!hunter2 x",
        "password: &hunter2 [",
        "password: @hunter2",
        "password: %hunter2",
        "password: `hunter2",
        "password: 'a'hunter2",
        'password: "hunter2',
        'password: "\\hunter2"',
        "password: {hunter2",
        "password: hunter2: x",
        "{password: hunter2, password: hunter2}",
        "password: |hunter2",
        "{a: 1, password hunter2: 1, password hunter2: 1}",
    ],
)
def test_a_mistake_never_repeats_a_value(text):
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.yaml")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__context__ is None  # the parser's own error quotes the text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a:\n\tb: 1\n", "indent with spaces: YAML takes no tabs"),
        ("a:\n  b: 1\n c: 2\n", "keys of one section begin in the same column"),
        ("a:\n  b: x\n   c: 2\n", "keys of one section begin in the same column; values that start with one of"),
        ("a: b: c", "hold `: ` or ` #` need quotes around them"),
        ("a: *", "values that start with one of * "),
    ],
)
def test_the_hint_is_for_the_mistake_that_was_made(text, hint):
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.yaml")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"a: \xff\xfe", "UTF-8"),
        (b"a: \x00", "UTF-8"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "a number in it cannot be read"),
    ],
)
def test_what_cannot_be_text_is_one_clear_sentence(text, fault):
    with pytest.raises(ConfigurationError, match=fault):
        parse(text, "f.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2023-01-01T00:00:00Z", "2023-01-01T00:00:00Z"),
        ("2023-01-01", "2023-01-01"),
        ("NO", "NO"),
        ("1:30", "1:30"),
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("10", 10),
        ("0x1F", 31),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
    ],
)
def test_only_plain_numbers_truth_and_null_are_more_than_text(text, value):
    assert parse(f"key: {text}", "f.yaml") == {"key": value}
    assert parse_scalar(text, "--set") == value


def test_keys_are_text_also_if_they_look_like_numbers():
    assert parse("1: a\ntrue: b\n", "f.yaml") == {"1": "a", "true": "b"}


def test_merged_keys_may_be_written_again():
    text = "base: &base {a: 1, b: 2}\nmore: &more {<<: *base, b: 3}\nlast: {<<: *more, b: 4}\n"
    assert parse(text, "f.yaml")["last"] == {"a": 1, "b": 4}


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert parse("a: 1".encode("utf-8-sig"), "f.yaml") == {"a": 1}
    assert parse("a: 1".encode("utf-16"), "f.yaml") == {"a": 1}


@pytest.mark.parametrize(
    "text", ["*TEMP*", "p@ss: word", "a #b", "#x", "&a", "!b", "%c", "- x", "<<", "a]", "\\\\SRV\\tag"]
)
def test_on_the_command_line_a_plain_word_needs_no_quotes(text):
    assert parse_scalar(text, "--set") == text


@pytest.mark.parametrize(
    ("text", "value"), [("[a, 1]", ["a", 1]), ("{a: 1}", {"a": 1}), ("'1'", "1"), ('"a b"', "a b")]
)
def test_on_the_command_line_lists_sections_and_quotes_are_yaml(text, value):
    assert parse_scalar(text, "--set") == value


def nested_aliases(levels: int, line: str) -> str:
    """Each level holds the one before nine times."""
    lines = ["a0: &a0 {k0: x}"]
    for level in range(1, levels):
        nine = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(line.format(level=level, nine=nine))
    return "\n".join(lines)


@pytest.mark.parametrize("line", ["a{level}: &a{level} [{nine}]", "a{level}: &a{level} {{<<: [{nine}], k{level}: x}}"])
@pytest.mark.parametrize("levels", [7, 60])
def test_aliases_of_aliases_are_refused_before_they_are_written_out(line, levels):
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match="aliases repeat more than 100,000 values") as raised:
            parse(nested_aliases(levels, line), "a.yaml")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert raised.value.message.startswith("a.yaml, line 6, column")
    assert raised.value.hint


def test_a_list_may_be_used_more_than_once():
    tags = ", ".join(f"U{n}.PV" for n in range(5000))
    found = parse(f"a: &tags [{tags}]\nb: *tags\nc: {{<<: {{d: *tags}}, e: *tags}}", "a.yaml")
    assert found["a"] == found["b"] == found["c"]["d"] == found["c"]["e"]
    assert len(found["a"]) == 5000
