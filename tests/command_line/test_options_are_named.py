"""An option that is given a value it cannot take is named in the error, and no key of the configuration is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cli import commands
from engine.simulator import process as simulator

from .conftest import Called, written

NOWHERE = "http://127.0.0.1:9/piwebapi"
# An option that is given as "" counts as not given: jobs pass their parameters on so.
# Options whose value is text of the user's own: a name, a file, a pattern. What is wrong with one shows later.
FREE = {
    "--config", "--set", "--run-id", "--take-over", "--tags", "--tag", "--html", "--database", "--template", "--name",
    "--warehouse", "--host", "--bearer", "--output", "--username", "--secrets-scope", "--ca-bundle", "--data-server",
    "--filter", "--root", "--url", "--bundle", "--auth-type", "--profile", "--mode",
}  # fmt: skip
TIMES = st.sampled_from(["yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "now+", "1.1.2024", "-"])
WRONG: dict[str, st.SearchStrategy[str]] = {
    "--start": TIMES,
    "--end": TIMES,
    "--begin": st.sampled_from(["xx", "2024-13-01T00:00:00Z", "2024-01-01T05:00:00Z"]),
    "--now": st.sampled_from(["xx", "2024-13-01T00:00:00Z"]),
    "--max-age": st.sampled_from(["long", "-5m", "1 fortnight", ""]),
    "--interval": st.sampled_from(["often", "60 of them", "0s"]),
    "--future-renewed": st.sampled_from(["often", "300h"]),
    "--future-reach": st.sampled_from(["far", "1s"]),
    "--datasets": st.sampled_from(["recordd", "tags,none", ",", "event frames", "recorded,assets"]),
    "--shard": st.sampled_from(["4/4", "1", "a/b", "-1/2", "0/0"]),
    "--pipeline": st.sampled_from(["a/b", "a b", "ä"]),
    "--catalog": st.sampled_from(["a.b", "a b", "a`b"]),
    "--schema": st.sampled_from(["a.b", "a b", "a`b"]),
    "--secret-from": st.sampled_from(["geheim", "env:", "env:1A", "secret:scope"]),
    "--basic": st.sampled_from(["user", ":", "user:NOT_SET_ANYWHERE"]),
    "--faults": st.sampled_from(["not-there.yaml"]),
}
NUMBERS = st.sampled_from(["x", "-1", "1e400", ""])
NEEDED = {
    "init": (
        "-o",
        "new.yaml",
        "--force",
        "--no-input",
        "--offline",
        "--url",
        NOWHERE,
        "--username",
        "u",
        "--catalog",
        "main",
    ),
    "report": ("--html", "page.html"),
}


def options_of(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Option]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from options_of(command, (*before, name))
        else:
            yield from (((*before, name), one) for one in command.params if isinstance(one, click.Option))


def wrong_values(option: click.Option) -> st.SearchStrategy[str] | None:
    """Values that the option cannot take; None if it takes any text."""
    name = option.opts[-1]
    if isinstance(option.type, click.Choice):
        return st.just("none-of-them")
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        return NUMBERS.filter(lambda text: name not in {"--seed", "--watch"} or text != "-1")
    return WRONG.get(name)


OPTIONS = [(path, one) for path, one in options_of(commands) if not one.is_flag]
CHECKED = [(path, one) for path, one in OPTIONS if wrong_values(one) is not None]


def test_each_option_is_either_checked_or_free() -> None:
    names = {one.opts[-1] for _, one in OPTIONS}
    checked = {one.opts[-1] for _, one in CHECKED}
    assert names == checked | (FREE & names)


@pytest.mark.parametrize(
    ("path", "option"), CHECKED, ids=lambda one: " ".join(one) if isinstance(one, tuple) else one.opts[-1]
)
def test_an_option_that_is_wrong_is_named(
    called: Called, here: Path, path: tuple[str, ...], option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def served(*_: object) -> None:
        raise AssertionError("the simulator was started")

    monkeypatch.setattr(simulator, "serve_until_stopped", served)
    written(here, NOWHERE)
    values = wrong_values(option)
    assert values is not None
    name = option.opts[-1]
    configured = ("-c", "plant.yaml") if any("--config" in one.opts for of, one in OPTIONS if of == path) else ()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=8)
    @given(value=values)
    def named(value: str) -> None:
        done = called(*path, *configured, *NEEDED.get(path[0], ()), f"{name}={value}")
        [error, *_] = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert (done.code, name in error, "$." in error) == (2, True, False), error

    named()
