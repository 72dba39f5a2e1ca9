"""docs/reference/configuration.md: every key of the configuration."""

from __future__ import annotations

from collections.abc import Mapping

from config.checks import NO_EFFECT

from .keys import Key, Part, parts
from .markdown import MADE, anchor, code, table

_HEAD = f"""{MADE}

# Configuration

Every key of the YAML file. [config/connector_config.yaml](../../config/connector_config.yaml) has all of them in one file, with
their defaults. `osipi-connector config show -c FILE` prints what is in effect, `config validate` checks a file, and
`config schema` prints a JSON schema for editors. `--set extraction.lag=5s` changes one key for one command.

| a value of type | looks like |
|---|---|
| duration | `90s`, `30m`, `1h`, `7d`, or a number of seconds |
| time | `2024-01-31T08:00:00Z`, with a zone; or `now-1d` |
| size | `256MiB`, or a number of bytes |
| text, or a list of texts | `"*"`, or `["U1.*", "U2.*"]` |

In place of any value, or in a text: `${{env:NAME}}`, `${{file:PATH}}`, `${{secret:scope/key}}`. Write `$${{` for a literal `${{`.
"""


def names() -> list[str]:
    """Every key, with the prefix `key:`."""
    return [f"key:{key.path}" for part in parts() for key in part.keys]


def page(since: Mapping[str, str]) -> str:
    """The page. `since` has the version of each of `names`."""
    return "\n".join([_HEAD, *(_section(part, since) for part in parts())])


def _section(part: Part, since: Mapping[str, str]) -> str:
    rows = [
        (
            code(key.name),
            key.kind,
            code(key.default) if key.default != "needed" else "needed",
            _meaning(key),
            "" if key.example is None else code(key.written(key.example)),
            since[f"key:{key.path}"],
        )
        for key in part.keys
    ]
    title = part.path or "At the top"
    return (
        f"## {title}\n\n{part.meaning}\n\n"
        + table(("key", "type", "default", "meaning", "example", "since"), rows)
        + "\n"
    )


def _meaning(key: Key) -> str:
    idle = NO_EFFECT.get(tuple(key.path.split(".")))
    if key.holds_keys:
        return f"{key.meaning} See [{key.path}](#{anchor(key.path)})."
    return (
        key.meaning if idle is None or key.meaning.startswith("Has no effect") else f"{key.meaning} No effect: {idle}."
    )
