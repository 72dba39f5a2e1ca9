"""`${env:NAME}`, `${file:PATH}` and `${secret:scope/key}` in the text of a configuration. Pure, but for reading files.

The first two are put in when a configuration is loaded, the third only when a run needs it. `$${`
stands for a literal `${`. The invariant: what a reference stood for appears in no message.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from .problems import Path, Problem

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(env|file|secret):([^{}]*)\})?")
# Keys that hold credentials, `*` for any key of a section.
SECRETS: tuple[Path, ...] = (
    ("pi_web_api", "username"),
    ("pi_web_api", "password"),
    ("pi_web_api", "token"),
    ("pi_web_api", "oauth", "client_id"),
    ("pi_web_api", "oauth", "client_secret"),
    ("storage", "options", "*"),
    ("monitoring", "slack_webhook_url"),
    ("monitoring", "alerts", "*", "url"),
)
_SECRET = re.compile(r"\$\{secret:([^{}/]+)/([^{}/]+)\}")


@dataclass(frozen=True, slots=True)
class Referenced:
    """A document with its references put in: which paths came from where, and what went wrong."""

    document: Any
    references: Mapping[Path, str]
    problems: tuple[Problem, ...]


def resolve(
    document: Any,
    *,
    env: Mapping[str, str],
    left: Collection[Path] = (),
) -> Referenced:
    """`document` with environment variables and files put in; secrets stay as written, and the values of the keys `left`."""
    references: dict[Path, str] = {}
    problems: list[Problem] = []

    def walk(value: Any, path: Path) -> Any:
        match value:
            case dict():
                return {str(key): walk(item, (*path, str(key))) for key, item in value.items()}
            case list() | tuple():
                return [walk(item, (*path, index)) for index, item in enumerate(value)]
            case str() if "${" in value:
                return _REFERENCE.sub(lambda match: substitute(match, path), value)
            case _:
                return value

    def substitute(match: re.Match[str], path: Path) -> str:
        written, kind, name = match.group(0), match.group(1), match.group(2)
        if written == "$${":
            return "${"
        problem = _misspelt(path, written, kind, name)
        if problem is None and kind != "secret" and not _is_among(path, left):
            references[path] = ", ".join(filter(None, [references.get(path), written]))
            text = _variable(path, name, env) if kind == "env" else _file_text(path, name)
            if isinstance(text, str):
                return text
            problem = text
        if problem is not None:
            problems.append(problem)
        return written

    return Referenced(walk(document, ()), references, tuple(problems))


def _is_among(path: Path, keys: Collection[Path]) -> bool:
    return any(len(path) == len(key) and all(b in ("*", a) for a, b in zip(path, key, strict=True)) for key in keys)


def _misspelt(path: Path, written: str, kind: str | None, name: str | None) -> Problem | None:
    if kind is None:
        found = "a ${ that begins no reference"
        return Problem(path, found, "${env:NAME}, ${file:PATH} or ${secret:scope/key}, or $${ for a literal ${")
    if not name:
        return Problem(path, f"{written} without a name", "${env:NAME}, ${file:PATH} or ${secret:scope/key}")
    if kind == "secret" and not _SECRET.fullmatch(written):
        return Problem(path, "a secret without scope and key", "${secret:scope/key}")
    return None


def _variable(path: Path, name: str, env: Mapping[str, str]) -> str | Problem:
    return env.get(name, Problem(path, f"${{env:{name}}}, which is not set", f"the environment variable {name}"))


def _file_text(path: Path, name: str) -> str | Problem:
    try:
        return FilePath(name).expanduser().read_text(encoding="utf-8").rstrip("\r\n")  # editors add a line end
    except UnicodeDecodeError:
        return Problem(path, f"${{file:{name}}}, which is not UTF-8 text", "a text file")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of a user that does not exist
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no path"
        return Problem(path, f"${{file:{name}}}, which cannot be read ({reason})", "a file that can be read")


def secret_references(text: str) -> list[tuple[str, str]]:
    """The (scope, key) pairs that `text` refers to."""
    return _SECRET.findall(text)


def put_secrets(text: str, secrets: Mapping[tuple[str, str], str]) -> str:
    """`text` with the references to `secrets` replaced."""
    return _SECRET.sub(lambda match: secrets[match.group(1), match.group(2)], text)
