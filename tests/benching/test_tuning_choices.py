"""What tuning recommends, and that a budget of requests is a budget."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lab.knobs import (
    KNOBS,
    Knob,
    Setting,
    Trial,
    candidates,
    compared,
    in_turn,
    no_difference,
    overrides,
    percentile,
    snippet,
    spread_of,
)
from benchmarks.lab.knobs import recommend as recommended
from benchmarks.lab.meter import WORST_SENDS, AllowanceSpentError, Meter
from benchmarks.lab.sweep import LEAST_REQUESTS, shares
from config import load
from config.errors import ConfigurationError
from engine.net.client import ClientStats
from engine.piweb.http import Request, Response


def trial(setting: Setting, speed: float) -> Trial:
    return Trial(setting, speed, 50, 80, 300, 1000, 10)


def recommend(tried: Sequence[Setting], knob: Knob, trials: Sequence[Trial]) -> Setting:
    """By the trials alone, as where no baseline was measured."""
    nowhere = Setting(batch_size=9_999)
    assert nowhere not in tried
    return recommended(knob, compared(nowhere, trials))


def settings(name: str, *values: int) -> list[Setting]:
    return candidates(Setting(), KNOBS[name], values)


def test_of_equals_the_one_that_presses_the_server_least_is_recommended() -> None:
    tried = settings("max_in_flight", 2, 4, 8, 16)
    trials = [trial(s, v) for s, v in zip(tried, (200, 390, 400, 395), strict=True)]
    assert recommend(tried, KNOBS["max_in_flight"], trials).max_in_flight == 4


def test_of_equals_the_larger_commit_is_recommended_for_it_makes_fewer_files() -> None:
    tried = settings("commit_rows", 100_000, 500_000, 1_000_000)
    trials = [trial(s, v) for s, v in zip(tried, (390, 400, 385), strict=True)]
    assert recommend(tried, KNOBS["commit_rows"], trials).commit_rows == 1_000_000


def test_one_lucky_trial_does_not_decide() -> None:
    tried = settings("max_in_flight", 4, 8)
    trials = [trial(tried[0], v) for v in (300, 310, 305)] + [trial(tried[1], v) for v in (600, 200, 190)]
    assert recommend(tried, KNOBS["max_in_flight"], trials).max_in_flight == 4


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=8))
def test_what_is_recommended_is_never_much_slower_than_the_fastest(speeds: list[float]) -> None:
    tried = [Setting(batch_size=n + 1) for n in range(len(speeds))]
    trials = [trial(s, v) for s, v in zip(tried, speeds, strict=True)]
    chosen = recommend(tried, KNOBS["batch_size"], trials)
    assert speeds[tried.index(chosen)] >= 0.95 * max(speeds)


def test_the_baseline_is_measured_again_between_all_others() -> None:
    tried = settings("batch_size", 25, 50, 250)
    base, others = Setting(), [each for each in tried if each != Setting()]
    order = in_turn(base, others)
    assert order[::2] == [base] * 4
    assert order[1::2] == others


def test_a_machine_that_slows_down_makes_no_setting_slower_than_another() -> None:
    """Each speed falls by a tenth from trial to trial: beside its neighbours, no setting is slower than the baseline."""
    base, others = Setting(), settings("batch_size", 25, 50, 250)[:2]
    trials = [trial(each, 1000 * 0.9**n) for n, each in enumerate(in_turn(base, others))]
    speed = compared(base, trials)
    assert all(value == pytest.approx(1, abs=0.01) for value in speed.values())
    assert spread_of(base, trials) == pytest.approx(0.42, abs=0.01)
    assert no_difference(speed, spread_of(base, trials))


def test_a_difference_that_is_larger_than_the_spread_is_one() -> None:
    base = Setting()
    [twice] = [each for each in settings("batch_size", 250) if each != base]
    trials = [trial(base, 100), trial(twice, 200), trial(base, 104)]
    speed, spread = compared(base, trials), spread_of(base, trials)
    assert speed[twice] == pytest.approx(200 / 102)
    assert not no_difference(speed, spread)
    assert recommended(KNOBS["batch_size"], speed, spread) == twice


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=9), st.floats(0, 3))
def test_no_difference_is_said_only_where_the_spread_hides_one(speeds: list[float], spread: float) -> None:
    speed = {Setting(batch_size=n + 1): value for n, value in enumerate(speeds)}
    assert no_difference(speed, spread) is (min(speeds) >= (1 - max(0.05, spread)) * max(speeds))


def test_the_snippet_says_what_made_no_difference() -> None:
    text = snippet(Setting(), ["batch_size", "max_in_flight"], undecided=["batch_size"])
    assert text.startswith("# batch_size: no difference\n")
    assert yaml.safe_load(text) == {"extraction": {"batch_size": 100}, "pi_web_api": {"max_in_flight": 4}}


def test_nothing_measured_is_nothing_recommended() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        recommended(KNOBS["batch_size"], {})


def test_the_snippet_can_be_pasted_into_a_configuration(tmp_path) -> None:
    setting = Setting(250, 50_000, 8, 500_000)
    path = tmp_path / "pasted.yaml"
    path.write_text(snippet(setting))
    assert yaml.safe_load(path.read_text())["performance"] == {"values_per_answer": 50_000, "commit_rows": 500_000}
    for loaded in (load(path), load(None, overrides(setting))):
        assert loaded.config.extraction.batch_size == 250
        assert loaded.config.pi_web_api.max_in_flight == 8
        assert loaded.config.performance.commit_rows == 500_000


@given(st.integers(1, 5000), st.integers(0, 200), st.integers(1, 40), st.integers(1, 32))
def test_trials_and_their_accidents_fit_the_budget(budget: int, used: int, trials: int, in_flight: int) -> None:
    try:
        share = shares(budget, used, trials, in_flight)
    except ConfigurationError as error:
        least = int(error.hint.split()[3])
        assert least > budget
        assert shares(least, used, trials, in_flight) == LEAST_REQUESTS
        return
    assert share is not None
    assert share >= LEAST_REQUESTS
    # Whatever the last trial sends beyond its share was held back; what earlier ones did shrinks theirs.
    assert used + trials * share + in_flight * (WORST_SENDS - 1) <= budget


def test_without_a_budget_nothing_is_shared_out() -> None:
    assert shares(None, 10, 5, 4) is None


def test_percentiles_of_few_and_of_none() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0


class Wire:
    """Counts like a client whose every call is sent `times` times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.sent = 0

    def statistics(self) -> ClientStats:
        return ClientStats(requests=self.sent)

    async def send(self, _request: Request, *, max_body_bytes: int | None = None, check: object = None) -> Response:
        self.sent += self.times
        return Response(status=200, body=b"{}", headers={}, elapsed_secs=0.25, first_byte_secs=0.1)


async def test_the_meter_counts_what_was_really_sent_and_stops_there() -> None:
    spent: list[str] = []
    wire = Wire(times=2)
    meter = Meter(wire, 6, lambda: spent.append("spent"))  # type: ignore[arg-type]  # all of the client it uses
    for _ in range(3):
        await meter.send(Request("GET", "/"))
    with pytest.raises(AllowanceSpentError):
        await meter.send(Request("GET", "/"))
    assert wire.sent == meter.used == 6
    assert spent
    assert meter.latencies == [0.25] * 3
