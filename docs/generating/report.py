"""docs/reference/report.md: the fields of what `run --json` prints."""

from __future__ import annotations

from typing import Any

from engine.telemetry.report import DatasetReport, OpenHole, RunReport
from writers import Hole

from .markdown import MADE, code, table

_HEAD = f"""{MADE}

# The report as JSON

`osipi-connector run -c FILE --json` prints one object to standard output, and nothing else. A notebook has it as
`report.as_dict()`. Times are ISO 8601 in UTC. A run that could not begin prints only `status`, `exit_code` and `error`.
"""
MEANINGS = {
    "run_id": "Name of the run, as in logs, commits and `pi_connector_metrics`.",
    "pipeline": "Pipeline that was run.",
    "shard": "Share of the tags, `0-of-1` for all.",
    "status": "`succeeded`; `incomplete`: tags failed or have holes, or the source gave out; `interrupted`; `failed`.",
    "exit_code": "[Exit code](errors.md#exit-codes) of the command.",
    "tags_requested": "Tags that the configuration selects.",
    "tags_extracted": "Tags read to the end of their window.",
    "tags_failed": "Tags that could not be read, the first 1,000.",
    "tags_failed[].tag": "Name of the tag.",
    "tags_failed[].reason": "Why it could not be read.",
    "tags_failed_count": "How many there are.",
    "tags_undone": "Tags that neither failed nor were read to the end.",
    "holes": "Windows that the source cannot give, the first 1,000. They are asked for again.",
    "holes[].tag": "Name of the tag.",
    "holes[].tag_webid": "WebID of the tag.",
    "holes[].start": "Where the hole begins.",
    "holes[].end": "Where it ends, not included.",
    "holes[].since": "When it was found.",
    "holes[].attempts": "How often it was asked for in vain.",
    "holes[].ask_at": "When it is asked for again.",
    "holes[].reason": "Why it could not be read.",
    "holes_count": "How many there are.",
    "records_read": "Events that the answers held.",
    "records_written": "Those of them that were new, and committed.",
    "corrections": "What was changed in the past, because the source differs from the table.",
    "corrections.inserted": "Events that came late and were put in.",
    "corrections.changed": "Events that had another value or quality.",
    "corrections.deleted": "Events that had gone at the source.",
    "corrections.files_rewritten": "Files that lost a row, and were written anew.",
    "digital_states": "What changed in `pi_digital_states`.",
    "digital_states.added": "States that are new.",
    "digital_states.changed": "States with another name.",
    "digital_states.missing": "States that the source does not have any more.",
    "digital_states.sets_unread": "Sets that could not be read.",
    "datasets": "For each dataset that was read, by its name:",
    "datasets.*.rows_written": "Rows that are new.",
    "datasets.*.changed": "Rows that changed.",
    "datasets.*.missing": "Rows that the source does not have any more.",
    "datasets.*.requests_failed": "Requests that failed.",
    "datasets.*.unread": "Parts that could not be read.",
    "datasets.*.unread[].part": "Name of the part.",
    "datasets.*.unread[].reason": "Why it could not be read.",
    "datasets.*.problem": "Why nothing could be read or written; null otherwise.",
    "watermarks_moved": "Watermarks that moved.",
    "commits": "Commits made.",
    "files_written": "Files in them.",
    "bytes_written": "Bytes in these files.",
    "requests": "Requests answered or failed, repetitions included.",
    "retries": "Requests that were repetitions.",
    "throttled": "Requests that the server refused as too many.",
    "bytes_fetched": "Bytes received from the source.",
    "duration_seconds": "How long the run took.",
    "seconds": "Seconds of work in each stage. Stages overlap: their sum may be more than the duration.",
    "peak_rss_bytes": "Most memory of the process; null where the system does not tell.",
    "decoder": "What decoded the answers: `python` or `native`.",
    "until": "End of what was read, not included.",
    "tables": "Full name of each table, by what it holds.",
    "warnings": "Sentences about what did not keep tags from being read.",
    "error": "What stopped the run; null if nothing did.",
    "error.message": "What happened, in a sentence.",
    "error.hint": "What to do.",
}
_KINDS: dict[type, str] = {str: "text", int: "whole number", float: "number", list: "list", dict: "object"}
# Made of the keys that a run has; names of stages, sets and tables are not fields.
_OPEN = frozenset({"seconds", "tables", "digital_states.sets_unread"})


def _example() -> dict[str, Any]:
    """A report in which every field is present."""
    from config.errors import StorageError

    hole = Hole(tag_webid="w", start=0, end=1, since=0, attempts=1, ask_at=0, error="x")
    return RunReport(
        **dict.fromkeys(("run_id", "pipeline", "shard", "status", "until"), "text"),
        **dict.fromkeys(("tags_requested", "tags_extracted", "tags_undone", "records_read", "records_written"), 0),
        **dict.fromkeys(("watermarks_moved", "commits", "files_written", "bytes_written", "requests", "retries"), 0),
        **dict.fromkeys(("throttled", "bytes_fetched"), 0),
        peak_rss_bytes=1,
        duration_seconds=0.0,
        seconds={},
        tables={},
        tags_failed=(("t", "why"),),
        holes=(OpenHole("t", hole),),
        datasets={"*": DatasetReport(unread=(("part", "why"),), problem="why")},
        error=StorageError("what", hint="do"),
    ).as_dict()


def fields() -> dict[str, str]:
    """The type of every field, by its path: `[]` stands for the items of a list, `*` for any name."""
    found: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if path:
            found[path] = _KINDS[type(value)]
        if path in _OPEN:
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{path}.{name}".lstrip("."))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for name, inner in value[0].items():
                walk(inner, f"{path}[].{name}")

    walk(_example(), "")
    found.pop("datasets.*", None)
    return found


def page() -> str:
    """The page."""
    rows = [(code(path), kind, MEANINGS[path]) for path, kind in fields().items()]
    return "\n".join([_HEAD, table(("field", "type", "meaning"), rows), ""])
