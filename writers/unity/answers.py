"""The answers of the catalog, and the error for each refusal.

Invariant: the class of the error says what the caller must do next. A 403 names the missing grants: on Databricks as
the SQL that gives them, elsewhere by the privileges that the open-source server knows. No header is ever quoted, because
headers carry tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    CommitConflictError,
    ConfigurationError,
    DuplicateTableError,
    ExtractError,
    LostStateError,
    SchemaDriftError,
    ThrottledError,
    UnavailableError,
)

_SHOWN = 300
_PASSING = frozenset({429, 500, 502, 503, 504})
_WAIT_HINT = "Run again; what has landed is not landed again. To wait longer for it, raise retry.max_attempts."
T = TypeVar("T")


NO_ROOT_HINT = (
    "Give the catalog a storage root (storage_root, when it is created), or the schema; or set unity_catalog.table_type: "
    "external with a location."
)
# Privileges of Databricks alone: the open-source server refuses them as unknown.
_OF_DATABRICKS = frozenset({"EXTERNAL USE SCHEMA", "EXTERNAL USE LOCATION"})


@dataclass(frozen=True, slots=True)
class Grant:
    """Privileges on one securable. `name`: as SQL spells it."""

    privileges: tuple[str, ...]
    kind: str  # CATALOG, SCHEMA, TABLE, EXTERNAL LOCATION
    name: str

    @property
    def sql(self) -> str:
        return f"GRANT {', '.join(self.privileges)} ON {self.kind} {self.name} TO `<you>`"

    @property
    def words(self) -> str:
        """What to ask for on the open-source server, which has no GRANT; empty where it knows none of these."""
        known = [each for each in self.privileges if each not in _OF_DATABRICKS]
        return f"{', '.join(known)} on the {self.kind.lower()} {self.name}" if known else ""


@dataclass(frozen=True, slots=True)
class Intent:
    """The purpose of a request, in words that complete "may not ...", and the grants that it needs.

    `table`: a table that the request is about, and that was there a moment ago.
    """

    doing: str
    grants: tuple[Grant, ...] = ()
    table: str = ""


def remedy(grants: Iterable[Grant], *, databricks: bool) -> str:
    """What to ask an owner for."""
    asked = "; ".join(filter(None, (each.sql if databricks else each.words for each in grants)))
    if not asked:
        return "Ask the owner of the catalog for permission."
    if databricks:
        return f"Ask an owner to run: {asked}"
    return f"Ask an owner to grant you (uc permission create): {asked}"


@dataclass(frozen=True, slots=True)
class CatalogAnswer:
    """Status and parsed body. `retry_after_secs`: what the server asks for, if it does. `databricks`: whether it comes
    from Databricks, and not from an open-source server. `garbled`: the body is no JSON object, as that of a web page.
    """

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    retry_after_secs: float | None = None
    databricks: bool = False
    garbled: bool = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def kind(self) -> str:
        """The catalog's own error code; each of its APIs puts it elsewhere."""
        return str(self._error.get("type") or self.body.get("error_code") or "")

    @property
    def backlog(self) -> bool:
        """Whether commits have to be published before the catalog takes another one. (Any other 429
        only asks for patience.)
        """
        return self.status == 429 and self._plain_kind.startswith("resourceexhausted")

    @property
    def exists_already(self) -> bool:
        """Whether another client has created it before us; the APIs say so with 400 or 409, in two spellings."""
        return self.status in {400, 409} and "alreadyexists" in self._plain_kind

    @property
    def lacks_catalog(self) -> bool:
        """Whether there is no such catalog."""
        return self.status == 404 and "catalog" in self._plain_kind

    @property
    def lacks_table(self) -> bool:
        """Whether there is no such table, or no such schema. (A 404 may also come from a proxy, or from a server without
        this API.)
        """
        kind = self._plain_kind
        known = any(word in kind for word in ("table", "schema")) or kind in {"notfound", "resourcedoesnotexist"}
        return self.status == 404 and known and not self.lacks_catalog

    @property
    def passes(self) -> bool:
        """Whether the same request may be granted later."""
        if self.ok:
            return self.garbled
        return self.status in _PASSING and not self.duplicates and not self.backlog

    @property
    def duplicates(self) -> bool:
        """Whether the server has two entries of one name. The open-source server does not keep names unique."""
        return self.status >= 500 and "unique result" in self.message

    @property
    def _plain_kind(self) -> str:
        return self.kind.replace("_", "").lower()

    @property
    def message(self) -> str:
        text = self._error.get("message") or self.body.get("message") or f"HTTP {self.status}"
        return " ".join(str(text)[: 4 * _SHOWN].split()).rstrip(".")[:_SHOWN]

    @property
    def _error(self) -> Mapping[str, Any]:
        error = self.body.get("error")
        return error if isinstance(error, Mapping) else {}

    def granted(self, intent: Intent) -> Mapping[str, Any]:
        """Return the body. Raises what `refusal` says where the answer is not ok, and `UnavailableError` for a body
        that is no JSON object.
        """
        if not self.ok:
            raise self.refusal(intent)
        if self.garbled:
            raise _not_understood(intent, "no JSON object")
        return self.body

    def read(self, parse: Callable[[Mapping[str, Any]], T], intent: Intent) -> T:
        """Return what `parse` makes of the body. Raises what `granted` does, and `UnavailableError` where the body is
        not what the API of the catalog says.
        """
        body = self.granted(intent)
        try:
            return parse(body)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise _not_understood(intent, type(error).__name__) from error

    def refusal(self, intent: Intent) -> ExtractError:
        """Return the error that this answer, which is not ok, means for `intent`."""
        said = f"{intent.doing}: {self.message}."
        if self.status == 401:
            return AuthenticationError(
                f"Unity Catalog does not know us; we may not {said}",
                hint="Check the token or profile: it may have expired, or belong to another server.",
            )
        if self.status == 403:
            return AccessDeniedError(
                f"Unity Catalog does not let us {said}", hint=remedy(intent.grants, databricks=self.databricks)
            )
        if self.status == 409:
            return CommitConflictError(f"Another writer was quicker; we could not {said}", status=409)
        if self.status == 429:
            return ThrottledError(
                f"Unity Catalog asks us to wait; we could not {said}",
                hint=_WAIT_HINT,
                retry_after_secs=self.retry_after_secs,
                status=429,
            )
        if self.duplicates:
            return DuplicateTableError(
                f"Unity Catalog has two tables of one name; we could not {said}",
                hint="Two writers created it at the same time, and this server does not keep names unique. An "
                "administrator has to delete one of the two rows of this name from uc_tables in the server's database "
                "(the newer one); no request can. Or configure another name in unity_catalog.tables. Nothing was lost.",
            )
        if self.status >= 500:
            return UnavailableError(f"Unity Catalog failed; we could not {said}", hint=_WAIT_HINT, status=self.status)
        return self._for_good(said, intent.table)

    def _for_good(self, said: str, table: str) -> ExtractError:
        """Return the error of a request that is refused as it is."""
        if table and self.lacks_table:
            return LostStateError(
                f"The table {table} is gone: it was there a moment ago; we could not {said}",
                hint=f"If it was dropped by mistake, bring it back (Databricks: UNDROP TABLE {table}), and run again. Else "
                "the next run says what is missing.",
            )
        if self.lacks_catalog:
            return ConfigurationError(
                f"Unity Catalog has no such catalog; we could not {said}",
                hint="Create the catalog, or correct unity_catalog.catalog.",
            )
        if self.kind == "UnsupportedTableFormatException":
            return SchemaDriftError(
                f"Unity Catalog cannot {said}", hint="Configure another table name, or turn it into a Delta table."
            )
        if "managed location configured" in self.message:
            return ConfigurationError(
                f"Unity Catalog has no storage for managed tables; we could not {said}", hint=NO_ROOT_HINT
            )
        return ConfigurationError(
            f"Unity Catalog refuses to {said}",
            hint="Check catalog, schema and table names in unity_catalog; a property that it names has to be taken out of "
            "unity_catalog.table_properties.",
        )


def _not_understood(intent: Intent, why: str) -> UnavailableError:
    return UnavailableError(
        f"Unity Catalog gave an answer that its API does not know; we could not {intent.doing}: {why}.",
        hint="Look whether a proxy answers in its place; else run again.",
    )


def texts_of(properties: Any) -> dict[str, str]:
    """Read properties as the catalog sends them; those that are null are left out."""
    return {str(name): str(value) for name, value in (properties or {}).items() if value is not None}
