r"""WebIDs and the names people give to tags. Pure.

A WebID 2.0 reads `{form}1{marker}[owner]{binary}{path}`: form F full, I identifier only, P path only,
L and D valid on one instance only. WebID 1 (`P0...`, `A0E...`) is still accepted by servers.
Invariant: nothing here builds or takes apart the binary part; the server alone says what an
identifier names, and what is read out of one here serves messages only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

# Longest marker first where one begins like another.
_KINDS = (
    ("ATE", "attribute template"),
    ("AbE", "attribute"),
    ("AbF", "event frame attribute"),
    ("DP", "point"),
    ("DS", "data server"),
    ("RS", "asset server"),
    ("RD", "asset database"),
    ("Em", "element"),
    ("Fm", "event frame"),
    ("ET", "element template"),
    ("MS", "enumeration set"),
    ("MV", "enumeration value"),
    ("EC", "element category"),
    ("AC", "attribute category"),
    ("Bl", "table"),
    ("Ut", "unit"),
    ("UC", "unit class"),
    ("Xs", "analysis"),
    ("XT", "analysis template"),
)
_FORMS = {"F": "Full", "I": "IDOnly", "P": "PathOnly", "L": "LocalIDOnly", "D": "DefaultIDOnly"}
_WEB_ID_2 = re.compile(r"[FIPLD]1(?:ATE|[A-Z][A-Za-z])[A-Za-z0-9_-]+", re.ASCII)
_WEB_ID_1 = re.compile(r"(?:P0|A0[A-Z])[A-Za-z0-9_-]{16,}", re.ASCII)
# A server's GUID alone takes 22 characters in every form but the path-only one, which is as long as
# the path; what is shorter is a tag's name ("P1DPump").
_SHORTEST = {"P": 16}
_SHORTEST_WITH_GUID = 24


class TagText(Enum):
    """What a user may write for a tag."""

    WEB_ID = "webId"
    PATH = "path"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class TagRef:
    """A tag as a user named it."""

    kind: TagText
    text: str


def is_web_id(text: str) -> bool:
    """Whether `text` can only be a WebID. It is also true for a tag name that looks like one."""
    if _WEB_ID_1.fullmatch(text):
        return True
    if not _WEB_ID_2.fullmatch(text) or kind_of(text) is None:
        return False
    return len(text) >= _SHORTEST.get(text[0], _SHORTEST_WITH_GUID)


def kind_of(web_id: str) -> str | None:
    """What a WebID names ("point", "attribute", ...), for messages; None if it does not say."""
    if web_id[1:2] == "0":
        return {"P": "point", "A": "attribute or another asset object"}.get(web_id[:1])
    if web_id[:1] not in _FORMS or web_id[1:2] != "1":
        return None
    return next((kind for marker, kind in _KINDS if web_id.startswith(marker, 2)), None)


def is_attribute(web_id: str, path: str) -> bool:
    """Whether a tag is an attribute of an element. No name of a point has a `|`: it parts an element from its attribute."""
    kind = kind_of(web_id)
    return kind == "attribute" or (kind is None and "|" in path)


def form_of(web_id: str) -> str | None:
    """The `webIdType` that makes a server echo a WebID as it was sent; None for WebID 1 and others."""
    return _FORMS.get(web_id[:1]) if web_id[1:2] == "1" else None


def parse_tag(text: str) -> TagRef:
    """Tell apart what a user wrote for a tag: a path begins with two backslashes."""
    text = text.strip()
    if text.startswith("\\\\"):
        return TagRef(TagText.PATH, text)
    return TagRef(TagText.WEB_ID if is_web_id(text) else TagText.NAME, text)


def split_path(path: str) -> tuple[str, str]:
    r"""Server and tag of `\\SERVER\TAG`. A tag's name may itself hold backslashes. Raises `ValueError`."""
    server, _, tag = path.removeprefix("\\\\").partition("\\")
    if not path.startswith("\\\\") or not server or not tag:
        msg = rf"{path!r} is not a path of the form \\SERVER\TAG"
        raise ValueError(msg)
    return server, tag


def tag_path(server: str, name: str) -> str:
    return f"\\\\{server}\\{name}"


def name_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a name matches one of the patterns as PI reads them: `*` is any text, `?` any one character, case
    does not matter. `[` and `]` are plain characters, unlike in `fnmatch`.
    """
    texts = ("".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern) for pattern in patterns)
    compiled = [re.compile(text, re.IGNORECASE | re.DOTALL) for text in texts]
    return lambda name: any(pattern.fullmatch(name) for pattern in compiled)
