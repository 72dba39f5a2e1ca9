"""The JSON schema of the configuration, for editors and for people. Generated; `schema.json` holds a copy.

Write it again with `python -m engine config schema > config/schema.json`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from .descriptions import descriptions
from .durations import Instant, format_duration
from .model import Config, sections

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file|secret):", "description": "Put in from elsewhere."}
_OPEN = ("object", "array")  # what holds values, not is one; a $ref leads to an object


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """Defaults as they are written in YAML."""
        match dft:
            case timedelta():
                return format_duration(dft)
            case Instant():
                return dft.text
            case _:
                return super().encode_default(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Titles would only repeat the keys."""
        return False


def json_schema() -> dict[str, Any]:
    """The schema as plain values."""
    schema = Config.model_json_schema(schema_generator=_Generator)
    described = {one.__name__: descriptions(one) for one in sections().values()}
    for section in (schema, *schema["$defs"].values()):
        texts = described[section["title"]]
        section["properties"] = {
            key: _or_reference(_with_description(value, texts.get(key))) for key, value in section["properties"].items()
        }
    schema["$defs"]["Reference"] = _REFERENCE
    return {"$schema": _DIALECT, **schema}


def _with_description(field: JsonSchemaValue, text: str | None) -> JsonSchemaValue:
    return field if text is None else dict(sorted({**field, "description": text}.items()))


def _or_reference(field: JsonSchemaValue) -> JsonSchemaValue:
    """`field`, or a `${...}` in its place."""
    if not _is_closed(field):
        return field
    about: JsonSchemaValue = {key: field[key] for key in ("description", "default") if key in field}
    narrowed = {key: value for key, value in field.items() if key not in about}
    options = narrowed.get("anyOf", [narrowed])
    return {**about, "anyOf": [*options, {"$ref": "#/$defs/Reference"}]}


def _is_closed(field: JsonSchemaValue) -> bool:
    """Whether the text of a reference would be refused where a value is expected."""
    if "anyOf" in field:
        return all(_is_closed(option) for option in field["anyOf"])
    types = field.get("type", "object")
    if types in _OPEN:
        return False
    return "string" not in types or "enum" in field or "pattern" in field


def json_schema_text() -> str:
    """The schema as it is kept in `schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"
