"""The chart of a tuning: throughput, latency and memory over the settings. Draws into a file only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no window, wherever this runs

from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.lab.knobs import KNOBS, Setting, Trial
from benchmarks.lab.sweep import TuningResult, typical

__all__ = ["draw", "short"]

_INK, _FAINT, _GRID = "#1f2933", "#7b8794", "#e4e7eb"
_LINE, _SHADE, _BEST = "#2563a8", "#dbe7f4", "#e4572e"
_HALO = [patheffects.withStroke(linewidth=3, foreground="white")]  # labels stay legible on lines


def draw(outcome: TuningResult, path: Path, *, subtitle: str) -> None:
    """Three rows (throughput, latency, memory), a column for each setting that was varied."""
    names = list(outcome.sweeps)
    with plt.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": _INK, "axes.edgecolor": _GRID}):
        figure, grid = plt.subplots(
            3, len(names), figsize=(3.5 * len(names) + 1.2, 9.2), sharey="row", sharex="col", squeeze=False,
            gridspec_kw={"hspace": 0.16, "wspace": 0.09, "height_ratios": [1.35, 1, 1]},
        )  # fmt: skip
        for column, name in enumerate(names):
            settings, trials = outcome.sweeps[name], _of_sweep(outcome, name)
            best = next(s for s in settings if getattr(s, name) == getattr(outcome.recommended, name))
            at = settings.index(best)
            top, middle, bottom = (grid[row][column] for row in range(3))
            _dots(top, settings, trials, "values_per_second", at, scale=1e-3, unit="k")
            _latency(middle, settings, trials, at, named=column == 0)
            _dots(bottom, settings, trials, "peak_mib", at, scale=1.0, unit="")
            knob = KNOBS[name]
            top.set_title(knob.title, fontsize=12.5, fontweight="bold", color=_INK, pad=24)
            top.text(0.5, 1.035, knob.says, transform=top.transAxes, ha="center", fontsize=9, color=_FAINT)
            bottom.set_xticks(range(len(settings)), [short(getattr(s, name)) for s in settings])
            bottom.set_xlabel(name, color=_FAINT, fontsize=9.5, labelpad=7)
            for axes in (top, middle, bottom):
                _tidy(axes, at, len(settings))
            bottom.get_xticklabels()[at].set(color=_BEST, fontweight="bold")
        for row, label in enumerate(
            ("Throughput\nthousand values per second", "Latency\nmilliseconds, p50 and p95", "Memory\nMiB at the peak")
        ):
            grid[row][0].set_ylabel(label, color=_INK, fontsize=10, labelpad=9)
            highest = max(line.get_ydata().max() for axes in grid[row] for line in axes.lines)
            grid[row][0].set_ylim(0, 1.18 * highest)
        _headline(figure, outcome, subtitle)
        figure.savefig(path, dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.3)
        plt.close(figure)


def _of_sweep(outcome: TuningResult, name: str) -> list[Trial]:
    """The trials of one column, which ran one after the other."""
    return [trial for trial in outcome.trials if trial.knob == name]


def short(number: int) -> str:
    """1500 as 1.5k, 1000000 as 1M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)


def _spoken(rate: float) -> str:
    return f"{rate / 1e6:.2f} million" if rate >= 1e6 else f"{rate / 1e3:,.0f} thousand"


def _headline(figure: Any, outcome: TuningResult, subtitle: str) -> None:
    setting = outcome.recommended
    chosen = "   ".join(f"{name} {getattr(setting, name):,}" for name in outcome.sweeps)
    last = list(outcome.sweeps)[-1]
    assert setting in outcome.sweeps[last]
    trials = _of_sweep(outcome, last)
    speed, p95, memory = (typical(trials, setting, f) for f in ("values_per_second", "p95_ms", "peak_mib"))
    figure.text(0.125, 1.035, f"{_spoken(speed)} values per second", fontsize=19, fontweight="bold")
    figure.text(0.125, 1.003, f"with {chosen}", fontsize=11.5, color=_BEST, fontweight="bold")
    figure.text(
        0.125,
        0.972,
        f"95 % of requests within {p95:,.0f} ms, {memory:,.0f} MiB of memory. {subtitle}",
        fontsize=9.5,
        color=_FAINT,
    )
    figure.text(
        0.125, 0.025,
        "Each column varies one setting, the others at their best so far; columns were measured from left to right, each whole. "
        "Dots are trials, lines go through their medians.\nMarked: recommended, the gentlest setting within 5 % of the fastest, or within the spread of the baseline.",
        fontsize=8.5, color=_FAINT, va="top",
    )  # fmt: skip


def _dots(
    axes: Axes, settings: Sequence[Setting], trials: Sequence[Trial], figure: str, best: int, *, scale: float, unit: str
) -> None:
    """Every trial as a dot, a line through the medians, the recommended one marked and labelled."""
    for at, setting in enumerate(settings):
        seen = [getattr(trial, figure) * scale for trial in trials if trial.setting == setting]
        axes.plot([at] * len(seen), seen, "o", color=_LINE, alpha=0.28, markersize=5, markeredgewidth=0, zorder=2)
    middle = [typical(trials, setting, figure) * scale for setting in settings]
    axes.plot(range(len(settings)), middle, color=_LINE, linewidth=2, zorder=3)
    axes.plot(
        best, middle[best], "o", color=_BEST, markersize=10, markeredgecolor="white", markeredgewidth=1.6, zorder=5
    )
    axes.annotate(
        f"{middle[best]:,.0f}{unit}", (best, middle[best]), xytext=(0, 11), textcoords="offset points", ha="center",
        fontsize=10, fontweight="bold", color=_BEST, zorder=6, path_effects=_HALO,
    )  # fmt: skip


def _latency(axes: Axes, settings: Sequence[Setting], trials: Sequence[Trial], best: int, *, named: bool) -> None:
    """The band between the median request and the slowest twentieth."""
    low = [typical(trials, setting, "p50_ms") for setting in settings]
    high = [typical(trials, setting, "p95_ms") for setting in settings]
    across = range(len(settings))
    axes.fill_between(across, low, high, color=_SHADE, linewidth=0, zorder=1)
    end = 0 if best else len(settings) - 1  # name the lines once, where nothing is marked
    for name, line, width in (("p95", high, 1.3), ("p50", low, 2.0)):
        axes.plot(across, line, color=_LINE, linewidth=width, zorder=3)
        axes.plot(
            best, line[best], "o", color=_BEST, markersize=7.5, markeredgecolor="white", markeredgewidth=1.3, zorder=5
        )
        if named:
            axes.annotate(
                name, (end, line[end]), xytext=(0, 5 if name == "p95" else -13), textcoords="offset points",
                ha="center", fontsize=9, color=_FAINT, zorder=4, path_effects=_HALO,
            )  # fmt: skip
    axes.annotate(
        f"{low[best]:,.0f} / {high[best]:,.0f}", (best, high[best]), xytext=(0, 9), textcoords="offset points",
        ha="center", fontsize=10, fontweight="bold", color=_BEST, zorder=6, path_effects=_HALO,
    )  # fmt: skip


def _tidy(axes: Axes, best: int, count: int) -> None:
    axes.set_xlim(-0.5, count - 0.5)
    half = 0.07 * count
    axes.axvspan(best - half, best + half, color=_BEST, alpha=0.07, linewidth=0, zorder=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(length=0, colors=_FAINT, labelsize=9.5)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
