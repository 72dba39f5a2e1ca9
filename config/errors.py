"""All expected errors of the product, in one tree.

Pick the class by what the caller must do next, not by where it happened:

    ExtractError
    ├── StopError                 end the run; nothing that follows can help
    │   ├── ConfigurationError    exit 2   the user must change the configuration or the command
    │   ├── AuthenticationError   exit 3   the source or the catalog does not know us
    │   ├── AccessDeniedError     exit 3   it knows us and says no
    │   ├── CertificateError      exit 3   the server's TLS certificate is not trusted
    │   ├── FencedError           exit 4   another run of this pipeline and shard is alive
    │   ├── SchemaDriftError      exit 4   a table is not of the shape, or has features, we can write
    │   ├── LostStateError        exit 4   watermarks and data do not belong together
    │   ├── DuplicateTableError   exit 4   the catalog has two tables of one name: an administrator has to remove one
    │   └── StorageError          exit 4   the destination cannot be read or written (read-only, disk full)
    ├── RetryError                the same again, later
    │   ├── UnavailableError      exit 1   no connection, time-out, 5xx, a body cut midway
    │   ├── ThrottledError        exit 1   429, or 503 with Retry-After
    │   └── CommitConflictError   exit 4   another writer won this version; rebuild on the new one
    ├── SplitError                exit 1   too large (413, over the byte budget, item limit): ask for less
    ├── ExpiredError              exit 3   credentials expired midway: refresh once, then retry
    ├── UnknownCommitError        exit 4   the commit may or may not have landed: look before doing anything
    └── TagError                  exit 1   one tag cannot be read; the others go on
        ├── TagGoneError          the point does not exist (any more)
        ├── TagForbiddenError     the point may not be read by us
        ├── TagUnsupportedError   the server cannot give of this tag what is asked for
        ├── TagStuckError         more events share one instant than the server will return
        └── UndecodableError      the answer for this tag is not what the protocol says
            └── WrongWindowError  it holds events of another time than was asked for

Every error carries a sentence without secrets, and a hint that says what to do.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, TypeAlias

from .text import one_line


class ExtractError(Exception):
    """Root of every expected error: `message` says what and where, `hint` what to do.

    Both may quote a server. They are one line each, without control characters.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = one_line(message)
        self.hint = one_line(hint)
        self._shows_hint = False
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self._shows_hint and self.hint else self.message

    def with_hint(self) -> Self:
        """The same error, whose text holds the hint, too: for programs that show only the text."""
        self._shows_hint = True
        return self

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: no stack trace, which would hide the sentence."""
        return [f"{type(self).__name__}: {self.message}", *([f"what to do: {self.hint}"] if self.hint else [])]


class StopError(ExtractError):
    """The run must end; a retry cannot help."""


class ConfigurationError(StopError):
    """The user must change the configuration or the command."""

    exit_code = 2


class AuthenticationError(StopError):
    """The source or the catalog does not accept our credentials."""

    exit_code = 3


class AccessDeniedError(StopError):
    """The source or the catalog accepts our credentials, but denies access."""

    exit_code = 3


class CertificateError(StopError):
    """The server's TLS certificate is not trusted."""

    exit_code = 3


class FencedError(StopError):
    """Another run of this pipeline and shard is alive, or has committed since we started."""

    exit_code = 4


class SchemaDriftError(StopError):
    """A table is not of the shape, or has features, that we can write."""

    exit_code = 4


class LostStateError(StopError):
    """Watermarks and data do not belong together; never treated as an empty start."""

    exit_code = 4


class DuplicateTableError(StopError):
    """The catalog has two tables of one name, and answers nothing about either until one of them is removed."""

    exit_code = 4


class StorageError(StopError):
    """The destination cannot be read or written: read-only, disk full, no such bucket."""

    exit_code = 4


class RetryError(ExtractError):
    """The same request may succeed later.

    `retry_after_secs` is what the other side asked for, if it did; `status` is the HTTP status, if there
    was an answer at all: a request that is answered 500 every time may hold one bad tag, a server that
    cannot be reached says nothing about the request. `dropped`: there was a connection, and it was closed in
    place of an answer, as some do with a request that is too long for them.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_secs: float | None = None,
        status: int | None = None,
        dropped: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_secs = retry_after_secs
        self.status = status
        self.dropped = dropped


class UnavailableError(RetryError):
    """No connection, time-out, 5xx, or a body cut midway."""


class ThrottledError(RetryError):
    """The source asked us to slow down: 429, or 503 with Retry-After."""


class CommitConflictError(RetryError):
    """Another writer won this version; rebuild on the new one."""

    exit_code = 4


TooMuch: TypeAlias = Literal["count", "request", "answer"]


class SplitError(ExtractError):
    """The request or its answer is too large: ask for less.

    `too_much` says of what: the "count" asked for is above the server's maximum; the "request" itself is too
    long (URL, headers, body); the "answer" would be too large, or would take too long.
    """

    def __init__(self, message: str, *, hint: str = "", too_much: TooMuch = "answer") -> None:
        super().__init__(message, hint=hint)
        self.too_much: TooMuch = too_much


class ExpiredError(ExtractError):
    """Credentials expired midway: refresh once, then retry."""

    exit_code = 3


class UnknownCommitError(ExtractError):
    """It is not known whether the commit has landed. Find out before doing anything else."""

    exit_code = 4


class TagError(ExtractError):
    """One tag cannot be read; the others go on."""


class TagGoneError(TagError):
    """The point does not exist (any more)."""


class TagForbiddenError(TagError):
    """We have no permission to read the point."""


class TagUnsupportedError(TagError):
    """The server cannot give of this tag what is asked for, in no window."""


class TagStuckError(TagError):
    """More events share one instant than the server will return in one answer."""


class UndecodableError(TagError):
    """The answer for this tag does not follow the protocol. `excerpt` is a short piece of what came."""

    def __init__(self, message: str, *, hint: str = "", excerpt: str = "") -> None:
        super().__init__(message, hint=hint)
        self.excerpt = excerpt


class WrongWindowError(UndecodableError):
    """The answer holds events outside of the window that was asked for."""
