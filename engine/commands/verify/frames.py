"""Compares event frames with the source, and shows what differs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from config import Config

from ...datasets.asset_reader import AssetReader
from ...datasets.event_frames import EVENT_FRAMES
from ...datasets.frame_check import FramesCheck, check_frames
from ...datasets.request_mode import choose_mode
from ...datasets.tags import ask_time
from ...piweb.times import iso_text
from ...run.connect import connect, lakehouse_of, watermarks_of
from ...telemetry.formats import count, format_time, printable


async def verify_frames(config: Config) -> list[FramesCheck]:
    """Compare the event frames of each AF database. Raises what the source and the destination raise."""
    marks = await asyncio.to_thread(watermarks_of, config, EVENT_FRAMES.name)
    async with connect(config) as source:
        now = await ask_time(source.client, config.extraction)
        mode = await choose_mode(source.client, source.url, config.extraction.request_mode)
        reader = AssetReader(source.client, source.url, mode, batch_size=config.extraction.batch_size)
        return await check_frames(config, reader, lakehouse_of(config), marks, now)


def print_frames(console: Console, found: Sequence[FramesCheck], limit: int) -> None:
    """`limit`: the most names of each kind to print."""
    if not found:
        console.print("No event frames are read yet, or all are compared by every run.")
    for one in found:
        if one.agrees:
            text = f"Event frames of {one.database}: PI and the table agree on {count(one.frames)}, {_span(one)}."
            console.print(Text(printable(text)), soft_wrap=True)
            continue
        console.print(Text(printable(f"Event frames of {one.database} differ, {_span(one)}:"), style="bold yellow"))
        kinds = {
            "not in the table": one.missing,
            "not as in PI": one.changed,
            "not in PI any more": one.gone,
            "not compared": one.unread,
        }
        for what, names in kinds.items():
            for name in names[:limit]:
                console.print(Text(f"  {what}: {printable(name)}"), soft_wrap=True)
            if len(names) > limit:
                console.print(Text(f"  {what}: {count(len(names) - limit)} more"), soft_wrap=True)
        console.print("`run --mode full --datasets event_frames` puts it right.", soft_wrap=True)


def frames_failure(found: Sequence[FramesCheck]) -> str | None:
    """One sentence on what differs; None where everything agrees."""
    names = [one.database for one in found if not one.agrees]
    return f"verify: event frames of {', '.join(names)} differ, or could not be compared" if names else None


def _span(one: FramesCheck) -> str:
    return f"{format_time(one.window.start)} to {format_time(one.window.end)}"


def as_list(found: Sequence[FramesCheck]) -> list[dict[str, Any]]:
    """As JSON values."""
    return [
        {
            "database": one.database,
            "start": iso_text(one.window.start),
            "end": iso_text(one.window.end),
            "frames": one.frames,
            "missing": list(one.missing),
            "changed": list(one.changed),
            "gone": list(one.gone),
            "unread": list(one.unread),
        }
        for one in found
    ]
