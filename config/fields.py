"""The kinds of values a configuration holds, and the base of its sections. Pure.

A kind says how YAML text is turned into a value, how the value is shown again, and what the JSON schema
says of it. The invariant: what `masked` shows can be loaded again, except for secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema

from .durations import Instant, format_duration, parse_duration, parse_instant
from .problems import ExpectedError

SECRET_REFERENCE = "${secret:"  # noqa: S105 - how a reference begins, not a secret
MASK = "***"
_LONGEST_ADDRESS = 200
# A host with a dot in its name and something behind it, or the path that every PI Web API has.
_LIKE_AN_ADDRESS = re.compile(
    r"(?:[a-z]+:?/{1,3})?[\w-]+(?:\.[\w-]+)+(?::\d*)?/[\w./-]*|(?:[a-z]+:?/{1,3})?[\w.-]+(?::\d*)?/piwebapi/?",
    re.IGNORECASE,
)


class Section(BaseModel):
    """A part of the configuration. A key without a value is as good as not written."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        known = cls.keys()
        return {key: value for key, value in document.items() if value is not None or key not in known}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys as written in YAML."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


@dataclass(frozen=True, slots=True, eq=False)  # by identity: annotations are hashed, and a dict cannot be
class JsonShape:
    """What the JSON schema says of a kind. Pydantic's own WithJsonSchema shares one dict between all
    fields of the kind, and pydantic 2.10 writes the default of one field into all of them.
    """

    schema: dict[str, Any]

    def __get_pydantic_json_schema__(self, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def _positive(duration: timedelta) -> timedelta:
    if not duration:
        raise ExpectedError("a duration longer than nothing, such as 90s")
    return duration


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ExpectedError(expected)
        return text

    return check


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _no_bool(value: Any) -> Any:
    # Pydantic counts true as 1.
    if isinstance(value, bool):
        raise ExpectedError("a number")
    return value


def _option_text(value: Any) -> Any:
    # Object stores take text only, and YAML has true and 5555 for what people mean as text.
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _web_address(text: str) -> str:
    """An http(s) address without credentials; a trailing slash is dropped."""
    if SECRET_REFERENCE in text:
        return text  # checked again when the secret is known
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        expected = "an address such as https://pi-server.company.com/piwebapi"
        raise ExpectedError(expected, public=False, found=_shown_address(text))
    if "@" in parts.netloc:
        expected = "an address without user name and password in it; give them in keys of their own"
        raise ExpectedError(expected, public=False, found=_shown_address(text))
    if parts.query or parts.fragment:
        raise ExpectedError("an address without ? and # parts", public=False, found=_shown_address(text))
    return text.rstrip("/")


def _shown_address(text: str) -> str:
    """What a message shows of a wrong address: nothing unless it looks like one, since a secret may have got here, and
    nothing from a ? or # on, behind which a token may stand.
    """
    bare = re.split(r"[?#]", text)[0]
    if len(bare) > _LONGEST_ADDRESS or not _LIKE_AN_ADDRESS.fullmatch(bare):
        return ""
    return f"'{bare}'" if bare == text else f"'{bare}', and more behind it"


def _location(text: str) -> str:
    """A folder or an object store URL, without credentials."""
    if text.lower().startswith("dbfs:"):  # as a folder it would lie on the driver's own disk, and end with the job
        raise ExpectedError("a path without dbfs:, such as /Volumes/main/default/lake", public=False)
    if re.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:/(?!/)", text, re.IGNORECASE):
        raise ExpectedError("a folder, or a URL with two slashes such as s3://bucket/path", public=False)
    if "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ExpectedError("a folder, or a URL such as s3://bucket/path", public=False) from None
        # abfss://container@account has a user part by design; a password has none anywhere.
        if parts.password is not None or parts.query:
            raise ExpectedError("a URL without credentials in it; give them in storage.options", public=False)
    return text


def _shown_secret(secret: SecretStr) -> str:
    text = secret.get_secret_value()
    return text if text.startswith(SECRET_REFERENCE) and text.find("}") == len(text) - 1 else MASK


Text = Annotated[str, StringConstraints(min_length=1)]
TextList = Annotated[
    tuple[Text, ...],
    BeforeValidator(as_list),
    JsonShape({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A list; a single text is taken for a list of one."""
Secret = Annotated[SecretStr, PlainSerializer(_shown_secret, return_type=str, when_used="json")]
OptionText = Annotated[
    Secret, BeforeValidator(_option_text), JsonShape({"type": ["string", "number", "boolean"], "writeOnly": True})
]
Properties = dict[
    Text, Annotated[str, BeforeValidator(_option_text), JsonShape({"type": ["string", "number", "boolean"]})]
]
"""Names and values of table properties."""
PipelineName = Annotated[
    str,
    AfterValidator(_matching(r"[A-Za-z0-9_.-]+", "a name of letters, digits, _ . and -")),
    JsonShape({"type": "string", "pattern": r"^[A-Za-z0-9_.-]+$"}),
]
ObjectName = Annotated[
    str,
    AfterValidator(_matching(r"[^\x00-\x20\x7f./\\`]+", "a name without spaces, dots, slashes and backticks")),
    JsonShape({"type": "string", "pattern": r"^[^\x00-\x20\x7f./\\`]+$"}),
]
"""Name of a catalog, schema or table."""
WebAddress = Annotated[str, AfterValidator(_web_address)]
Location = Annotated[Text, AfterValidator(_location)]
File = Annotated[Path, PlainSerializer(str, return_type=str, when_used="json")]
NotBool = BeforeValidator(_no_bool)
AlertKind = Literal["run_failed", "tags_failed", "holes", "stale", "recovered"]
Count = Annotated[int, Field(ge=1), NotBool]
Rate = Annotated[float, Field(gt=0), NotBool]
Bytes = Annotated[
    ByteSize,
    Field(ge=1),
    NotBool,
    JsonShape({"type": ["integer", "string"], "examples": ["256MiB"]}),
]
Duration = Annotated[
    timedelta,
    PlainValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    JsonShape({"type": ["string", "number"], "minimum": 0, "examples": ["90s", "30m", "1h", "7d"]}),
]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
When = Annotated[
    Instant,
    PlainValidator(parse_instant),
    PlainSerializer(str, return_type=str, when_used="json"),
    JsonShape({"type": "string", "examples": ["2024-01-31T08:00:00Z", "now-1d"]}),
]
