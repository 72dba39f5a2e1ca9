"""Progress in a notebook: one bar, which is updated in place, so that a saved page has one line of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from ..clock import monotonic
from .events import Answered, DatasetProgress, DatasetSynced, Finished, Planned, RunEvent, Started, Stopping, TagsFound
from .formats import one_line
from .progress import Left, Rates

# A notebook keeps up with so many updates, also over a slow network.
EVERY_SECS = 0.5
_BAR = "width:20em;max-width:40%;vertical-align:middle"


@dataclass(frozen=True, slots=True)
class ProgressBar:
    """What the notebook shows: a share from 0 to 1, None while it is not known, and a text. `over`: a bar that is not
    full would seem to go on.
    """

    share: float | None
    text: str
    over: bool = False

    def __repr__(self) -> str:
        return self.text if self.share is None else f"{100 * self.share:3.0f} %  {self.text}"

    def _repr_html_(self) -> str:
        if self.over and self.share is None:
            return f"<div>{escape(self.text)}</div>"
        if self.share is None:
            return f'<div><progress style="{_BAR}"></progress> {escape(self.text)}</div>'
        bar = f'<progress style="{_BAR}" max="1" value="{self.share:.4f}"></progress>'
        return f"<div>{bar} {100 * self.share:.0f} % {escape(self.text)}</div>"


class NotebookProgress:
    """A subscriber to events that hands a bar to `show`: at once, then at most every half second, and at the end."""

    def __init__(self, show: Callable[[ProgressBar], None]) -> None:
        self._show = show
        self._rates, self._left = Rates(), Left()
        self._text, self._end = "connecting", ""
        self._share: float | None = None
        self._datasets: dict[str, DatasetProgress] = {}
        self._draw()

    def __call__(self, event: RunEvent) -> None:
        self._rates.take(event)
        self._left.take(event)
        match event:
            case Started():
                self._text = f"reaching {event.source}"
            case TagsFound():
                self._text = f"{event.tags:,} tags found, reading watermarks"
            case Planned():
                self._text, self._share = f"{event.tags:,} tags", 0.0
            case Answered():
                self._share = event.fraction_done
            case DatasetProgress():
                self._datasets[event.dataset] = event
            case DatasetSynced():
                self._datasets.pop(event.dataset, None)
            case Stopping():
                self._text = f"stopping ({event.reason})"
            case Finished():
                self._end = event.status
            case _:
                pass
        if monotonic() - self._drawn >= EVERY_SECS:
            self._draw()

    def close(self) -> None:
        """Show how it ended, for good."""
        share = 1.0 if self._end == "succeeded" else None
        self._show(ProgressBar(share, one_line(f"{self._end or 'ended'}: {self._rates}"), over=True))

    def _draw(self) -> None:
        self._drawn = monotonic()
        parts = [self._text, *(one.text for one in self._datasets.values())]
        if self._rates.read:
            parts += [str(self._rates), str(self._left)]
        self._show(ProgressBar(self._share, one_line("; ".join(filter(None, parts)))))
