"""Holds the tables to account after each run: what must be true of them, whatever happened.

- no key twice, and no row outside of what is done (ledger.py, here)
- what changed is true now, and nothing that was true and stays so was lost, whoever died in between
- a watermark never moves back; where it moved, all that it passed is like the source, and so is what lies
  from the last event known before (or from the beginning of the lookback) on
- after a run that succeeded each tag that can be read is at its end, and like the source in all it had to read
- rows before that are as they were; the report counts what was done; where nothing differs nothing is written
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.exactness.expected import web_id_of
from tests.histories.ledger import Facts, Mark, Page, assert_like_source, facts_of, span
from tests.histories.runs import Ended, Wish
from tests.histories.script import Setting
from tests.histories.source import Source

__all__ = ["assert_accounted"]

_NOTHING = Mark(0, 0, None, "")


@dataclass(frozen=True, slots=True)
class _Case:
    """One tag, before and after a run."""

    what: str
    before: Mark
    after: Mark
    had: Facts
    has: Facts
    truth: Facts
    since: int  # what is done is compared with the source from here on

    @property
    def new(self) -> bool:
        return self.before.low == self.before.high


def assert_accounted(before: Page, after: Page, wish: Wish, ended: Ended, source: Source, setting: Setting) -> None:
    """Fails with the first thing that is wrong."""
    appended, corrected, differed = 0, [0, 0, 0], False
    for index in range(source.size):
        case = _case(index, before, after, wish, source)
        _assert_true_steps(case)
        _assert_moved(case)
        if ended.finished and case.what not in ended.failed and index not in source.gone:
            until = wish.until(source, setting, index, case.before.high)
            _assert_finished(case, wish, until, wish.begin(setting))
            if (
                source.is_future(index)
                and not wish.repair
                and until > wish.begin(setting)
                and until >= case.before.high
            ):
                present = min(wish.present(source, setting), until)
                assert case.after.ahead_from == max(present, case.before.ahead_from or present), case
        differed = differed or _differs(case)
        fresh = [key for key in case.has.keys() - case.had.keys() if not _done(case.before, key)]
        appended += len(fresh)
        for place, number in enumerate(_corrections(case)):
            corrected[place] += number
    _assert_names(before, after)
    if ended.report is not None:
        told = ended.report["corrections"]
        assert [told[name] for name in ("inserted", "changed", "deleted")] == corrected, f"{told} but {corrected}"
        assert ended.report["records_written"] == appended
        _assert_failed(before, wish, ended, source, setting)
        if not wish.repair:
            _assert_points(after, source)
        if before.facts == after.facts and before.version >= 0:
            assert after.version == before.version, "nothing differs, and yet something was written"
        # What is compared is no longer whole once a request for it has failed for good. Then all that can be read of it is
        # put in its place; that this writes nothing where nothing differs is asserted above.
        if not differed and not wish.repair and not ended.requests_failed:
            assert "before_correction" not in ended.steps, "nothing differs, and yet something was taken for different"


def _case(index: int, before: Page, after: Page, wish: Wish, source: Source) -> _Case:
    web_id = web_id_of(index)
    was, now = before.marks.get(web_id, _NOTHING), after.marks.get(web_id, _NOTHING)
    had, has = before.of(web_id), after.of(web_id)
    truth = facts_of(source.rows(index, max(now.high, 1)))
    return _Case(source.point(index).name, was, now, had, has, truth, _since(was, wish))


def _differs(case: _Case) -> bool:
    """Whether the source shows something else than the table held, where they were to be compared."""
    return span(case.had, case.since, case.before.high) != span(case.truth, case.since, case.before.high)


def _since(mark: Mark, wish: Wish) -> int:
    """From the last event that was known on, whatever its age; without any, all that is done; and the lookback, and
    all that was ahead.
    """
    if wish.repair or mark.last_event is None:
        return mark.low
    return max(mark.low, min(mark.last_event, mark.present - wish.lookback))


def _done(mark: Mark, key: tuple[int, int]) -> bool:
    return mark.low <= key[0] < mark.high


def _assert_true_steps(case: _Case) -> None:
    """Also half-way: what came is true, what went is not, and nothing lies outside of what is done."""
    for key, fact in case.has.items():
        assert _done(case.after, key), f"{case.what}: {key} lies outside of {case.after}"
        if case.had.get(key) != fact:
            assert case.truth.get(key) == fact, (
                f"{case.what}: {key} became {fact}, the source has {case.truth.get(key)}"
            )
    for key, fact in case.had.items():
        if case.has.get(key) != fact:
            assert case.truth.get(key) != fact, f"{case.what}: {key}, {fact}, was lost; it became {case.has.get(key)}"
            assert key[0] >= case.since, f"{case.what}: {key} changed, before {case.since}"
    for key in case.has.keys() - case.had.keys():
        if _done(case.before, key):
            assert key[0] >= case.since, f"{case.what}: {key} came, before {case.since}"


def _assert_moved(case: _Case) -> None:
    before, after = case.before, case.after
    if case.new:
        assert_like_source(case.has, case.truth, after.low, after.high, case.what)
        return
    assert after.low <= before.low, f"{case.what}: {before} became {after}"
    assert after.high >= before.high, f"{case.what}: {before} became {after}"
    assert_like_source(case.has, case.truth, after.low, before.low, case.what)
    if after.high > before.high:
        assert_like_source(case.has, case.truth, case.since, after.high, case.what)
    if after.present > before.present:
        assert_like_source(case.has, case.truth, case.since, after.present, case.what)


def _assert_finished(case: _Case, wish: Wish, until: int, begin: int) -> None:
    """The tag is where the run was to bring it."""
    before, after = case.before, case.after
    if wish.repair:
        assert_like_source(case.has, case.truth, after.low, after.present, case.what)
        return
    if case.new:
        wanted = (begin, until) if begin < until else (after.low, after.low)
        assert (after.low, after.high) == wanted, f"{case.what}: {after}, not {wanted}"
    else:
        low = min(before.low, begin) if wish.start is not None and begin < until else before.low
        high = max(before.high, until)
        assert (after.low, after.high) == (low, high), f"{case.what}: {after}, not [{low}, {high})"
        compared = wish.lookback or before.present < before.high
        if until > before.high or (compared and until == before.high):
            assert_like_source(case.has, case.truth, case.since, after.high, case.what)
    times = [key[0] for key in case.has]
    if times:
        assert after.last_event is not None, f"{case.what}: {after} knows no event"
        assert after.last_event >= max(times), f"{case.what}: {after}, but there is one at {max(times)}"


def _corrections(case: _Case) -> tuple[int, int, int]:
    """How many events were inserted, changed and deleted within what was done."""
    had, has = span(case.had, case.before.low, case.before.high), span(case.has, case.before.low, case.before.high)
    changed = sum(had[key] != has[key] for key in had.keys() & has.keys())
    return len(has.keys() - had.keys()), changed, len(had.keys() - has.keys())


def _assert_names(before: Page, after: Page) -> None:
    """A name stays with a row as it was read: only rows that are new have another."""
    for key, name in after.names.items():
        if before.names.get(key, name) != name:
            web_id, *at = key
            place = (at[0], at[1])
            assert before.of(web_id)[place] != after.of(web_id)[place], f"{key} is called {name} now"


def _assert_failed(before: Page, wish: Wish, ended: Ended, source: Source, setting: Setting) -> None:
    """Tags that could not be read failed, and only they."""
    closed = source.forbidden - source.gone
    closed_names = {source.point(index).name for index in closed}
    assert setting.flaky or ended.failed <= closed_names, f"failed: {ended.failed}, cannot be read: {closed_names}"
    assert setting.flaky or ended.finished or ended.status == "interrupted", ended
    if not ended.finished:
        return
    assert (ended.status == "succeeded") == (not ended.failed), ended
    marks: Mapping[int, Mark] = {index: before.marks.get(web_id_of(index), _NOTHING) for index in closed}
    must = {
        source.point(index).name
        for index, mark in marks.items()
        if (
            mark.low < mark.present if wish.repair else _is_to_move(mark, wish.until(source, setting, index, mark.high))
        )
        and wish.begin(setting) < wish.until(source, setting, index, mark.high)
    }
    assert ended.failed >= must, f"failed: {ended.failed}, must fail: {must}"


def _is_to_move(mark: Mark, until: int) -> bool:
    return mark.low == mark.high or until > mark.high


def _assert_points(after: Page, source: Source) -> None:
    """pi_tags says of each point what it is now, and which are gone."""
    seen = {row["tag_webid"]: row for row in after.points.values()}
    for index in _known(after, source):
        point, row = source.point(index), seen[web_id_of(index)]
        assert (row["deleted_at"] is not None) == (index in source.gone), row
        if index not in source.gone:
            assert (row["name"], row["point_type"]) == (point.name, point.type), row


def _known(after: Page, source: Source) -> Iterable[int]:
    """Points that are there, and those that are gone but were seen before."""
    for index in range(source.size):
        if index not in source.gone or web_id_of(index) in after.points:
            yield index
