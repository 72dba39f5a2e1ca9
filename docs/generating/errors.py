"""docs/reference/errors.md: exit codes, and every kind of error with its remedy."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from config import errors

from .markdown import MADE, code, prose, table

_TROUBLE = Path(__file__).resolve().parents[1] / "troubleshooting.md"
_HEAD = f"""{MADE}

# Exit codes and errors

Every error is one sentence that says what happened, and a hint that says what to do. `--json` prints both as `error.message`
and `error.hint`. `--debug` prints where an error comes from.

## Exit codes
"""
EXIT_CODES = {
    0: ("All is done.", "Nothing."),
    1: ("Not all is done: tags failed, there are holes, something differs, or the pipeline is not well.",
        "Read the sentence, and run again: a run continues where the last one ended."),
    2: ("The configuration, or an option, cannot be used.", "Change what the sentence names."),
    3: ("A login or a permission is missing.", "`osipi-connector check -c FILE` says which."),
    4: ("The tables cannot be used, or another run is at work.", "Wait for the other run, or follow the hint."),
    70: ("A bug of ours.", "Report it, with the output of `--debug`. The tables are intact."),
    130: ("Interrupted.", "Run again: what was complete is in the tables."),
}  # fmt: skip
_REMEDIES = {
    "ConfigurationError": "Change the key, the option or the line that the message names.",
    "AuthenticationError": "Correct `auth_type` and the credentials: [401](../troubleshooting.md#401-does-not-accept-our-credentials).",
    "AccessDeniedError": "Give the account the right that the hint names: [PI side](../pi_accounts.md), "
    "[grants](../deployment.md#grants).",
    "CertificateError": "Name the authority of your company in `ca_bundle`: "
    "[the certificate](../troubleshooting.md#the-certificate-is-not-trusted).",
    "FencedError": "Let the other run end, or stop it. One run at a time for each pipeline and shard.",
    "SchemaDriftError": "Take the feature or the column out, as the hint says: "
    "[features](../troubleshooting.md#the-table-has-features-that-we-cannot-write).",
    "LostStateError": "`osipi-connector rebuild-watermarks -c FILE` reads the watermarks back from the data.",
    "DuplicateTableError": "Have an administrator remove one of the two: "
    "[two tables](../troubleshooting.md#has-two-tables-of-one-name).",
    "StorageError": "Make the place writable, or free space: [storage](../storage.md).",
    "UnavailableError": "Nothing at first: it is tried again. Then look at PI Web API and at what lies before it.",
    "ThrottledError": "Nothing: the rate adapts. To ask less in general, lower `max_requests_per_second`.",
    "CommitConflictError": "Run again.",
    "SplitError": "Nothing: less is asked for, by itself.",
    "ExpiredError": "Use credentials that can be renewed: `oauth` with a client in place of a token.",
    "UnknownCommitError": "Run again: the next run finds out whether the commit landed.",
    "TagGoneError": "Take the tag out of the configuration, or restore it in PI.",
    "TagForbiddenError": "Give the account read access to the point and its data.",
    "TagUnsupportedError": "Leave the tag out: its data reference gives no history.",
    "TagStuckError": "Raise `MaxReturnedItemsPerCall` on the PI Web API, or remove the repeated events.",
    "UndecodableError": "Report it, with the row of [the quarantine](../operations.md#the-quarantine).",
    "WrongWindowError": "Have the proxy pass the query of the request on: [the answer to another question]"
    "(../troubleshooting.md#asked-for-events-from--to--the-server-sent-one-of-).",
}


def kinds() -> list[type[errors.ExtractError]]:
    """Every kind of error that is raised as itself, in the order of the code."""
    found = [
        one
        for _, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.ExtractError) and one not in _GROUPS
    ]
    return sorted(found, key=lambda one: inspect.getsourcelines(one)[1])


_GROUPS = {errors.ExtractError, errors.StopError, errors.RetryError, errors.TagError}


def page() -> str:
    """The page."""
    codes = [(str(code_), meaning, remedy) for code_, (meaning, remedy) in EXIT_CODES.items()]
    rows = [
        (code(one.__name__), str(one.exit_code), prose(_first_line(one)), _REMEDIES[one.__name__]) for one in kinds()
    ]
    return "\n".join(
        [
            _HEAD,
            table(("exit code", "meaning", "what to do"), codes),
            "\n## Kinds of errors\n\nThe class is what a program catches, from `config.errors`.\n",
            table(("class", "exit code", "meaning", "what to do"), rows),
            "\n## Messages\n\nWhat to do about each message that needs more than its hint.\n",
            *_messages(),
            "",
        ]
    )


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def _messages() -> Iterator[str]:
    """The list of contents of the guide to trouble, with links to it."""
    words = _TROUBLE.read_text(encoding="utf-8").partition("<!-- contents:begin -->\n")[2]
    for line in words.partition("<!-- contents:end -->")[0].splitlines():
        yield line.replace("](#", "](../troubleshooting.md#")
