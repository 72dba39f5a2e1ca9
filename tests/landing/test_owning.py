"""What a run makes of tags that another pipeline has: at its start they end it, later they are left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from config import from_mapping
from config.errors import ConfigurationError
from engine.datasets.tags import Inventory
from engine.model import Tag
from engine.piweb.points import TAGS_SCHEMA
from engine.run.tag_claims import TagClaims, refuse_held
from tests.landing.lake import land
from tests.memory_lakehouse import MemoryLakehouse
from writers import PI_TIMESERIES, Landing, LandingRun, Watermark, open_lakehouse
from writers.watermarks.store import WatermarkStore


def tag(name: str) -> Tag:
    return Tag(f"W-{name}", name)


def inventory(*names: str) -> Inventory:
    return Inventory(tuple(map(tag, names)), TAGS_SCHEMA.empty_table(), (("gone", "no such point"),), False, 0)


@pytest.fixture
def begun() -> Any:
    """Begins runs of pipelines over one lakehouse."""
    lakehouse = MemoryLakehouse()

    def begin(pipeline: str, *names: str, take_over: str | None = None) -> SimpleNamespace:
        config = from_mapping({"pipeline": pipeline}).config
        run = LandingRun(pipeline=pipeline, dataset="recorded", run_id=f"of {pipeline}")
        landing = Landing(lakehouse, PI_TIMESERIES, run)
        own = TagClaims(lakehouse, run, take_over=take_over)
        warnings = own.take_over(inventory(*names).tags)
        marks = landing.open()
        own.claim(landing, marks, inventory(*names).tags)
        return SimpleNamespace(
            own=own, landing=landing, marks=marks, config=config, lakehouse=lakehouse, warnings=warnings
        )

    return begin


def test_a_run_does_not_begin_with_tags_of_another_pipeline(begun) -> None:
    first = begun("a", "x", "y")
    with pytest.raises(
        ConfigurationError, match=r"2 of 3 tags of pipeline b are brought into .* by pipeline a: x, y\."
    ):
        begun("b", "x", "y", "z")
    with pytest.raises(ConfigurationError, match=r"1 of 1 tag of pipeline b is brought into .* by pipeline a: x\."):
        refuse_held(from_mapping({"pipeline": "b"}).config, first.lakehouse, [tag("x")])
    refuse_held(from_mapping({"pipeline": "b"}).config, first.lakehouse, [tag("z")])


def test_before_there_is_any_table_nothing_is_refused_and_none_is_made(tmp_path) -> None:
    refuse_held(from_mapping({"pipeline": "b"}).config, open_lakehouse(tmp_path), [tag("x")])
    assert list(tmp_path.iterdir()) == []


def test_a_tag_that_turns_up_later_and_is_anothers_is_left_out_and_named(begun) -> None:
    begun("a", "x")
    ours = begun("b", "y")
    found = ours.own.leave_out_claimed(ours.marks, inventory("x", "y", "z"))
    assert [one.name for one in found.tags] == ["y", "z"]
    assert [name for name, _ in found.unresolved] == ["gone", "x"]
    assert "pipeline a brings it into this table already" in found.unresolved[-1][1]
    with pytest.raises(ConfigurationError, match="by pipeline b: z"):  # what is free has been claimed
        begun("c", "z")
    same = inventory("y", "z")
    assert ours.own.leave_out_claimed(ours.marks, same) is same


def test_of_tags_that_both_have_brought_the_report_says_what_to_do(begun) -> None:
    lakehouse = begun("c", "other").lakehouse
    for pipeline in ("a", "b"):
        landing = Landing(
            lakehouse, PI_TIMESERIES, LandingRun(pipeline=pipeline, dataset="recorded", run_id="of earlier versions")
        )
        landing.open()
        land(landing, "W-x", 0, 2)
    taking = begun("b", "x", take_over="a")
    [warning] = taking.warnings
    assert warning.startswith("a and b had both brought x: ")
    assert "`verify --repair`" in warning
    assert taking.marks == WatermarkStore.of(
        [Watermark("W-x", 0, 2, 1, 2, last_event_digest=taking.marks["W-x"].last_event_digest)]
    )
    assert begun("b", "x", take_over="a").warnings == ()
