"""When a list that comes in pages is whole, and which pages to ask for next. Pure.

Absence proves nothing: a server may cap pages below what was asked for, a gateway may strip `Links`, releases
before 2017 R2 give none. So a page has a successor if its links say so, and may have one whatever they do not say.
A list is whole
- with an empty page: that proves it, whatever else the server does;
- with a page that is short of what was asked for and has links without `Next`, if this page or one before names
  another page: then this server gives links, and nothing on the way strips them;
- with a page that is short of what was asked for, and not half as long as one that this server has given before: it
  can be no page that the server has capped. (Half: a server may leave out of a page what we may not see.)
So a list costs one more request than it has pages, at most, and often none: a long one is mostly proven by its last
page. A full page is never the last one without proof.

Points that are created or deleted meanwhile shift the pages, so a page may repeat what was shown. Invariant: no
list is read for ever: two rounds without anything new end it, and so does having seen more again than new.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["End", "Habits", "PageLinks", "Paging", "may_go_on"]

_LEAST_CAP = 50


class PageLinks(Enum):
    """What the links of a page say."""

    ABSENT = "absent"
    EMPTY = "empty"
    NO_NEXT = "no next"  # they name another page, and none that comes next
    NEXT = "next"

    @classmethod
    def of(cls, first: object, following: object) -> PageLinks:
        """Of links that are there."""
        return cls.NEXT if following else cls.NO_NEXT if first else cls.EMPTY


class End(Enum):
    """How a list ended."""

    WHOLE = "whole"
    AGAIN = "again"  # the server begins anew instead of going on, and there may be more
    UNSURE = "unsure"  # the server repeats itself, and what it gave was short of what was asked for


def may_go_on(items: int, *, has_next: bool) -> bool:
    """Whether a list that was asked for without a count may have more than these.

    Lists of digital sets and of their states: the reference knows no paging for them, servers page them all the same.
    An empty page as proof would double their requests, which is more than they are worth. But where a server stops is
    a number that people choose: a multiple of fifty, or a power of two. Any other one is the end.
    """
    return has_next or (items >= _LEAST_CAP and (items % _LEAST_CAP == 0 or items & (items - 1) == 0))


@dataclass(slots=True)
class Habits:
    """What the lists of one server have shown of it: whether it gives links, and its longest page."""

    links_given: bool = False
    longest: int = 0


class Paging:
    """Walks one list, and learns of the server's habits."""

    def __init__(self, size: int, *, at_once: int = 1, habits: Habits | None = None) -> None:
        self.size = size
        self._stride = size  # how far apart pages begin: as many things as the server gives at a time
        self._habits = habits or Habits()
        self.start = 0
        self.end: End | None = None
        self.stale_from = 0  # where the server began to show again what it had shown
        self._at_once = at_once
        self._width = 1
        self._seen: set[Hashable] = set()
        self._first: Hashable = None
        self._more_than_first = False  # the first page was all that was asked for, or named a next one
        self._again = 0
        self._stale = 0

    @property
    def starts(self) -> range:
        """Where the pages begin that are asked for now, side by side; each of up to `size` things."""
        return range(self.start, self.start + self._width * self._stride, self._stride)

    def shrink(self) -> bool:
        """Ask for shorter pages; False where there are none."""
        if self.size == 1:
            return False
        self.size, self._width = self.size // 2, 1
        self._stride = min(self._stride, self.size)
        return True

    def take(self, keys: Sequence[Hashable], items: int, links: PageLinks) -> bool:
        """Learn the next page of those asked for; `keys` name what is on it, `items` says how many those are in all.

        Gives whether the pages asked for after it still follow it. Once `end` is set there is nothing more to ask.
        """
        habits, has_next = self._habits, links is PageLinks.NEXT
        habits.links_given |= links in {PageLinks.NO_NEXT, PageLinks.NEXT}
        habits.longest = max(habits.longest, items)
        if not items:
            return self._empty(has_next=has_next)
        fresh = {key for key in keys if key not in self._seen}
        if not self.start:
            self._first = keys[0] if keys else None
            self._more_than_first = has_next or items >= self.size
        self._seen |= fresh
        self._again += len(keys) - len(fresh)
        short, regular = items < self.size, items == self._stride
        self._count_stale(bool(fresh) or not keys)
        self.start += items
        proven = habits.links_given and links is not PageLinks.ABSENT
        repeats = self._again > len(self._seen) + 2 * self.size
        if self._stale > 1 or repeats:
            # What is shown again begins with the first page: the place that was asked for is ignored.
            anew = repeats or self._first in keys
            self.end = (End.AGAIN if self._more_than_first or has_next else End.UNSURE) if anew else End.WHOLE
        elif short and not has_next and (proven or (fresh and 2 * items <= habits.longest)):
            self.end = End.WHOLE
        elif not regular:  # the pages after it begin elsewhere
            self._stride, self._width = min(items, self.size), 1
        return self.end is None and regular

    def widen(self) -> None:
        """The list has shown to be long: ask for more pages at a time."""
        self._width = min(2 * self._width, self._at_once)

    def _empty(self, *, has_next: bool) -> bool:
        # A link beside nothing: things that we may not see, perhaps. One page further, not for ever.
        self._stale += 1
        self.start += self._stride
        if not has_next or self._stale > 1:
            self.end = End.UNSURE if has_next else End.WHOLE
        return self.end is None

    def _count_stale(self, is_fresh: bool) -> None:
        if is_fresh:
            self._stale = 0
            return
        if not self._stale:
            self.stale_from = self.start
        self._stale += 1
