"""Small hostile situations, the same for the engine and for each peer: what do they lose, and what do they double?

Each situation has a simulator of its own, and an empty folder for everybody. Rows are held against the events that
the simulator shows at that moment. What is measured is an answer for each question; no answer is written by hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.lab.held_rows import Difference, Row, difference, events_of, rows_of, shared, states
from benchmarks.lab.peer_runs import Peer, Settings, has_rows, is_killed_when, run_peer
from benchmarks.lab.processes import ChildResult, SimulatorProcess, plant
from benchmarks.lab.windows import TimeSpan
from engine.piweb.times import iso_text

# What a run may end with where something is wrong in the source: that it says so is one of the answers.
_CODES = (0, 1)
_KILLS = 5
_MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one peer to one question: what a table shows, and how many rows or events are wrong."""

    question: str
    shows: str
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One peer in one situation."""

    peer: Peer
    site: SimulatorProcess
    folder: Path
    settings: Settings
    tags: range

    def run(self, span: TimeSpan) -> ChildResult:
        return run_peer(self.peer, self.site, self.folder, span, self.settings, allowed_codes=_CODES)

    def events(self, span: TimeSpan) -> list[Row]:
        return events_of(self.site, self.tags, span)

    def rows(self, events: list[Row]) -> list[Row]:
        return rows_of(self.peer.table_in(self.folder), events)

    def difference(self, span: TimeSpan) -> Difference:
        events = self.events(span)
        return difference(self.rows(events), events)

    def elsewhere(self, name: str) -> Trial:
        """The same with an empty folder."""
        folder = self.folder / name
        folder.mkdir()
        return replace(self, folder=folder)


def answers_of(peer: Peer, settings: Settings) -> list[Answer]:
    """The answers of one peer to all questions."""
    return [answer for situation in _SITUATIONS for answer in situation(peer, settings)]


@contextmanager
def _trial(
    peer: Peer, settings: Settings, over: Mapping[str, Any], faults: Mapping[str, Any] | None = None
) -> Iterator[Trial]:
    site_of = {**settings["plant"], **over}
    with plant(site_of, faults=faults) as site, tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name:
        yield Trial(peer, site, Path(name), settings["runs"], range(site_of["tags"]))


def _plain(peer: Peer, settings: Settings) -> list[Answer]:
    """A plant where all is well, read twice."""
    span = TimeSpan.of(settings["start"], settings["length"])
    with _trial(peer, settings, {"now": iso_text(span.end)}) as trial:
        trial.run(span)
        events = trial.events(span)
        rows = trial.rows(events)
        trial.run(span)
        again = difference(trial.rows(events), events)
    known, together = (difference(rows, found).lost for found in (states(events), shared(events)))
    return [
        Answer(f"states that are lost, of {len(states(events)):,}", f"{known:,}", known),
        Answer(f"events that are lost where several share a microsecond, of {len(shared(events)):,}", f"{together:,}", together),
        Answer("run once: rows lost or doubled", str(difference(rows, events)), difference(rows, events).wrong),
        Answer(f"the same run again: rows lost or doubled, of {len(events):,}", str(again), again.wrong),
    ]  # fmt: skip


def _cut(peer: Peer, settings: Settings) -> list[Answer]:
    """More events of one tag in the window than one answer may hold. Nothing in the answer says that it was cut."""
    cut = settings["cut"]
    span = TimeSpan.of(settings["start"], cut["length"])
    over = {"tags": 1, "interval": cut["interval"], "now": iso_text(span.end)}
    with _trial(peer, settings, over) as trial:
        trial.run(span)
        events = trial.events(span)
        found = difference(trial.rows(events), events)
    return [Answer(f"an answer cut at its most: rows lost or doubled, of {len(events):,}", str(found), found.wrong)]


def _killed(peer: Peer, settings: Settings) -> list[Answer]:
    """Killed after half of its requests, or after its first commit; then run again."""
    span = TimeSpan.of(settings["start"], settings["length"])
    slow = {"rules": [{"match": {"route": "batch"}, "do": {"delay_secs": settings["delay_secs"]}}]}
    found = []
    with _trial(peer, settings, {"now": iso_text(span.end)}, slow) as trial:
        trial.elsewhere("whole").run(span)
        half = trial.site.requests() // 2
        for moment in ("half", "commit"):
            killed = _killed_at(moment, trial, span, half)
            killed.run(span)
            found.append(killed.difference(span))
    worst = Difference(max(each.lost for each in found), max(each.extra for each in found))
    return [Answer("killed in the middle, and run again: rows lost or doubled", str(worst), worst.wrong)]


def _killed_at(moment: str, trial: Trial, span: TimeSpan, half: int) -> Trial:
    """A folder that a killed run has left. A run that ended before it was killed is tried again."""
    for turn in range(_KILLS):
        killed = trial.elsewhere(f"{moment}{turn}")
        table, before = killed.peer.table_in(killed.folder), trial.site.requests()

        def is_time(table: Path = table, before: int = before) -> bool:
            return trial.site.requests() - before >= half if moment == "half" else has_rows(table)

        if is_killed_when(is_time, killed.peer, killed.site, killed.folder, span, killed.settings):
            return killed
    raise RuntimeError(f"{trial.peer.name} ended {_KILLS} times before it could be killed ({moment})")


def _failing(peer: Peer, settings: Settings) -> list[Answer]:
    """One tag in a batch cannot be read in one run, and can in the next."""
    failing, length = settings["failing"]["tag"], settings["failing"]["length"]
    first = TimeSpan.of(settings["start"], length)
    second = TimeSpan(first.end, first.end + (first.end - first.start))
    with _trial(peer, settings, {"now": iso_text(first.end)}) as trial:
        name = events_of(trial.site, [failing], first)[0][0]
        trial.site.control("changes", [{"action": "forbid", "tag": failing, "status": 500}])
        run = trial.run(first)
        events = [row for row in trial.events(first) if row[0] != name]
        others = difference([row for row in trial.rows(events) if row[0] != name], events)
        trial.site.control("changes", [{"action": "allow", "tag": failing}])
        trial.site.control("clock", {"now": iso_text(second.end)})
        trial.run(peer.later(first, second))
        later = trial.difference(TimeSpan(first.start, second.end))
    return [
        Answer("a tag of a batch fails: rows of the others lost or doubled", str(others), others.wrong),
        Answer("does the run say so?", _how_it_says(run, name)),
        Answer(f"rows of its gap of {length} that are lost after the next run", str(later), later.wrong),
    ]


def _how_it_says(run: ChildResult, name: str) -> str:
    if run.exit_code:
        return f"exit code {run.exit_code}"
    return "in its log" if name in run.output + run.errors else "no"


def _late(peer: Peer, settings: Settings) -> list[Answer]:
    """After a run, one event behind it arrives, one changes, one is deleted: within the time that is read again."""
    first = TimeSpan.of(settings["start"], settings["length"])
    second = TimeSpan(first.end, first.end + (first.end - first.start))
    with _trial(peer, settings, {"now": iso_text(first.end)}) as trial:
        trial.run(first)
        behind, changed, deleted = _three(
            trial.events(TimeSpan(first.end - settings["late_minutes"] * _MINUTE, first.end))
        )
        trial.site.control("clock", {"now": iso_text(second.end)})
        trial.site.control(
            "changes",
            [
                {"action": "insert", "tag": behind[0], "at": iso_text(behind[1] + 1), "value": 1.5},
                {"action": "replace", "tag": changed[0], "at": iso_text(changed[1]), "value": 2.5},
                {"action": "delete", "tag": deleted[0], "at": iso_text(deleted[1])},
            ],
        )
        trial.run(peer.later(first, second))
        events = trial.events(TimeSpan(first.start, second.end))
        rows = trial.rows(events)
    answers = []
    for (name, at, _), what in (
        (behind, "an event arrives late: is it there after the next run?"),
        (changed, "a value changes: is the new one there, and the old one gone?"),
        (deleted, "an event is deleted: is it gone?"),
    ):
        one = difference(_near(rows, name, at), _near(events, name, at))
        answers.append(Answer(what, "no" if one.wrong else "yes", one.wrong))
    return answers


def _three(events: list[Row]) -> list[Row]:
    """Events with a number on a whole second, of three tags."""
    found = {row[0]: row for row in events if row[1] % 1_000_000 == 0 and "0x" in row[2]}
    return list(found.values())[:3]


def _near(rows: list[Row], name: str, at: int) -> list[Row]:
    """The rows of a tag at an instant, and a microsecond after it."""
    return [row for row in rows if row[0] == name and row[1] in {at, at + 1}]


_SITUATIONS: tuple[Callable[[Peer, Settings], list[Answer]], ...] = (_plain, _cut, _killed, _failing, _late)
