"""One request: its route, its parameters, and the tags that it concerns. Pure values.

Names of query parameters are not case-sensitive, and unknown ones are ignored, as on the real server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl

from .fields import Tree, parse_fields, pick
from .replies import Reply, json_reply, refused

Scope: TypeAlias = Literal["outer", "sub"]


class Query:
    """The parameters of a URL. A raw `+` is a space, also in a time zone that was not encoded."""

    __slots__ = ("_values",)

    def __init__(self, text: str) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            self._values.setdefault(name.lower(), []).append(value)

    def one(self, name: str) -> str:
        """The first value given, or nothing."""
        values = self._values.get(name)
        return values[0] if values else ""

    def many(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def whole(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """A whole number. Raises a 400 for text that is none or for one out of range."""
        text = self.one(name)
        if not text:
            return default
        try:
            number = int(text)
        except ValueError as error:
            raise refused(400, f"The value '{text}' is not valid for parameter '{name}'.") from error
        if most is not None and number > most:
            # Clients look for this phrase to learn the limit.
            raise refused(400, f"Parameter ({_camel(name)}) is greater than the maximum allowed ({most}).")
        if number < least:
            raise refused(400, f"Parameter ({_camel(name)}) is less than the minimum allowed ({least}).")
        return number

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        """One of the known words, the first unless given. Raises a 400."""
        text = self.one(name)
        if not text:
            return known[0]
        for word in known:
            if word.lower() == text.lower():
                return word
        raise refused(400, f"The value '{text}' is not valid for parameter '{name}'.")

    def flag(self, name: str) -> bool:
        return self.one(name).lower() == "true"

    def fields(self) -> Tree:
        return parse_fields(self.one("selectedfields"))


def _camel(name: str) -> str:
    return {"maxcount": "maxCount", "startindex": "startIndex"}.get(name, name)


@dataclass(slots=True)
class IncomingRequest:
    """A request or a part of a batch. `touched` collects the tags that it concerns, for the fault plan."""

    method: str
    route: str
    parts: tuple[str, ...]
    query_text: str
    base: str
    scope: Scope
    now: int
    touched: list[int] = field(default_factory=list)
    _query: Query | None = None

    @property
    def query(self) -> Query:
        if self._query is None:
            self._query = Query(self.query_text)
        return self._query

    def answer(self, body: Any, status: int = 200) -> Reply:
        """The members of a body that are asked for."""
        return json_reply(pick(body, self.query.fields()), status)

    def answer_list(self, items: list[Any], status: int = 200) -> Reply:
        return self.answer({"Links": {}, "Items": items}, status)
