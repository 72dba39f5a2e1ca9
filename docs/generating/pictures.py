"""docs/images/*.svg: pictures that need no script, show by day and by night, and are made of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #222; text-anchor: middle }
.small { font-size: 12px; fill: #555 }
.box { fill: #f4f6f8; stroke: #667; stroke-width: 1.5 }
.table { fill: #dff1ea; stroke: #2a7f62; stroke-width: 1.5 }
.line { fill: none; stroke: #667; stroke-width: 1.5 }
.back { stroke-dasharray: 5 4 }
.done { fill: #2a7f62 } .new { fill: #5fb58f } .hole { fill: #c0392b } .open { fill: none; stroke: #889; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
text { fill: #e6e6e6 } .small { fill: #aab } .box { fill: #2a2f38; stroke: #99a } .table { fill: #1d4436; stroke: #5fb58f }
.line { stroke: #99a }
}
"""
_HEAD = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
_TIP = f'<defs>{_HEAD}<path d="M0 0L8 4L0 8z" fill="#778"/></marker></defs>'


def svg(title: str, width: int, height: int, parts: Iterable[str]) -> str:
    """A picture of its own, `width` by `height` pixels, that readers of the screen know by its title."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", _TIP, *parts, "</svg>", ""])


def text(x: int, y: int, words: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(words)}</text>'


def box(x: int, y: int, lines: Sequence[str], kind: str = "box") -> str:
    """A box of 130 by 54 pixels around (x, y)."""
    top = y + 5 - 9 * (len(lines) - 1)
    words = [text(x, top + 18 * n, line, "small" if n else "") for n, line in enumerate(lines)]
    return f'<rect x="{x - 65}" y="{y - 27}" width="130" height="54" rx="7" class="{kind}"/>' + "".join(words)


def arrow(path: str, *, back: bool = False) -> str:
    return f'<path d="{path}" class="line{" back" if back else ""}" marker-end="url(#tip)"/>'


def way() -> str:
    """The way of the data, from the configuration to the tables."""
    return svg(
        "The way of the data",
        860,
        225,
        [
            *(box(85, 60, ["configuration", "YAML, secrets"]), box(255, 60, ["plan", "tags, windows"])),
            *(box(425, 60, ["gate", "rate, in flight"]), box(595, 60, ["PI Web API"])),
            *(box(765, 60, ["decode", "JSON to Arrow"]), box(765, 190, ["buffer", "bounded in bytes"])),
            *(box(595, 190, ["Parquet files"]), box(425, 190, ["pi_timeseries", "commit 1"], "table")),
            box(255, 190, ["pi_watermarks", "commit 2"], "table"),
            *(arrow("M150 60H188"), arrow("M320 60H358"), arrow("M490 60H528"), arrow("M660 60H698")),
            *(arrow("M765 87V161"), arrow("M700 190H662"), arrow("M530 190H492"), arrow("M360 190H322")),
            arrow("M255 163V89"),
            arrow("M740 163C700 110 560 130 445 89", back=True),
            arrow("M765 33C700 -5 330 -5 255 31", back=True),
            *(text(510, 20, "again, less, or give up", "small"), text(590, 136, "room", "small")),
            text(308, 130, "where to go on", "small"),
            text(
                430, 260, "Every request passes the gate, repetitions too. Nothing is read that there is no room for."
            ),
            text(430, 284, "A run that dies between the two commits is finished by the next one."),
        ],
    )


def timeline() -> str:
    """The time of one tag: what is done, what is not, and why."""
    return svg(
        "The time line of a tag",
        760,
        170,
        [
            '<rect x="20" y="60" width="140" height="40" class="open"/>',
            '<rect x="160" y="60" width="330" height="40" class="done"/>',
            '<rect x="300" y="60" width="36" height="40" class="hole"/>',
            '<rect x="490" y="60" width="70" height="40" class="new"/>',
            '<rect x="560" y="60" width="80" height="40" class="open"/>',
            '<path d="M640 46V114" class="line"/>',
            *(text(90, 85, "history"), text(600, 85, "lag"), text(640, 38, "now"), text(525, 50, "lookback")),
            *(text(160, 122, "low"), text(318, 122, "hole"), text(560, 122, "high")),
            text(360, 152, "done: from low to high, except for holes"),
        ],
    )


def pictures() -> dict[str, str]:
    """Each picture, by its name."""
    return {"way_of_the_data.svg": way(), "time_line.svg": timeline()}
