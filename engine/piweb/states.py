"""Digital state sets: which sets a data server has, and which states each of them holds. Pure.

Invariant: a set comes back with all of its states, or with the reason why it does not: an answer that may
lack some says nothing, for a state that is missing counts as removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from config.errors import UnavailableError
from writers.tables import PI_DIGITAL_STATES

from .batches import WEAK_STATUSES, batch_of, parts_of
from .http import Request, Response
from .members import parsed
from .problems import error_for, sentence_of
from .values import well_formed
from .wire import Links

# The set whose states any point may hold, as we spell it; servers do it in their own way.
SYSTEM = "SYSTEM"

# What a server says of a state; the mirror adds when we saw it.
STATES_SCHEMA = pa.schema(
    field for field in PI_DIGITAL_STATES.schema if field.name not in {"first_seen", "last_seen", "deleted_at"}
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SetOfStates:
    """A set, by its server and name, and by what it is asked for."""

    server: str
    name: str
    web_id: str


@dataclass(frozen=True, slots=True)
class States:
    """The names of a set's states by code, or why they are not known.

    `doubled`: codes under which a broken server has several names; the first in order is taken, so that it
    is the same one every time. `shown` is what this answer showed, `has_next` whether it names a next page.
    `weak`: as a part of a batch it failed in a way in which it may not fail alone.
    """

    of: SetOfStates
    names: Mapping[int, str | None] = field(default_factory=dict)
    problem: str = ""
    doubled: tuple[int, ...] = ()
    shown: tuple[tuple[int, str | None], ...] = ()
    has_next: bool = False
    weak: bool = False


@dataclass(frozen=True, slots=True)
class SetsPage:
    """Sets of a data server by name, without regard to case, and how many things are on the page."""

    sets: Mapping[str, SetOfStates]
    items: int
    has_next: bool


class _WireSet(Struct, gc=False):
    WebId: str | None = None
    Name: str | None = None


class _Sets(Struct):
    Items: list[Any]
    Links: Links | None = None


class _State(Struct):
    Value: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
    Name: str | None = None
    Errors: Any = None
    WebException: Any = None


class _States(Struct):
    Items: list[_State]
    Links: Links | None = None
    Errors: Any = None
    WebException: Any = None


def sets_of(server_web_id: str, start: int = 0) -> Request:
    """All sets of a data server; or what comes after the first ones, of a server that does not give all at once."""
    query = f"selectedFields=Items.WebId;Items.Name;Links.Next&webIdType=IDOnly{_from(start)}"
    return Request("GET", f"/dataservers/{quote(server_web_id, safe='')}/enumerationsets?{query}")


def states_of(one: SetOfStates, start: int = 0) -> Request:
    """All states of a set; or what comes after the first ones."""
    return Request("GET", _path(one) + _from(start), items=1)


def _from(start: int) -> str:
    # The reference knows neither parameter for these lists, so they are sent only where there may be more.
    return f"&startIndex={start}&maxCount=1000" if start else ""


def states_batch(sets: Sequence[SetOfStates], base_url: str) -> Request:
    """One POST that carries a `states_of` for each set, under the keys "0", "1", ..."""
    return batch_of([_path(one) for one in sets], base_url)


def _path(one: SetOfStates) -> str:
    fields = "Items.Name;Items.Value;Links.Next;Errors;WebException"
    return f"/enumerationsets/{quote(one.web_id, safe='')}/enumerationvalues?selectedFields={fields}"


def decode_sets(body: bytes, server: str) -> SetsPage:
    """A page of the sets of a data server. Raises `UnavailableError` for a broken body."""
    found: dict[str, SetOfStates] = {}
    page = _shaped(parsed(body), _Sets)
    for item in page.Items:
        try:
            one = msgspec.convert(item, _WireSet)
        except msgspec.ValidationError:
            continue  # a set that is wanted, and is not here, is unread
        if one.WebId and one.Name and "\ufffd" not in one.WebId:
            name = SYSTEM if one.Name.casefold() == SYSTEM.casefold() else well_formed(one.Name)
            found.setdefault(name.casefold(), SetOfStates(server, name, one.WebId))
    return SetsPage(found, len(page.Items), page.Links is not None and bool(page.Links.Next))


def decode_states(of: SetOfStates, response: Response) -> States:
    """The states of one set, out of an answer of any status."""
    error = error_for(response, "asking for its states")
    if error is not None:
        return States(of, problem=error.message, weak=response.status in WEAK_STATUSES)
    try:
        return _states(of, _shaped(parsed(response.body), _States))
    except UnavailableError as broken:
        return States(of, problem=broken.message)


def decode_batch(sets: Sequence[SetOfStates], body: bytes) -> list[States]:
    """The states of each set of a batch. Raises `UnavailableError` for a body that is no answer at all."""
    return [decode_states(of, part) for of, part in zip(sets, parts_of(body, len(sets)), strict=True)]


def _states(of: SetOfStates, answer: _States) -> States:
    parts: tuple[_States | _State, ...] = (answer, *answer.Items)
    for one in parts:
        if one.Errors or one.WebException:
            said = sentence_of(one.Errors) or sentence_of(one.WebException) or "it does not say why"
            return States(of, problem=f"the answer broke off: {said}")
    shown = tuple((item.Value, None if item.Name is None else well_formed(item.Name)) for item in answer.Items)
    if answer.Links is not None and answer.Links.Next:
        return States(of, problem="the answer holds only a part of its states", shown=shown, has_next=True)
    if not answer.Items:
        # No set of PI is empty. Some servers answer like this when the account may not see the states.
        return States(of, problem="the server shows no state of it")
    return together(of, shown)


def together(of: SetOfStates, shown: Sequence[tuple[int, str | None]]) -> States:
    """A set that was shown whole, in one answer or in several."""
    names: dict[int, set[str | None]] = {}
    for code, name in shown:
        names.setdefault(code, set()).add(name)
    chosen = {code: min(several, key=lambda name: (name is None, name or "")) for code, several in names.items()}
    doubled = tuple(code for code, several in names.items() if len(several) > 1)
    return States(of, chosen, doubled=doubled, shown=tuple(shown))


def _shaped(content: Any, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(content, kind, strict=False)  # codes as texts, and with a point
    except msgspec.ValidationError as error:
        raise UnavailableError(f"the answer is not what the protocol says ({error})") from error


def rows_of(read: Sequence[States]) -> pa.Table:
    """The rows of pi_digital_states that these sets make."""
    sets = [states.of for states in read for _ in states.names]
    columns: dict[str, list[Any]] = {
        "data_server": [of.server for of in sets],
        "digital_set": [of.name for of in sets],
        "state_code": [code for states in read for code in states.names],
        "name": [name for states in read for name in states.names.values()],
        "set_webid": [of.web_id for of in sets],
    }
    return pa.Table.from_pydict(columns, schema=STATES_SCHEMA)
