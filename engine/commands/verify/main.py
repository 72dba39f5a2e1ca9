"""Carries out `verify`: compares, repairs if wanted, and leaves a row in the metrics table."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console

from config import Config, Instant, check_runnable, parse_instant
from config.errors import ConfigurationError
from config.problems import ExpectedError

from ...clock import wall_micros
from ...datasets.asset_framework import ASSETS
from ...datasets.event_frames import EVENT_FRAMES
from ...datasets.frame_check import FramesCheck
from ...datasets.recorded_values import RECORDED
from ...datasets.registry import DATASETS, Registry
from ...datasets.sampled import SAMPLED
from ...run.job import wait_for
from ..exit_status import CommandResult
from ..options import load_config
from ..terminal import print_json, stderr_console, stdout_console
from .assets import AssetsCheck, assets_as_dict, assets_failure, print_assets, verify_assets
from .compute import Scope
from .frames import as_list, frames_failure, print_frames, verify_frames
from .metrics_row import VerifyMetricsWriter
from .render import as_dict, failure, print_outcome
from .repair import VerifyOutcome, verify_and_repair
from .sampled import SampledCheck, print_sampled, sampled_as_dict, sampled_failure, verify_sampled


def main(
    *,
    path: str | None,
    overrides: tuple[str, ...],
    start: str | None,
    end: str | None,
    patterns: tuple[str, ...],
    datasets: str | None,
    repair: bool,
    deep: bool,
    run_id: str | None,
    limit: int,
    json_wanted: bool,
) -> CommandResult:
    if deep and not repair:
        raise click.UsageError("--deep repairs everything: it goes with --repair")
    console = stderr_console()
    config = load_config(path, overrides, console, datasets=datasets).config
    scope = Scope(_instant("--start", start), _instant("--end", end), patterns)
    done = carry_out(config, scope, repair=repair, deep=deep, run_id=run_id, console=console)
    if json_wanted:
        print_json(verified_dict(done))
    else:
        print_verified(stdout_console(), done, limit)
    return done.result


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` has done: of the tags, the event frames, the sampled values, the assets. None where they are not compared."""

    outcome: VerifyOutcome | None
    frames: tuple[FramesCheck, ...] | None
    sampled: SampledCheck | None = None
    assets: AssetsCheck | None = None

    @property
    def result(self) -> CommandResult:
        differ = frames_failure(self.frames or ()) or sampled_failure(self.sampled) or assets_failure(self.assets)
        code = 1 if differ else 0
        if self.outcome is None:
            return CommandResult(code, differ)
        return CommandResult(self.outcome.exit_code or code, failure(self.outcome) or differ)


def carry_out(
    config: Config, scope: Scope, *, repair: bool, deep: bool, run_id: str | None, console: Console
) -> Verified:
    """Compare what the configuration chooses, and repair if wanted. `run_id`: its name, if it has one.

    Raises `ConfigurationError`, and what the source and the destination raise.
    """
    check_runnable(config)
    chosen = DATASETS.chosen_by(config)
    _check_datasets(chosen)
    if repair and RECORDED.name not in chosen:
        raise ConfigurationError(
            "--repair repairs tags, and none are chosen",
            hint="`run --mode full --datasets event_frames` compares all event frames, and corrects the tables; "
            "`run --datasets assets` all assets; a run with a longer extraction.lookback compares sampled values.",
        )
    # Names of tags and a time choose among tags.
    frames = None
    if EVENT_FRAMES.name in chosen and scope == Scope():
        frames = tuple(wait_for(lambda: verify_frames(config)))
    assets = wait_for(lambda: verify_assets(config)) if ASSETS.name in chosen and scope == Scope() else None
    sampled = verify_sampled(config, scope, wall_micros()) if SAMPLED.name in chosen else None
    if RECORDED.name not in chosen:
        return Verified(None, frames, sampled, assets)
    name = run_id or uuid.uuid4().hex[:12]
    metrics = VerifyMetricsWriter(config, name) if repair or run_id else None
    try:
        outcome = verify_and_repair(config, scope, repair=repair, deep=deep, console=console, run_id=name)
    except BaseException as error:
        if metrics is not None:
            metrics.add_failure(error)
        raise
    if metrics is not None:
        metrics.add(outcome)
    return Verified(outcome, frames, sampled, assets)


def verified_dict(done: Verified) -> dict[str, Any]:
    """As JSON values."""
    others = {
        **({} if done.frames is None else {"event_frames": as_list(done.frames)}),
        **({} if done.sampled is None else {"sampled": sampled_as_dict(done.sampled)}),
        **({} if done.assets is None else {"assets": assets_as_dict(done.assets)}),
    }
    if done.outcome is None:
        return {**others, "exit_code": done.result.exit_code}
    return as_dict(done.outcome) | others


def print_verified(console: Console, done: Verified, limit: int) -> None:
    """`limit`: the most lines of each list."""
    if done.outcome is not None:
        print_outcome(console, done.outcome, limit)
    if done.frames is not None:
        print_frames(console, done.frames, limit)
    if done.sampled is not None:
        print_sampled(console, done.sampled, limit)
    if done.assets is not None:
        print_assets(console, done.assets, limit)


def _check_datasets(chosen: Registry) -> None:
    names = (RECORDED.name, SAMPLED.name, ASSETS.name, EVENT_FRAMES.name)
    if not any(name in chosen for name in names):
        others = [name for name in DATASETS.names if name not in names]
        raise ConfigurationError(
            "verify compares none of the datasets that are chosen",
            hint=f"Choose one with --datasets or extraction.datasets: {', '.join(names)}. "
            f"Not supported: {', '.join(others)}, which runs compare with the source.",
        )


def _instant(option: str, text: str | None) -> Instant | None:
    """Raises `click.UsageError`."""
    if text is None:
        return None
    try:
        return parse_instant(text)
    except ExpectedError as error:
        hint = f"; did you mean {error.suggestion}?" if error.suggestion else ""
        raise click.UsageError(f"{option} {text}: expected {error.expected}{hint}") from None
