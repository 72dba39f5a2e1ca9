"""What to do about a failure of a whole answer, or of one tag inside an answer. Pure.

In this order: stop the run, ask again, ask for less, leave out what cannot be read, give the tag up.
"""

from __future__ import annotations

from enum import Enum, auto

from config.errors import (
    ExtractError,
    RetryError,
    SplitError,
    StopError,
    TagForbiddenError,
    TagGoneError,
    TagUnsupportedError,
    ThrottledError,
    WrongWindowError,
)

MAX_TAG_ATTEMPTS = 3
# A request for several tags is shortened so often before it is divided: to a thirty-second of its windows.
_MAX_SHORTENED = 5
# An archive that reports an error of its own. Others come from what lies before it, which was in a hurry, or died.
_INTERNAL_ERROR = 500


class Decision(Enum):
    """What to do with the tags of a failed request, or with one failed tag."""

    STOP = auto()  # end the run
    AGAIN = auto()  # later, as it is
    FEWER = auto()  # fewer values at once
    SHORTEN = auto()  # several tags: half the window of each
    HALVE_TAGS = auto()  # two groups of half the tags each
    NARROW = auto()  # one tag: find out what of its window cannot be read
    GIVE_UP = auto()  # report the tag, go on with the others


def decide(error: ExtractError, *, tags: int, attempts: int, shortened: int = 0) -> Decision:
    """Decide for a request of `tags` tags that failed with `error` after the client's own retries.

    `attempts`: how often the same was asked again. `shortened`: how often its windows were.
    """
    match error:
        case StopError():
            return Decision.STOP
        case ThrottledError():
            return Decision.AGAIN if attempts < MAX_TAG_ATTEMPTS else Decision.GIVE_UP
        case SplitError(too_much="count") if tags == 1 or shortened < _MAX_SHORTENED:
            return Decision.FEWER
        case WrongWindowError() if not attempts:
            return Decision.AGAIN  # it is asked in another way then
    if tags > 1:
        return Decision.SHORTEN if _takes_too_long(error) and shortened < _MAX_SHORTENED else Decision.HALVE_TAGS
    if isinstance(error, TagGoneError | TagForbiddenError | TagUnsupportedError):
        return Decision.GIVE_UP
    return Decision.NARROW


def _takes_too_long(error: ExtractError) -> bool:
    """Whether a request for several tags may have asked for too much time, and not for a tag that is at fault."""
    if isinstance(error, SplitError):
        return error.too_much == "answer"
    return isinstance(error, RetryError) and error.status != _INTERNAL_ERROR
