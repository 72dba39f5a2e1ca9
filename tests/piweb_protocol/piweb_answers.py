"""Answers of PI Web API, built by hand: what the tests of this folder decode."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from engine.model import Ask, DecodedAnswer, Tag
from engine.piweb.times import parse_micros

START = parse_micros("2024-03-05T10:00:00Z")
END = parse_micros("2024-03-05T11:00:00Z")
INGESTED_AT = parse_micros("2024-03-05T11:05:00Z")


def tag(n: int = 0, point_type: str = "Float32", units: str = "") -> Tag:
    return Tag(f"I1DPcQo8XkQrbk-dEAx74aLzAQ{n:06d}", f"Unit1.Tag{n}", units, point_type)


def ask(n: int = 0, *, max_count: int = 1000, start: int = START, end: int = END, **of_tag: str) -> Ask:
    return Ask(tag(n, **of_tag), start, end, max_count)


def at(clock: str) -> int:
    """Microseconds of a time of day, as `10:00:00.123456`."""
    return parse_micros(f"2024-03-05T{clock}Z")


def event(clock: str, value: Any = 1.5, **more: Any) -> dict[str, Any]:
    flags = {"Good": True, "Questionable": False, "Substituted": False, "Annotated": False}
    stamp = clock if "T" in clock else f"2024-03-05T{clock}Z"
    return {"Timestamp": stamp, "Value": value, "UnitsAbbreviation": "", **flags, **more}


def stream(*events: Any, **more: Any) -> dict[str, Any]:
    return {"Items": list(events), "UnitsAbbreviation": "", **more}


def batch(*contents: Any) -> bytes:
    """Contents in order; a pair is a status and a content."""
    subs = [content if isinstance(content, tuple) else (200, content) for content in contents]
    return json.dumps(
        {str(n): {"Status": status, "Headers": {}, "Content": content} for n, (status, content) in enumerate(subs)}
    ).encode()


def streamset(*streams: dict[str, Any]) -> bytes:
    return json.dumps(
        {"Links": {}, "Items": [{"WebId": tag(n).web_id, **stream} for n, stream in enumerate(streams)]}
    ).encode()


def column(answer: DecodedAnswer, name: str) -> list[Any]:
    values = answer.rows.column(answer.rows.schema.get_field_index(name))
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.int64()).to_pylist()
    return values.to_pylist()
