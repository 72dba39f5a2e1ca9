"""Turns errors of the storage into classes of `config.errors`, with one sentence each.

Invariant: no query string (it may hold a signature), no credential and no body of an answer is passed on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from deltalake.exceptions import DeltaError

from config.errors import (
    AccessDeniedError,
    ConfigurationError,
    ExpiredError,
    ExtractError,
    SchemaDriftError,
    StorageError,
    UnavailableError,
)

# What delta-rs, Arrow and the operating system raise. (Arrow's I/O errors are OSError.)
FOREIGN_ERRORS = (DeltaError, OSError)


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Translate what storage and delta-rs raise inside the block."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        # The original may quote a signed URL: it is not chained.
        raise explain(error, uri) from None


def explain(error: BaseException, uri: str) -> ExtractError:
    """Turn a foreign error into one of ours."""
    return recognise(error, uri) or StorageError(
        f"The storage at {shown(uri)} failed: {detail_of(error)}.",
        hint="Look whether the place exists, has room, and may be written by this user.",
    )


# The texts of object_store, delta-rs, Arrow and libc, most specific first. These errors have no codes.
_SIGNS: tuple[tuple[re.Pattern[str], type[ExtractError], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, sentence, hint)
    for pattern, kind, sentence, hint in (
        (
            r"no space left|\berrno 28\b|os error 28\b|disk quota|\berrno 122\b|os error 122\b|file too large|\berrno 27\b|os error 27\b",
            StorageError,
            "There is no room left at {place}.",
            "Free some space, or put storage.root elsewhere; the next run continues where this one stopped.",
        ),
        (
            r"read-only file ?system|\berrno 30\b|os error 30\b",
            StorageError,
            "{place} is on a read-only file system.",
            "Choose a writable folder as storage.root.",
        ),
        (
            r"nosuchbucket|containernotfound|bucket does not exist|container does not exist|filesystemnotfound",
            StorageError,
            "The bucket or container of {place} does not exist.",
            "Create it, or correct the name in storage.root.",
        ),
        (
            r"incorrectly configured region|permanentredirect|the region '[\w-]*' is wrong",
            ConfigurationError,
            "The bucket of {place} lies in another region than we take it to.",
            "Say which: AWS_REGION in storage.options, for tables in a catalog too.",
        ),
        (
            r"requesttimetooskewed|date header (is )?too old|request date is too",
            AccessDeniedError,
            "The storage at {place} refuses requests, because our clock differs too much from its own.",
            "Set the clock of this machine right (NTP), then run again.",
        ),
        (
            r"expiredtoken|token (has )?expired|token is expired|requestexpired|credentials? (has |have )?expired",
            ExpiredError,
            "The credentials for {place} have expired.",
            "Renew them and run again.",
        ),
        (
            (
                r"invalidaccesskeyid|signaturedoesnotmatch|accessdenied|authenticationfailed|authorization\w*mismatch"
                r"|\b403 forbidden\b|\b401 unauthorized\b|necessary privileges|loading credentials|token request"
                r"|unauthenticated|invalid_grant"
            ),
            AccessDeniedError,
            "The storage refuses our credentials for {place}.",
            "Check the access key, its permissions to list, read and write there, and the region.",
        ),
        (
            r"permission denied|permissiondenied|operation not permitted|os error 13\b|\berrno 13\b",
            StorageError,
            "We may not write to {place}.",
            "Give this user write permission on the folder, or choose another storage.root.",
        ),
        (
            r"not a directory|notadirectory|os error 20\b|file exists \(os error 17\)|cannot create directory",
            StorageError,
            "A file is in the way of the folder {place}.",
            "Move that file, or choose another storage.root.",
        ),
        (
            r"max catalog version|catalog-managed table",
            SchemaDriftError,
            "The table at {place} uses the table feature catalogManaged: Unity Catalog decides its commits.",
            "Reach it through the catalog, not by its path, or write to another table.",
        ),
        (
            (
                r"unsupported.{0,40}feature|feature.{0,80}not supported|unsupported (reader|writer|table)"
                r"|(reader|writer) (features?|version).{0,40}unsupported|unknown.{0,20}table feature"
            ),
            SchemaDriftError,
            "The table at {place} uses a table feature that we cannot write: {detail}.",
            "Write to another table, or drop the feature from this one.",
        ),
        (
            (
                r"error sending request|connect error|connection (refused|reset|closed)|timed? ?out|dns error"
                r"|\b50[0234] |\b429 |slowdown|throttl|serverbusy|temporarily"
            ),
            UnavailableError,
            "The storage at {place} cannot be reached.",
            "Check the network and the endpoint, then run again.",
        ),
        (
            r"kernel error: file not found.{0,400}_delta_log",
            StorageError,
            "The log of the table at {place} has lost an entry that this run had read.",
            "Run again: where another engine has only cleaned up, nothing is missing. Else the next run says what is.",
        ),
        (
            r"expected contiguous commit files",
            StorageError,
            "The log of the table at {place} lacks an entry between others, so the table cannot be read.",
            "Restore the file in _delta_log from a backup, or from an earlier version if the storage keeps them.",
        ),
        (
            r"_last_checkpoint hint|invalid checkpoint",
            StorageError,
            "The log of the table at {place} names a checkpoint that is not there.",
            (
                "Restore the checkpoint. If the log holds every entry from version 0 on, remove _delta_log/_last_checkpoint "
                "instead."
            ),
        ),
        (
            r"kernel error: (json error|arrow error|parquet error|.{0,40}(truncated|corrupt|invalid json))",
            StorageError,
            "An entry or a checkpoint in the log of the table at {place} is damaged.",
            (
                "Restore the newest files of _delta_log from a backup. A damaged checkpoint may be removed, with "
                "_last_checkpoint, if the log holds every entry from version 0 on."
            ),
        ),
        (  # last: a file may fail to be read for any of the reasons above
            r"object at location .* not found|failed to open local file.*no such file|parquet error",
            StorageError,
            "A file of the table at {place} is missing or damaged: {detail}.",
            "Restore it. Of the watermarks: remove their table, and run rebuild-watermarks.",
        ),
    )
)


def recognise(error: BaseException, uri: str) -> ExtractError | None:
    """Turn a foreign error whose meaning is certain into one of ours; None for an unknown text."""
    text = f"{error} [errno {error.errno}]" if isinstance(error, OSError) and error.errno else str(error)
    for pattern, kind, sentence, hint in _SIGNS:
        if pattern.search(text):
            return kind(sentence.format(place=shown(uri), detail=detail_of(error)), hint=hint)
    return None


def shown(uri: str) -> str:
    return re.sub(r"//[^/@]+:[^/@]+@", "//", uri.partition("?")[0])


def detail_of(error: BaseException) -> str:
    """Return the first words of a foreign error, without terminal colours, query strings and answers' bodies."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("<?xml")[0]
    text = re.sub(r"\?\S*", "", text)
    return " ".join(text.replace("↳", ":").split()).rstrip(". :")[:300] or type(error).__name__
