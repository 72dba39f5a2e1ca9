"""Which alerts are due: one when a pipeline falls ill, and one when it is well again. Pure.

An alert is about a *state*: it has a kind, and holds while any shard of the pipeline has it. Invariant: the alerts that a
receiver gets of a kind alternate, ill and well; a state gives another alert only after it has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from config.errors import ExtractError

from ..model import Micros
from .formats import count, format_duration
from .report import RunReport, failed_datasets, hole_text, named

Kind: TypeAlias = Literal["run_failed", "tags_failed", "holes", "stale"]
KINDS: Final[tuple[Kind, ...]] = ("run_failed", "tags_failed", "holes", "stale")
# A run that is about to send an alert says so first, so that no other does. If it has not sent it by then, another may.
CLAIM_SECS: Final = 60


@dataclass(frozen=True, slots=True)
class Policy:
    """Which alerts a receiver wants. `max_age_secs`: how old the worst tag may be; None: any age.

    `holds_secs`: how long a state, or being well again, has to hold in a run that goes on.
    """

    kinds: frozenset[Kind]
    recovered: bool = True
    max_age_secs: float | None = None
    holds_secs: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What one shard ("0-of-1") knows at a time. `problems`: a sentence, or "" for none; kinds that are not known are
    left out. `age_secs`: how far the worst tag is behind. `final`: nothing follows soon, so nothing is waited for.
    """

    shard: str
    at: Micros
    problems: Mapping[Kind, str] = field(default_factory=dict)
    age_secs: float | None = None
    final: bool = True

    def problem(self, kind: Kind, policy: Policy) -> str | None:
        """A sentence, "" if there is no such problem, None if that is not known."""
        if kind != "stale":
            return self.problems.get(kind)
        if self.age_secs is None or policy.max_age_secs is None:
            return None
        if self.age_secs <= policy.max_age_secs:
            return ""
        behind, allowed = format_duration(self.age_secs), format_duration(policy.max_age_secs)
        return f"the tag furthest behind is {behind} behind; max_age allows {allowed}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a kind of state stands for a receiver. `ill`: the shards that have it, with their sentences. `since`: when that
    began, or ended. `told`: whether the last alert said that it is ill. `claimed_at`: when a run began to send one.
    """

    ill: Mapping[str, str] = field(default_factory=dict)
    since: Micros = 0
    told: bool = False
    claimed_at: Micros | None = None


State: TypeAlias = Mapping[str, Mapping[Kind, Standing]]
"""By receiver and kind."""


@dataclass(frozen=True, slots=True)
class Message:
    """An alert for a receiver. `detail`: what is wrong; "" if it is well again."""

    receiver: str
    kind: Kind
    ill: bool
    since: Micros
    detail: str = ""


def alerts_of(state: State, facts: Facts, policies: Mapping[str, Policy]) -> tuple[tuple[Message, ...], State]:
    """The messages that are due, and the state in which they are claimed. `told_of` adds those that arrived.

    A receiver without a policy is forgotten.
    """
    messages: list[Message] = []
    after: dict[str, dict[Kind, Standing]] = {receiver: {} for receiver in policies if receiver in state}
    for receiver, policy in policies.items():
        before = state.get(receiver, {})
        for kind in KINDS:
            if kind not in policy.kinds:
                continue
            standing = _observed(before.get(kind, Standing()), facts, facts.problem(kind, policy))
            if _is_due(standing, facts, policy):
                if standing.ill or policy.recovered:
                    detail = "; ".join(standing.ill.values())
                    messages.append(Message(receiver, kind, bool(standing.ill), standing.since, detail))
                    standing = replace(standing, claimed_at=facts.at)
                else:
                    standing = replace(standing, told=False)
            if standing.ill or standing.told or standing.claimed_at is not None:
                after.setdefault(receiver, {})[kind] = standing
    return tuple(messages), after


def told_of(state: State, delivered: Iterable[Message]) -> State:
    """The state once these messages have arrived."""
    after = {receiver: dict(kinds) for receiver, kinds in state.items()}
    for message in delivered:
        kinds = after.setdefault(message.receiver, {})
        kinds[message.kind] = replace(kinds.get(message.kind, Standing()), told=message.ill, claimed_at=None)
    return after


def _observed(standing: Standing, facts: Facts, problem: str | None) -> Standing:
    """Shards of another division are no more. A sentence of ours is kept while the state holds, so that a number in it
    that changes is no change of the state.
    """
    division = facts.shard.partition("-of-")[2]
    ill = {shard: text for shard, text in standing.ill.items() if shard.partition("-of-")[2] == division}
    if problem == "":
        ill.pop(facts.shard, None)
    elif problem is not None:
        ill.setdefault(facts.shard, problem)
    changed = bool(ill) != bool(standing.ill)
    return replace(standing, ill=ill, since=facts.at if changed else standing.since)


def _is_due(standing: Standing, facts: Facts, policy: Policy) -> bool:
    if bool(standing.ill) == standing.told:
        return False
    # A clock that was put back must not keep anything back for good.
    held = facts.final or abs(facts.at - standing.since) >= policy.holds_secs * 1e6
    return held and (standing.claimed_at is None or abs(facts.at - standing.claimed_at) >= CLAIM_SECS * 1e6)


def facts_of_report(report: RunReport, age_secs: float | None, at: Micros, *, final: bool) -> Facts:
    """What a report says, also that of a cycle. An interrupted run says nothing."""
    if report.status == "interrupted":
        return Facts(report.shard, at, final=final)
    failed = [] if report.error is None else [_sentence(report.error)]
    failed += failed_datasets(report)
    tags, holes = report.tags_failed, report.holes
    problems: dict[Kind, str] = {
        "run_failed": ". ".join(failed),
        "tags_failed": f"{count(len(tags), 'tag')} failed: {named(tags)}" if tags else "",
        "holes": (
            f"{count(len(holes), 'hole')} could not be read: {named([(one.tag, hole_text(one.hole)) for one in holes])}"
            if holes
            else ""
        ),
    }
    return Facts(report.shard, at, problems, age_secs, final)


def facts_of_error(error: Exception, shard: str, age_secs: float | None, at: Micros) -> Facts:
    """What is known of a run that ended by an error. Of an error that is not ours only its class is sent."""
    sentence = _sentence(error) if isinstance(error, ExtractError) else f"a bug: {type(error).__name__}"
    return Facts(shard, at, {"run_failed": sentence}, age_secs)


def _sentence(error: ExtractError) -> str:
    return f"{error.message.rstrip('.')} ({error.hint})" if error.hint else error.message


def encode(state: State) -> bytes:
    """As JSON."""
    kept = {
        receiver: {
            kind: {"ill": dict(one.ill), "since": one.since, "told": one.told, "claimed_at": one.claimed_at}
            for kind, one in kinds.items()
        }
        for receiver, kinds in state.items()
    }
    return json.dumps(kept, indent=1).encode()


def decode(content: bytes) -> State:
    """The state; an empty one for what is none. Then an alert is sent once more."""
    try:
        kept: dict[str, dict[Kind, dict[str, Any]]] = json.loads(content) if content else {}
        return {receiver: {kind: Standing(**one) for kind, one in kinds.items()} for receiver, kinds in kept.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
