"""Charts as SVG, for a page that loads nothing. Pure.

Colours are classes of the page's style sheet, so that charts follow light, dark and print. A chart is as wide as its
place allows; its text is sized for 360 units, the width of a phone.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .markup import Html, element, joined

_WIDTH, _HEIGHT = 360, 150
_LEFT, _TOP, _BOTTOM = 46, 8, 18
_ROW, _NAME, _NUMBER = 20, 88, 44
_STRIP = 44


@dataclass(frozen=True, slots=True)
class Series:
    """What one colour shows: a number for each label."""

    name: str
    values: Sequence[float]
    colour: str = "c1"  # a class of the style sheet: c1 to c3, good, bad, part


def columns(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    shown: Callable[[float], str],
    stacked: bool = True,
    top_of: Callable[[float], float] | None = None,
) -> Html:
    """A column for each label: the series on top of each other, or side by side. `shown`: a number as people read it;
    `top_of`: the end of the axis for the largest number.

    Raises `ValueError` if a series has not as many values as there are labels.
    """
    totals = [
        sum(values) if stacked else max(values, default=0)
        for values in zip(*(each.values for each in series), strict=True)
    ]
    if len(totals) != len(labels):
        raise ValueError(f"{len(labels)} labels for {len(totals)} values")
    top = (top_of or ceiling)(max(totals, default=0))
    height, width = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT) / max(1, len(labels))
    drawn: list[Html] = []
    for share in (0.0, 0.5, 1.0):
        y = _TOP + height * (1 - share)
        drawn.append(element("line", x1=_LEFT, x2=_WIDTH, y1=y, y2=y, class_="grid"))
        drawn.append(element("text", shown(top * share), x=_LEFT - 5, y=y + 4, text_anchor="end"))
    for n, label in enumerate(labels):
        y = float(_TOP + height)
        for place, each in enumerate(series):
            tall = height * each.values[n] / top
            if stacked:
                y, x, wide = y - tall, _LEFT + n * width, width * 0.8
            else:
                wide = width * 0.8 / len(series)
                y, x = _TOP + height - tall, _LEFT + n * width + place * wide
            if each.values[n] > 0:
                name = f"{label}: {shown(each.values[n])} {each.name}"
                drawn.append(_bar(x, y, wide, max(tall, 1), colour=each.colour, name=name))
    for n in _named(len(labels)):
        anchor = "start" if n == 0 else "end" if n == len(labels) - 1 else "middle"
        x = _LEFT + width * (0 if n == 0 else n + 0.8 if n == len(labels) - 1 else n + 0.4)
        drawn.append(element("text", labels[n], x=x, y=_HEIGHT - 4, text_anchor=anchor))
    return _drawing(title, _HEIGHT, drawn)


def rows(title: str, names: Sequence[str], values: Sequence[float], *, shown: Callable[[float], str]) -> Html:
    """A row for each name, with a bar as long as its number."""
    most = max(values, default=0) or 1
    drawn: list[Html] = []
    for n, (name, value) in enumerate(zip(names, values, strict=True)):
        y, wide = n * _ROW, (_WIDTH - _NAME - _NUMBER) * value / most
        drawn.append(element("text", name, x=_NAME - 6, y=y + 14, text_anchor="end"))
        if value > 0:
            drawn.append(_bar(_NAME, y + 4, max(wide, 1), _ROW - 8, colour="c1", name=f"{name}: {shown(value)}"))
        drawn.append(element("text", shown(value), x=_NAME + wide + 5, y=y + 14, class_="number"))
    return _drawing(title, _ROW * max(1, len(names)), drawn)


def strip(title: str, shares: Sequence[float | None], ends: tuple[str, str], *, names: Sequence[str]) -> Html:
    """Time as a strip: each column is filled as far as its share is done; None leaves a blank. `names`: of the columns.

    A column is full only if its share is 1, and empty only if it is 0.
    """
    width = _WIDTH / max(1, len(shares))
    drawn: list[Html] = []
    for n, share in enumerate(shares):
        if share is None:
            continue
        filled = _STRIP if share >= 1 else 0 if share <= 0 else min(_STRIP - 2, max(2, _STRIP * share))
        drawn.append(_bar(n * width, 0, width - 0.6, _STRIP, colour="rest", name=names[n]))
        if filled:
            colour = "good" if share >= 1 else "part"
            drawn.append(_bar(n * width, _STRIP - filled, width - 0.6, filled, colour=colour, name=names[n]))
    for label, x, anchor in ((ends[0], 0, "start"), (ends[1], _WIDTH, "end")):
        drawn.append(element("text", label, x=x, y=_STRIP + 14, text_anchor=anchor))
    return _drawing(title, _STRIP + 18, drawn)


def ceiling(most: float) -> float:
    """The end of an axis: 1, 2 or 5 times a power of ten, at least `most` and above 0."""
    if most < sys.float_info.min:  # nothing, or too little for arithmetic
        return 1
    power = 10.0 ** math.floor(math.log10(most))
    return next((step * power for step in (1, 2, 5) if step * power >= most), 10 * power)


def time_ceiling(secs: float) -> float:
    """The same for seconds: whole minutes, hours or days."""
    whole = (60, 120, 600, 1_200, 3_600, 7_200, 21_600, 43_200, 86_400)
    if secs <= 30:
        return ceiling(secs)
    return next((length for length in whole if length >= secs), ceiling(secs / 86_400) * 86_400)


def _named(number: int) -> list[int]:
    """Which columns have their label written: the first, the middle and the last one."""
    return sorted({0, number // 2, number - 1}) if number > 4 else sorted({0, number - 1}) if number else []


def _bar(x: float, y: float, width: float, height: float, *, colour: str, name: str) -> Html:
    return element(
        "rect", element("title", name), x=x, y=y, width=max(width, 0.5), height=height, class_=f"bar {colour}"
    )


def _drawing(title: str, height: float, drawn: Sequence[Html]) -> Html:
    return element(
        "svg",
        element("title", title),
        joined(drawn),
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )
