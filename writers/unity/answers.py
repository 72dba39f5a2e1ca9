"""What the catalog answered, and what a refusal means to us. Pure; no I/O.

Imports the error tree alone. Invariant: a refusal becomes the class that says what the caller must do
next, a 403 names the grant that is missing as the SQL that gives it, and no header (they carry tokens)
is ever quoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    CommitConflictError,
    ConfigurationError,
    ExtractError,
    SchemaDriftError,
    ThrottledError,
    UnavailableError,
)

__all__ = ["Answer", "Intent", "texts_of"]

_SHOWN = 300
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a request is for, in words that complete "may not ...", and the grants that it needs."""

    doing: str
    grants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and parsed body. `retry_after_secs`: what the server asks for, if it does."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    retry_after_secs: float | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def kind(self) -> str:
        """The catalog's own word for what is wrong; its APIs spell the place of it differently."""
        return str(self._error.get("type") or self.body.get("error_code") or "")

    @property
    def backlog(self) -> bool:
        """Whether commits have to be published before the catalog takes another one. (Any other 429
        only asks for patience.)
        """
        return self.status == 429 and self.kind.replace("_", "").lower().startswith("resourceexhausted")

    @property
    def exists_already(self) -> bool:
        """Whether somebody has made it before us; the APIs say so with 400 or 409, in two spellings."""
        return self.status in {400, 409} and "alreadyexists" in self.kind.replace("_", "").lower()

    @property
    def message(self) -> str:
        text = self._error.get("message") or self.body.get("message") or f"HTTP {self.status}"
        shown = "".join(letter if letter.isprintable() else " " for letter in str(text)[: 4 * _SHOWN])
        return " ".join(shown.split()).rstrip(".")[:_SHOWN]

    @property
    def _error(self) -> Mapping[str, Any]:
        error = self.body.get("error")
        return error if isinstance(error, Mapping) else {}

    def granted(self, intent: Intent) -> Mapping[str, Any]:
        """Give the body. Raises what `refusal` says where the answer is not ok."""
        if not self.ok:
            raise self.refusal(intent)
        return self.body

    def read(self, parse: Callable[[Mapping[str, Any]], T], intent: Intent) -> T:
        """Give what `parse` makes of the body. Raises what `granted` does, and `UnavailableError` where the body is
        not what the API of the catalog says.
        """
        body = self.granted(intent)
        try:
            return parse(body)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise UnavailableError(
                f"Unity Catalog gave an answer that its API does not know; we could not {intent.doing}: "
                f"{type(error).__name__}.",
                hint="Look whether a proxy answers in its place; else run again.",
            ) from error

    def refusal(self, intent: Intent) -> ExtractError:
        """Say what this answer, which is not ok, means for `intent`."""
        said = f"{intent.doing}: {self.message}."
        if self.status == 401:
            return AuthenticationError(
                f"Unity Catalog does not know us; we may not {said}",
                hint="Check the token or profile: it may have expired, or belong to another workspace.",
            )
        if self.status == 403:
            grants = "; ".join(intent.grants)
            return AccessDeniedError(
                f"Unity Catalog does not let us {said}",
                hint=f"Ask an owner to run: {grants}" if grants else "Ask the owner of the catalog for permission.",
            )
        if self.status == 409:
            return CommitConflictError(f"Another writer was quicker; we could not {said}", status=409)
        if self.status == 429:
            return ThrottledError(
                f"Unity Catalog asks us to wait; we could not {said}",
                retry_after_secs=self.retry_after_secs,
                status=429,
            )
        if self.status >= 500:
            return UnavailableError(f"Unity Catalog failed; we could not {said}", status=self.status)
        if self.kind == "UnsupportedTableFormatException":
            return SchemaDriftError(
                f"Unity Catalog cannot {said}", hint="Configure another table name, or turn it into a Delta table."
            )
        return ConfigurationError(
            f"Unity Catalog refuses to {said}",
            hint="Check catalog, schema and table names in unity_catalog; a property that it names has to be taken out of "
            "unity_catalog.table_properties.",
        )


def texts_of(properties: Any) -> dict[str, str]:
    """Read properties as the catalog sends them; what is null is not there."""
    return {str(name): str(value) for name, value in (properties or {}).items() if value is not None}
