"""Lists and objects of an asset server, and their members, also if something else came in their place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeGuard

from config.errors import UnavailableError

from .problems import excerpt_of, sentence_of
from .values import parse_json

Item: TypeAlias = Mapping[str, Any]
# Of a WebID, what comes before the path in a full one: marks, and two GUIDs; of an attribute three.
_ID_CHARS = {"RD": 48, "Em": 48, "Fm": 48, "Ab": 71}


def parsed(body: bytes) -> Any:
    """Raises `UnavailableError` for a body that is no JSON."""
    try:
        return parse_json(body)
    except ValueError as error:
        raise UnavailableError(f"the answer cannot be read ({error}): {excerpt_of(body)}", status=500) from error


def parsed_list(body: bytes) -> tuple[Item, list[Any]]:
    """An answer, and the items in it. Raises `UnavailableError` for one without a list, or whose list broke off.

    `Items` that are null or missing are no empty list: that would say that everything was deleted.
    """
    content = parsed(body)
    items = content.get("Items") if isinstance(content, dict) else None
    if not isinstance(items, list):
        said = excerpt_of(body)
        raise UnavailableError(f"the answer holds no list of items{said and f': {said}'}", hint="try again", status=500)
    if broken := content.get("Errors") or content.get("WebException"):
        raise UnavailableError(f"the answer broke off: {sentence_of(broken) or 'it does not say why'}", status=500)
    return content, items


def text(item: Item, name: str) -> str | None:
    found = item.get(name)
    return found if isinstance(found, str) else None


def texts(item: Item, name: str) -> list[str]:
    found = item.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def flag(item: Item, name: str) -> bool | None:
    found = item.get(name)
    return found if isinstance(found, bool) else None


def linked(item: Item, name: str) -> str | None:
    """The WebID that a link ends with, in the form of `id_only`."""
    links = item.get("Links")
    link = links.get(name) if isinstance(links, dict) else None
    return id_only(link.rstrip("/").rpartition("/")[2]) or None if isinstance(link, str) else None


def has_web_id(item: Any) -> TypeGuard[Item]:
    """Whether an item has a WebID of any form. One that broke off, or that is no text, does not count."""
    found = item.get("WebId") if isinstance(item, dict) else None
    return isinstance(found, str) and found != "" and "\ufffd" not in found


def id_only(web_id: str) -> str:
    """The form without a path of a full WebID of a database, an element, a frame or an attribute.

    Some lists, and servers that do not know `webIdType`, give the full form unasked. It changes when a thing is moved or renamed.
    """
    chars = _ID_CHARS.get(web_id[2:4]) if web_id.startswith("F1") else None
    return f"I{web_id[1:chars]}" if chars else web_id


def fault_of(item: Any) -> str | None:
    """Why an item cannot be read, None if it can: it has no WebID, or its writing broke off, or it is an error in place of a thing.

    One whose `Errors` name a field that could not be read, and that has name and path, can be read.
    """
    if not isinstance(item, dict):
        return "an item: it has no WebID"
    said = item.get("WebException") or item.get("Errors")
    is_whole = not said or (not item.get("WebException") and {"Name", "Path"} <= {k for k in item if text(item, k)})
    if has_web_id(item) and is_whole:
        return None
    return f"{text(item, 'Name') or 'an item'}: {sentence_of(said) or 'it has no WebID'}"
