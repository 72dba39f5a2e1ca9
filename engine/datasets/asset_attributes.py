"""Attributes as they come, page by page, made into rows at once: what was read is never held as objects all together.

Only what joins attributes of different pages waits for the end: which attribute another one lies below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from writers import HeldRows, SeenRows
from writers.asset_tables import PI_ASSET_ATTRIBUTES

from ..piweb.assets import Named, attribute_rows, is_nested, path_above, source_schema
from ..piweb.members import Item

_ABOVE = "parent_attribute_webid"


class AttributeRows:
    """The rows of pi_asset_attributes that a crawl has seen, in `seen`. Call `close` when everything was taken.

    `element_of`: elements by path in lower case.
    """

    def __init__(self, seen: SeenRows, element_of: Mapping[str, str], database: Named) -> None:
        self.seen = seen
        self._element_of = element_of
        self._database = database
        self._nested = HeldRows(source_schema(PI_ASSET_ATTRIBUTES))
        # Of attributes that say they have some below them: their paths. And paths below which something was shown.
        self._parents: dict[str, Any] = {}
        self._with_some: set[str] = set()

    def note(self, items: Sequence[Item]) -> None:
        """Learn which attributes have others below them, and of which the others have been shown."""
        self._parents.update((one["WebId"], one.get("Path")) for one in items if one.get("HasChildren") is True)
        self._with_some.update(above for one in items if "|" in (above := path_above(one)) or not above)

    def unshown(self) -> list[str]:
        """WebIDs of attributes below which there is something that was not shown. Each is named once."""
        found = [web_id for web_id, path in self._parents.items() if path not in self._with_some]
        self._with_some.update(str(self._parents[web_id]) for web_id in found)
        return found

    def take(self, items: Sequence[Item], values: Mapping[str, Any]) -> None:
        """Take attributes in. `values`: by WebID, what those without a data reference show, as events."""
        flat = [one for one in items if not is_nested(one)]
        nested = [one for one in items if is_nested(one)]
        self.seen.add(attribute_rows(flat, values, self._element_of, self._database))
        if nested:
            self._nested.add(attribute_rows(nested, values, self._element_of, self._database))

    def close(self) -> None:
        """Add the attributes that lie below others, now that all are known."""
        nested, self._nested = self._nested, HeldRows(self._nested.schema)
        above: dict[str, str | None] = {}
        for rows in nested.parts(["attribute_path"]):
            above.update((_above(path), None) for path in rows["attribute_path"].to_pylist())
        if not above:
            return
        for held in (self.seen, nested):
            for rows in held.parts(["attribute_webid", "attribute_path"]):
                paths = map(str.casefold, rows["attribute_path"].to_pylist())
                above.update(
                    (path, web_id)
                    for path, web_id in zip(paths, rows["attribute_webid"].to_pylist(), strict=True)
                    if path in above
                )
        for rows in nested.parts():
            parents = pa.array([above[_above(path)] for path in rows["attribute_path"].to_pylist()], pa.string())
            self.seen.add(rows.set_column(rows.schema.get_field_index(_ABOVE), rows.schema.field(_ABOVE), parents))


def _above(path: str) -> str:
    return path.rpartition("|")[0].casefold()
