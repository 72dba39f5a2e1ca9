"""`MirrorCheck` finds what `sync` writes, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.memory_lakehouse import MemoryLakehouse
from tests.mirrors.things import DAY, NOON, SPEC, THINGS, commits, stored, things
from writers.mirrors.check import MirrorCheck
from writers.mirrors.mirror import Listing, sync

Things = Mapping[int, str | None]
some = st.dictionaries(st.integers(0, 6), st.sampled_from(["one", "two", None]), max_size=5)
sites = st.fixed_dictionaries({"a": some, "b": some})


def of_site(site: str, shown: Things) -> dict[tuple[str | None, int], str | None]:
    return {(site, number): text for number, text in shown.items()}


def write(lakehouse: MemoryLakehouse, site: str, shown: Things, now: int, gone: set[str]) -> tuple[int, int, int]:
    done = sync(lakehouse, THINGS, Listing(things(of_site(site, shown)), now, gone=gone), on_step=lambda _step: None)
    return done.added, done.changed, done.missing


def compare(check: MirrorCheck, lakehouse: MemoryLakehouse, site: str, shown: Things, gone: set[str]) -> None:
    keyed = THINGS.keyed()
    for them in (set[str](), gone):  # as a crawl does: what was seen, and then also what is gone
        seen = Listing(things(of_site(site, shown)), NOON, gone=them)
        check.sync(lakehouse, THINGS, seen, on_step=lambda _step: None, keyed=keyed)


@examples(100)
@given(sites, sites, st.sets(st.sampled_from("ab")), st.sets(st.sampled_from("ab")))
def test_of_several_sources_it_counts_and_names_what_a_sync_of_each_writes(
    before: Mapping[str, Things], now: Mapping[str, Things], marked: set[str], gone: set[str]
) -> None:
    lakehouse = MemoryLakehouse()
    for site, of in before.items():
        write(lakehouse, site, of, NOON - 2 * DAY, set())
    for site in marked:
        write(lakehouse, site, {}, NOON - DAY, {site})
    there, version = stored(lakehouse), commits(lakehouse)
    check = MirrorCheck()
    for site, of in now.items():
        compare(check, lakehouse, site, of, gone & {site})
    assert (stored(lakehouse), commits(lakehouse)) == (there, version)
    found = check.tables[SPEC.name]
    written = [write(lakehouse, site, of, NOON, gone & {site}) for site, of in now.items()]
    counts = [found.missing.count, found.different.count, found.extra.count]
    assert counts == [sum(one) for one in zip(*written, strict=True)]
    shown = {key for site, of in now.items() for key in of_site(site, of)}
    assert found.source == len(shown)
    assert set(found.missing.names) == {f"{site}, {number}" for site, number in shown - there.keys()}
    living = {key for key, (_, at) in there.items() if at is None}
    left = {f"{site}, {number}" for site, number in living - shown if site in gone}
    assert set(found.extra.names) == left
    assert found.held == len(living & shown) + len(left)
    assert found.agrees == (not any(map(any, written)))


def test_no_table_is_created_and_only_the_first_rows_are_named() -> None:
    lakehouse = MemoryLakehouse()
    check = MirrorCheck()
    compare(check, lakehouse, "a", dict.fromkeys(range(1500), "one"), set())
    assert not lakehouse.table(SPEC).exists()
    found = check.tables[SPEC.name]
    assert (found.source, found.held, found.missing.count, len(found.missing.names)) == (1500, 0, 1500, 1000)


def test_rows_that_are_not_decided_are_those_that_were_not_seen() -> None:
    lakehouse = MemoryLakehouse()
    write(lakehouse, "a", {1: "one", 2: "two", 3: None}, NOON, set())
    check = MirrorCheck()
    compare(check, lakehouse, "a", {1: "one"}, set())
    check.undecided(THINGS, {"a"})
    found = check.tables[SPEC.name]
    assert (found.source, found.held, found.undecided.names, found.agrees) == (1, 3, ["a, 2", "a, 3"], False)
