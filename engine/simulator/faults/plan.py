"""The fault plan: what the simulated server does wrong, as data.

A plan is read once and never changes. Unknown keys and wrong types are errors that name their place, so that a test
does not pass because its fault was misspelt.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import yaml

from ..archive.edits import Edit, Instant, require_instants
from ..assets.edits import AssetEdit

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Secs: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Status: TypeAlias = Annotated[int, msgspec.Meta(ge=200, le=599)]


class _PlanLoader(yaml.SafeLoader):
    """YAML whose instants stay text."""


_PlanLoader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for sign, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class FaultPlanError(ValueError):
    """A fault plan that cannot be understood, in one sentence."""


class Switches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Behaviour that differs between servers, or that is not known for sure. The first choice is the default."""

    streamset_max_count: Literal["per_stream", "total"] = "per_stream"
    check_product: bool = False
    bad_web_id: Literal[400, 404, "per_stream"] = 400
    # Whether requests that change something need the header against forgery, as they do unless it is switched off.
    csrf: bool = True
    csrf_status: Literal[403, 400] = 403
    # No strict client can read a bare NaN.
    nan: Literal["string", "bare", "null"] = "string"
    batch: bool = True
    batch_items_counted: bool = True
    batch_max_items: Count | None = None
    batch_parallel: Count = 4
    points_search: bool = True
    # What is left of the links of a page on the way to us, and how many points a page has at most, however many are asked for.
    page_links: Literal["given", "empty", "null", "absent"] = "given"
    page_cap: Count | None = None
    # How far the archive's clock is ahead of the Date of the answers.
    archive_ahead_secs: float = 0.0
    rate_limit: Count | None = None
    rate_limit_secs: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    rate_limit_burst: Count | None = None
    retry_after: Index | None = None
    unauthorized_body: Literal["empty", "html", "message"] = "empty"
    recorded_shows_snapshot: bool = True
    # Bad values are left out of event-weighted calculations; AF counts both ends of a single interval.
    count_includes_bad: bool = False
    count_includes_end: Literal["single", "always", "never"] = "single"
    # To how many seconds the ends of a range are rounded, and what is said of an interval without events.
    count_rounds_secs: Literal[0, 1, 60] = 0
    count_of_nothing: Literal["zero", "no_data", "left_out"] = "zero"
    # Stream updates: how long a marker lives unasked (by which clock), how many messages a stream may owe
    # before its marker is lost, from how many on an edit is sent as one Refresh, and how many instances
    # take requests in turn, none knowing the markers of another.
    updates: bool = True
    updates_register_status: Literal[200, 201] = 200
    updates_idle_secs: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    updates_clock: Literal["real", "simulated"] = "real"
    updates_buffer: Count = 10_000
    updates_refresh_over: Count = 1000
    updates_instances: Count = 1
    # Whether lists of attributes of many elements hold attributes of attributes, too.
    bulk_nested_attributes: bool = False
    mid_stream_failure: Literal["truncate", "web_exception"] = "truncate"
    gzip: bool = True
    url_max_bytes: Count = 16384
    segment_max_chars: Count = 260
    max_items: Count = 150_000
    # A longer window, or more values of one tag at once, are too much for the archive, or for what lies before it; how
    # it says so.
    window_max_secs: Annotated[float, msgspec.Meta(gt=0)] | None = None
    values_max: Count | None = None
    too_much: Literal[408, 413, 500, 502, 503, 504, "drop"] = 504
    max_body_bytes: Count = 4_194_304


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a rule matches. `route` and `tag` are wildcards; all conditions must hold.

    Matching requests are counted from 1: `nth` only that one, `first` up to it, `after` from the
    next one on, `every` each n-th. `probability` uses seeded random numbers. Scope `outer` means requests over the
    network, `sub` the parts of a batch.
    """

    route: str = "*"
    tag: str | None = None
    method: str | None = None
    scope: Literal["any", "outer", "sub"] = "any"
    nth: Count | None = None
    first: Count | None = None
    after: Index | None = None
    every: Count | None = None
    probability: Share | None = None


class Do(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to matching requests. Several may be combined; a status replaces the answer.

    With `forget_updates` the instances restart: every marker of stream updates is lost.
    """

    status: Status | None = None
    body: str | dict[str, Any] | None = None
    html: bool = False
    retry_after: Index | None = None
    delay_secs: Secs = 0.0
    truncate_bytes: Index | None = None
    fail_midway: bool = False
    web_exception: bool = False
    value_error: Index | None = None
    hang: bool = False
    drop_connection: bool = False
    forget_updates: bool = False


class FaultRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first rule that matches a request applies; the others do not count it."""

    do: Do
    match: Match = Match()


class Stuck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many events within one microsecond; with `same_tick` all at one timestamp."""

    at: Instant
    events: Count
    same_tick: bool = False

    def __post_init__(self) -> None:
        require_instants(self.at)


class TagFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults of single tags. With `compress_every` n, every n-th event disappears once a newer one exists."""

    tag: str
    gone: bool = False
    forbidden: Literal[403, 500] | None = None
    slow_secs: Secs = 0.0
    stuck: Stuck | None = None
    compress_every: Annotated[int, msgspec.Meta(ge=2)] | None = None


class Damage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Records that the archive cannot read: a request that touches `[start, end)` gets a 500.

    A page that ends before the damage is answered.
    """

    tag: str
    start: Instant
    end: Instant

    def __post_init__(self) -> None:
        require_instants(self.start, self.end)


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole plan. An empty plan is a server without faults."""

    switches: Switches = Switches()
    rules: tuple[FaultRule, ...] = ()
    tags: tuple[TagFault, ...] = ()
    edits: tuple[Edit, ...] = ()
    damaged: tuple[Damage, ...] = ()
    asset_edits: tuple[AssetEdit, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> FaultPlan:
        """Read a plan from a YAML file.

        Raises:
            FaultPlanError: not readable, not YAML, or not a plan.
        """
        try:
            content = yaml.load(Path(path).read_text(encoding="utf-8"), _PlanLoader)  # noqa: S506 - a SafeLoader
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
            raise FaultPlanError(f"cannot read the fault plan {path}: {why}") from error
        except yaml.YAMLError as error:
            raise FaultPlanError(f"the fault plan {path} is not YAML: {' '.join(str(error).split())}") from error
        try:
            return cls.from_dict(content or {})
        except FaultPlanError as error:
            raise FaultPlanError(f"{error} (in {path})") from error

    @classmethod
    def from_dict(cls, content: Any) -> FaultPlan:
        """Understand a plan given as plain dictionaries and lists.

        Raises:
            FaultPlanError: an unknown key, a wrong type or an impossible value.
        """
        try:
            return msgspec.convert(content, cls)
        except msgspec.ValidationError as error:
            raise FaultPlanError(f"fault plan: {error}{_guess(str(error))}") from error


def _guess(problem: str) -> str:
    """The known key an unknown one most resembles."""
    unknown = re.search(r"unknown field `(.+?)`", problem)
    known = {
        name
        for part in (FaultPlan, Switches, FaultRule, Match, Do, TagFault, Stuck, Edit, AssetEdit, Damage)
        for name in part.__struct_fields__
    }
    close = difflib.get_close_matches(unknown[1], sorted(known), 1) if unknown else []
    return f" - did you mean `{close[0]}`?" if close else ""
