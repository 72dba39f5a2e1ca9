"""config/connector_config.yaml: every key with its default, in one file that loads."""

from __future__ import annotations

import textwrap

from .keys import Key, Part, in_yaml, parts

_HEAD = """\
# Every key, with its default. What has none is a comment with an example. Fill in what is marked, and leave out the rest:
# a file needs only what differs from the defaults.
#   osipi-connector check -c config/connector_config.yaml
# Made by `make docs` from the code: copy it, and change the copy. docs/reference/configuration.md has types and limits.
"""
# Without these no run can start.
_TO_FILL_IN = ("pi_web_api.url", "pi_web_api.secrets_scope", "extraction.tag_name_filter")
_WHOLE = '"*"'


def text() -> str:
    """The file."""
    by_path = {part.path: part for part in parts()}
    return _HEAD + "".join(_lines(key, by_path, depth=0) for key in by_path[""].keys)


def _lines(key: Key, parts_by_path: dict[str, Part], *, depth: int) -> str:
    """A key and what is below it. A section that is not there by default is a comment as a whole."""
    margin = "  " * depth
    words = textwrap.fill(key.meaning, 118 - len(margin), break_long_words=False, break_on_hyphens=False)
    about = textwrap.indent(words, f"{margin}# ")
    if depth == 0:
        about = f"\n{about}"
    if key.holds_keys and key.example is None:
        inner = "".join(_lines(one, parts_by_path, depth=depth + 1) for one in parts_by_path[key.path].keys)
        return f"{about}\n{margin}{key.name}:\n{inner}"
    if key.path in _TO_FILL_IN:
        value = _WHOLE if key.path == "extraction.tag_name_filter" else in_yaml(key.example)
        return f"{about}\n{margin}{key.name}: {value} # fill in\n"
    below = parts_by_path.get(key.path) or parts_by_path.get(f"{key.path}[]")
    if below:
        example = f", as in {in_yaml(key.example)}" if key.default else ""
        about += f"\n{margin}# Keys: {', '.join(one.name for one in below.keys)}{example}."
    if key.default and key.default != "needed":
        return f"{about}\n{margin}{key.name}: {key.default}\n"
    return f"{about}\n{margin}# {key.written(key.example)}\n"
