"""When a list that comes in pages is whole, and which pages to ask for next. Pure.

Absence proves nothing: a server may cap pages below what was asked for, a gateway may strip `Links`, releases
before 2017 R2 give none. So a page has a successor if its links say so, and may have one also if they do not say so.
A list is whole
- with an empty page: that proves it on every server;
- with a page that is short of what was asked for and has links without `Next`, if this page or one before names
  another page: then this server gives links, and nothing on the way strips them;
- with a page that is short of what was asked for, and not half as long as one that this server has given before: it
  can be no page that the server has capped. (Half: a server may leave out of a page what we may not see.)
So a list costs one more request than it has pages, at most, and often none: a long one is mostly proven by its last
page. A full page is never the last one without proof.

Points that are created or deleted meanwhile shift the pages, so a page may repeat what was shown. Invariant: no
list is read for ever: two rounds without anything new end it, and so do having seen more again than new, and many pages
in a row on which nothing can be read.

Where a page cannot be given for one thing on it (the server answers 500 as often as it is asked), halves of it are asked for
until that thing is found: ten requests in a page of a thousand, and half of them bring the rest. It is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

_LEAST_CAP = 50
_MOST_UNREADABLE_PAGES = 20
# Rounds of shorter pages until longer ones are tried again; twice as many each time that those fail.
_ROUNDS_UNTIL_LONGER = 4
# Things left out of one list. More of them, or so many side by side, are no damage of things: the server is ill.
_MOST_SKIPPED = 100
_MOST_SKIPPED_IN_A_ROW = 3


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


class ListEnd(Enum):
    """How a list ended."""

    COMPLETE = "complete"
    RESTARTED = "restarted"  # the server begins anew instead of going on, and there may be more
    UNPROVEN = "unproven"  # the server repeats itself, and what it gave was short of what was asked for


def may_go_on(items: int, *, has_next: bool) -> bool:
    """Whether a list that was asked for without a count may have more than these.

    Lists of digital sets and of their states: the reference knows no paging for them, servers page them all the same.
    An empty page as proof would double their requests, which is more than they are worth. But where a server stops is
    a number that people choose: a multiple of fifty, or a power of two. Any other one is the end.
    """
    return has_next or (items >= _LEAST_CAP and (items % _LEAST_CAP == 0 or items & (items - 1) == 0))


@dataclass(slots=True)
class PagingFacts:
    """What is known of one server from its lists: whether it gives links, and its longest page."""

    links_given: bool = False
    longest: int = 0


class _Seen:
    """Keys that were seen, by their hashes: eight bytes for each of a million. Two that share one are taken for one, which
    only says that something was shown again.
    """

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.int64]] = []  # sorted, each more than twice as long as the next

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, keys: Sequence[Hashable]) -> int:
        """Take keys in; gives how many of them are new."""
        found = np.unique(np.fromiter(map(hash, keys), np.int64, len(keys)))
        for run in self._runs:
            found = found[np.searchsorted(run, found) == np.searchsorted(run, found, "right")]
        self._runs.append(found)
        # A key is copied as often as its run doubles, and not with each page. The stable sort merges sorted runs.
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]
        return len(found)


class Paging:
    """Walks one list, and learns how the server pages."""

    def __init__(
        self, size: int, *, at_once: int = 1, facts: PagingFacts | None = None, most: int | None = None
    ) -> None:
        """`most`: so many things can be in the list."""
        self.size = size
        self._stride = size  # how far apart pages begin: as many things as the server gives at a time
        self._facts = facts or PagingFacts()
        self.start = 0
        self.end: ListEnd | None = None
        self.patient = True  # whether the pages at `starts` are worth all attempts
        self.skipped = 0
        self.stale_from = 0  # where the server began to show again what it had shown
        self._at_once = at_once
        self._most = most
        self._width = 1
        self._longest = size
        self._rounds = 0  # that have brought all that was asked for, since the length of pages has changed
        self._rounds_until_longer = _ROUNDS_UNTIL_LONGER
        self._seen = _Seen()
        self._first: Hashable = None
        self._more_than_first = False  # the first page was all that was asked for, or named a next one
        self._again = 0
        self._stale = 0
        self._unreadable = 0  # pages in a row without a key
        self._suspects = 0  # so many things from `start` on hold one that cannot be given, it seems
        self._before = size  # the length of pages before that
        self._worked = 0  # the longest one that came since
        self._skipped_in_a_row = 0

    @property
    def starts(self) -> range:
        """Where the pages begin that are asked for now, side by side; each of up to `size` things."""
        return range(self.start, self.start + self._width * self._stride, self._stride)

    def shrink(self, by: int = 2, *, least: int = 1) -> bool:
        """Ask for shorter pages, a half of the length or a smaller part of it; False where they are at the `least` length.

        What no attempt has brought is tried once at each length, and with all attempts at the last one.
        """
        if self.size <= least:
            return False
        if self._rounds:  # longer pages had worked, or have been tried again
            self._rounds_until_longer *= 2
        self.size, self._width, self._rounds = max(1, self.size // by), 1, 0
        self._stride = min(self._stride, self.size)
        self._suspects, self.patient = 0, self.size <= least
        return True

    def narrow(self) -> bool:
        """The page at `start` cannot be given, perhaps for one thing on it: ask for the first half of it. False for a page of
        one thing, which may be skipped.
        """
        if self.size == 1:
            return False
        if not self._suspects:
            self._before, self._worked = self.size, 0
        self._suspects = self.size
        self._set_size(self.size // 2)
        # Once a part came, and the rest did not, it is not the server that is away for a while.
        self.patient = self.size == 1 and not self._worked
        return True

    def skip(self) -> bool:
        """Leave out the thing at `start`, and go on with pages as long as before. False where that were too many."""
        if self.skipped == _MOST_SKIPPED or self._skipped_in_a_row == _MOST_SKIPPED_IN_A_ROW:
            return False
        self.skipped += 1
        self._skipped_in_a_row += 1
        self.start += 1
        if self._suspects:
            self._set_size(self._before)
        self._suspects, self.patient = 0, False
        return True

    def take(self, keys: Sequence[Hashable], items: int, links: PageLinks) -> bool:
        """Learn the next page of those asked for; `keys` name what is on it, `items` says how many those are in all.

        Gives whether the pages asked for after it still follow it. Once `end` is set there is nothing more to ask.
        """
        facts, has_next = self._facts, links is PageLinks.NEXT
        facts.links_given |= links in {PageLinks.NO_NEXT, PageLinks.NEXT}
        facts.longest = max(facts.longest, items)
        if not items:
            return self._empty(has_next=has_next)
        fresh = self._seen.add(keys)
        if not self.start:
            self._first = keys[0] if keys else None
            self._more_than_first = has_next or items >= self.size
        self._again += len(keys) - fresh
        short, regular = items < self.size, items == self._stride
        self._count_stale(fresh > 0 or not keys)
        self._unreadable = 0 if keys else self._unreadable + 1
        self.start += items
        self._skipped_in_a_row = 0
        proven = facts.links_given and links is not PageLinks.ABSENT
        repeats = self._again > len(self._seen) + 2 * self.size
        if self._most is not None and self.start >= self._most:
            self.end = ListEnd.COMPLETE
        elif self._stale > 1 or repeats:
            # What is shown again begins with the first page: the place that was asked for is ignored.
            anew = repeats or self._first in keys
            self.end = (
                (ListEnd.RESTARTED if self._more_than_first or has_next else ListEnd.UNPROVEN)
                if anew
                else ListEnd.COMPLETE
            )
        elif self._unreadable > _MOST_UNREADABLE_PAGES:
            self.end = ListEnd.UNPROVEN
        elif short and not has_next and (proven or (fresh > 0 and 2 * items <= facts.longest)):
            self.end = ListEnd.COMPLETE
        elif not regular:  # the pages after it begin elsewhere
            self._stride, self._width = min(items, self.size), 1
        if self._suspects:
            self._clear(items)
            return False
        self.patient = True
        return self.end is None and regular

    def widen(self) -> None:
        """A round has brought all of its pages, so the list is long: ask for more pages at a time, and for longer ones
        where pages were cut short a while ago, perhaps by an outage.
        """
        self._width = min(2 * self._width, self._at_once)
        self._rounds += 1
        if self._stride == self.size < self._longest and self._rounds > self._rounds_until_longer:
            self.size = min(self._longest, 2 * self.size)
            self._stride, self._width = self.size, 1

    def _clear(self, items: int) -> None:
        """Things came that were on a page that did not: what cannot be given is behind them. Or was it the length?"""
        self._worked = max(self._worked, self.size)
        self._suspects = max(0, self._suspects - items)
        if self._suspects:
            self._set_size(max(1, self._suspects // 2))
            self.patient = False
        else:
            self._set_size(self._worked)
            self._rounds, self.patient = 0, True
            self._rounds_until_longer *= 2

    def _set_size(self, size: int) -> None:
        self.size = self._stride = size
        self._width = 1

    def _empty(self, *, has_next: bool) -> bool:
        # A link beside nothing: things that we may not see, perhaps. One page further, not for ever.
        self._stale += 1
        self.start += self._stride
        if not has_next or self._stale > 1:
            self.end = ListEnd.UNPROVEN if has_next else ListEnd.COMPLETE
        return self.end is None

    def _count_stale(self, is_fresh: bool) -> None:
        if is_fresh:
            self._stale = 0
            return
        if not self._stale:
            self.stale_from = self.start
        self._stale += 1
