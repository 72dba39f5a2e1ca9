"""Which tags are signed up for stream updates, what was reported of them, and whether it is worth going on. Pure.

Asking uses a marker up, and the tag is watched again only when the answer brings the next marker. After a refusal, a
broken connection or a cancelled task the tag has to be signed up again. What happened to it until then is unknown, so
the tag is reported as lost.

Invariant: everything that happened to a tag between two calls of `take_changes` is in its windows, or the tag is lost,
or it still waits to be signed up.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..model import Window

# A round is bad if it lost one in so many of the tags it asked about.
_BAD_SHARE = 4
# One restart of the server makes one bad round. Where this many more were bad than good, no tag is
# watched for long.
HOPELESS_AFTER = 4
# A tag that cannot be signed up is tried again after 1, 2, 4, ... rounds, and never less often than this.
_LONGEST_REST = 64


class _Subscription(msgspec.Struct, gc=False):
    marker: str = ""  # empty: not signed up, or spent
    refusals: int = 0  # in a row
    due: int = 0  # the round from which on signing up may be tried


class UpdateSubscriptions:
    """The tags of a process, by WebID."""

    def __init__(self) -> None:
        self._entries: dict[str, _Subscription] = {}
        self._touched: dict[str, tuple[Window, ...]] = {}
        self._lost: set[str] = set()
        self._round = self._bad_rounds = 0
        self._asked = self._failed = 0
        self.signed_up = False  # ever

    def __repr__(self) -> str:
        return f"UpdateSubscriptions({len(self._entries)} tags, {self.watched} watched, round {self._round})"

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def watched(self) -> int:
        return sum(1 for entry in self._entries.values() if entry.marker)

    @property
    def hopeless(self) -> bool:
        """Whether tags are lost as fast as they are signed up."""
        return self._bad_rounds >= HOPELESS_AFTER

    def replace(self, web_ids: Iterable[str]) -> list[str]:
        """Watch these tags and no others. Gives those that are new."""
        wanted = dict.fromkeys(web_ids)
        new = [web_id for web_id in wanted if web_id not in self._entries]
        self._entries = {web_id: entry for web_id, entry in self._entries.items() if web_id in wanted}
        self._entries |= {web_id: _Subscription() for web_id in new}
        self._lost.intersection_update(wanted)
        self._touched = {web_id: found for web_id, found in self._touched.items() if web_id in wanted}
        return new

    def forget_loss(self, web_ids: Iterable[str]) -> None:
        """Nothing was promised of these tags so far: that they were not watched is no loss."""
        self._lost.difference_update(web_ids)

    # --- a round -------------------------------------------------------------

    def markers(self) -> dict[str, str]:
        """WebIDs by marker, the longest unasked first."""
        return {entry.marker: web_id for web_id, entry in self._entries.items() if entry.marker}

    def due(self) -> list[str]:
        """Tags to be signed up now."""
        return [web_id for web_id, entry in self._entries.items() if not entry.marker and entry.due <= self._round]

    def use_marker(self, web_id: str) -> None:
        """Its marker goes out with a request."""
        entry = self._entries.pop(web_id)
        entry.marker = ""
        self._entries[web_id] = entry  # now the last to be asked

    def restore_marker(self, web_id: str, marker: str) -> None:
        """The request was turned away unread: the marker is as good as before."""
        self._entries[web_id].marker = marker

    def received(self, web_id: str, marker: str, found: tuple[Window, ...]) -> None:
        """An answer came: this is what happened, and the next marker."""
        self._asked += 1
        self._entries[web_id].marker = marker
        if found:
            self._touched[web_id] = (*self._touched.get(web_id, ()), *found)

    def unanswered(self, count: int) -> None:
        """The server had no answer for so many tags, though they were signed up."""
        self._asked += count
        self._failed += count

    def registered(self, web_id: str, marker: str) -> None:
        entry = self._entries[web_id]
        entry.marker, entry.refusals = marker, 0
        self._asked += 1
        self._lost.add(web_id)
        self.signed_up = True

    def refused(self, web_id: str) -> None:
        """The server would not sign it up."""
        entry = self._entries[web_id]
        entry.due = self._round + min(2**entry.refusals, _LONGEST_REST)
        entry.refusals = min(entry.refusals + 1, 10)
        self._asked += 1
        self._failed += 1

    def end_round(self) -> None:
        """Judge the round. One in which nothing was asked says nothing."""
        if self._asked:
            bad = self._failed * _BAD_SHARE >= self._asked
            self._bad_rounds = max(0, self._bad_rounds + (1 if bad else -1))
        self._asked = self._failed = 0
        self._round += 1

    def take_changes(self) -> tuple[dict[str, tuple[Window, ...]], frozenset[str]]:
        """Windows by tag, and the tags that were lost for a while and are watched again."""
        touched, lost = self._touched, frozenset(self._lost)
        self._touched, self._lost = {}, set()
        return touched, lost

    def unwatch_all(self) -> None:
        """Watch nothing any more. What is not watched at this moment is lost."""
        self._lost.update(web_id for web_id, entry in self._entries.items() if not entry.marker)
        self._entries = {}
