"""`selectedFields`: which members of an answer are wanted. Pure.

`Links.Next;Items.WebId` is a tree of names. Unknown names select nothing, an object none of whose
members is selected vanishes, and a name without members below it selects all of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

# None: everything. Names are lower case; the server does not mind the case.
Tree: TypeAlias = dict[str, Any] | None


@lru_cache(maxsize=1024)
def parse_fields(text: str) -> Tree:
    paths = [path.strip().lower().split(".") for path in text.split(";") if path.strip()]
    if not paths:
        return None
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for name in path[:-1]:
            if name in node and node[name] is None:
                break  # the whole of it is selected already
            node = node.setdefault(name, {})
        else:
            node[path[-1]] = None
    return tree


def wants(tree: Tree, name: str) -> bool:
    return tree is None or name.lower() in tree


def below(tree: Tree, name: str) -> Tree:
    """The part of a tree below a wanted name."""
    return None if tree is None else tree[name.lower()]


def pick(value: Any, tree: Tree) -> Any:
    """What is left of an answer. Lists are passed through to their elements."""
    if tree is None:
        return value
    if isinstance(value, list):
        return [pick(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: item if (part := tree[lower]) is None else pick(item, part)
        for name, item in value.items()
        if (lower := name.lower()) in tree
    }
