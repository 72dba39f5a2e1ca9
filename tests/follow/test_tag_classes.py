"""Classes of tags: the first that matches counts, by names as PI compares them."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ExtractionConfig, InvalidConfigurationError, from_mapping, masked
from engine.plan.tag_classes import TagClass, class_of, classes_of

MINUTE = 60_000_000


def extraction(**keys: object) -> ExtractionConfig:
    return from_mapping({"extraction": keys}).config.extraction


def test_the_first_class_that_matches_counts():
    of = class_of(
        extraction(
            interval="1h",
            lookback="1h",
            classes=[
                {"name": "critical", "tags": ["CRIT.*", "REACTOR?.P", "\\\\PISRV\\Boiler1.Trip"], "interval": "1m"},
                {"name": "slow", "tags": "*", "lookback": 0},
            ],
        )
    )
    critical, slow = TagClass("critical", MINUTE, 60 * MINUTE), TagClass("slow", 60 * MINUTE, 0)
    found = {name: of(name) for name in ("crit.7", "xCRIT.7", "Reactor2.P", "REACTOR22.P", "BOILER1.TRIP", "CRIT")}
    assert found == {
        "crit.7": critical,
        "xCRIT.7": slow,
        "Reactor2.P": critical,
        "REACTOR22.P": slow,
        "BOILER1.TRIP": critical,
        "CRIT": slow,
    }


def test_a_class_may_read_further_ahead_than_others_or_not_at_all():
    of = class_of(
        extraction(
            future_horizon="7d",
            classes=[
                {"name": "prices", "tags": "PRICE.*", "future_horizon": "2d"},
                {"name": "plans", "tags": "PLAN.*", "future_horizon": 0},
                {"name": "others", "tags": "O*"},
            ],
        )
    )
    day = 24 * 60 * MINUTE
    assert [of(name).horizon_micros for name in ("Price.1", "Plan.1", "O", "X")] == [2 * day, 0, 7 * day, 7 * day]
    assert [one.horizon_micros for one in classes_of(extraction())] == [None]


def test_tags_of_no_class_have_the_intervals_of_all():
    chosen = extraction(classes=[{"name": "a", "tags": "A*"}])
    assert class_of(chosen)("B") == TagClass("default", 5 * MINUTE, 0)
    assert [one.name for one in classes_of(chosen)] == ["a", "default"]


@given(
    st.lists(st.text("aAbB.*?[!]\\-", min_size=1, max_size=6).filter(lambda t: not t.startswith("\\\\")), min_size=1),
    st.text("aAbB.[!]\\-*?", max_size=6),
)
def test_a_class_matches_what_any_of_its_patterns_matches(patterns: list[str], name: str):
    """Against another matcher of the standard library, whose brackets are told to be brackets."""
    of = class_of(extraction(classes=[{"name": "one", "tags": patterns}]))
    theirs = any(fnmatch.fnmatchcase(name.lower(), p.lower().replace("[", "[[]")) for p in patterns)
    assert (of(name).name == "one") == theirs


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ([{"name": "a", "tags": "x"}, {"name": "a", "tags": "y"}], "classes[1].name: found 'a', as in classes[0]"),
        ([{"name": "default", "tags": "x"}], "classes[0].name: found 'default', the name of the tags of no class"),
        ([{"name": "a"}], "classes[0].tags: found nothing"),
        ([{"name": "a", "tags": ["x", ""]}], "classes[0].tags[1]: found empty text"),
        ([{"name": "a", "tags": "x", "interval": "0s"}], "classes[0].interval: found '0s'"),
        ([{"name": "a", "tags": "x", "future_horizon": "-1d"}], "classes[0].future_horizon: found '-1d'"),
        ([{"name": "a", "tags": "x", "horizon": "1d"}], "did you mean `future_horizon`?"),
        ([{"tags": "x"}], "classes[0].name: found nothing"),
        ([{"name": "a", "tags": "x", "intervall": "1m"}], "did you mean `interval`?"),
    ],
)
def test_what_a_class_cannot_be(classes: list[object], told: str):
    with pytest.raises(InvalidConfigurationError) as refused:
        extraction(classes=classes)
    assert told in str(refused.value)


def test_what_is_shown_of_classes_can_be_loaded_again():
    given = {"extraction": {"classes": [{"name": "a", "tags": ["x"], "interval": "90s", "lookback": "2h"}]}}
    config = from_mapping(given).config
    assert masked(config)["extraction"]["classes"] == given["extraction"]["classes"]
    assert from_mapping(masked(config)).config == config
