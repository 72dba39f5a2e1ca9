"""What to do about a failure: the whole answer's, or one tag's inside a good answer. Pure.

The ladder: stop the run, change the way of asking, ask for less, ask again, give the tag up.
"""

from __future__ import annotations

from enum import Enum, auto

from config.errors import ExtractError, RetryError, SplitError, StopError, ThrottledError

__all__ = ["MAX_TAG_ATTEMPTS", "Decision", "decide"]

MAX_TAG_ATTEMPTS = 3


class Decision(Enum):
    """What becomes of the tags of a failed request, or of one failed tag."""

    STOP = auto()  # end the run
    HALVE_TAGS = auto()  # two lanes of half the tags each
    HALVE_COUNT = auto()  # one tag: fewer values at once
    AGAIN = auto()  # later, as it is
    GIVE_UP = auto()  # report the tag, go on with the others


def decide(error: ExtractError, *, tags: int, max_count: int, attempts: int) -> Decision:
    """Decide for a request of `tags` tags that failed with `error` after the client's own retries.

    A failure that may be one tag's fault is narrowed down by halves until that tag is alone; a
    server that throttles would only be asked more by halves, so it is asked the same again.
    """
    if isinstance(error, StopError):
        return Decision.STOP
    if isinstance(error, ThrottledError):
        return Decision.AGAIN if attempts < MAX_TAG_ATTEMPTS else Decision.GIVE_UP
    if tags > 1:
        return Decision.HALVE_TAGS
    if isinstance(error, SplitError):
        return Decision.HALVE_COUNT if max_count > 1 else Decision.GIVE_UP
    if isinstance(error, RetryError) and attempts < MAX_TAG_ATTEMPTS:
        return Decision.AGAIN
    return Decision.GIVE_UP
