"""Applies the fault plan: finds the rule that matches a request, and changes the answer as it says.

The state is how often each rule matched, and its seeded random numbers. The same requests in the same order get the
same faults.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from ..replies import HTML, JSON, Reply, WireFault, html, json_bytes
from ..request import IncomingRequest
from ..site import Site
from ..wildcards import wildcard
from .plan import Do, FaultPlan, Match

_PHRASES = {
    403: {"Message": "Authorization has been denied for this request."},
    429: {"Message": "Rate limit was reached."},
}
_FAILED_VALUE = {"FieldName": "Value", "Message": ["Data was not available for attribute."]}


class FaultInjector:
    """The rules of a plan, with their counters."""

    def __init__(self, site: Site) -> None:
        self._site = site
        plan: FaultPlan = site.options.faults
        self._rules = plan.rules
        self._seen = [0] * len(plan.rules)
        self._dice = [Random(f"{site.options.seed}/{number}") for number in range(len(plan.rules))]
        self.applied = [0] * len(plan.rules)

    def __repr__(self) -> str:
        return f"Mischief(seen={self._seen}, applied={self.applied})"

    def inject(self, request: IncomingRequest, reply: Reply) -> Reply:
        """Apply the faults that match the request to its answer."""
        names = [self._site.registry.name(index) for index in request.touched]
        faults = [fault for index in request.touched if (fault := self._site.history.fault(index))]
        slow = max((fault.slow_secs for fault in faults), default=0.0)
        if slow:
            reply.wire_fault = WireFault(delay_secs=slow)
        elif reply.wire_fault:  # a batch brings the delay of its parts
            slow = reply.wire_fault.delay_secs
        for number, rule in enumerate(self._rules):
            if self._matches(number, rule.match, request, names):
                self.applied[number] += 1
                return self._apply(rule.do, rule.match.tag, reply, names, slow)
        return reply

    def _matches(self, number: int, match: Match, request: IncomingRequest, names: Sequence[str]) -> bool:
        if match.scope not in {"any", request.scope} or not wildcard(match.route)(request.route):
            return False
        if match.method is not None and match.method.upper() != request.method:
            return False
        if match.tag is not None and not any(map(wildcard(match.tag), names)):
            return False
        self._seen[number] += 1
        seen = self._seen[number]
        limits = (
            match.nth is None or seen == match.nth,
            match.first is None or seen <= match.first,
            match.after is None or seen > match.after,
            match.every is None or seen % match.every == 0,
            match.probability is None or self._dice[number].random() < match.probability,
        )
        return all(limits)

    def _apply(self, do: Do, tag: str | None, reply: Reply, names: Sequence[str], slow: float) -> Reply:
        if do.forget_updates:
            self._site.subscriptions.forget()
        midway = self._site.switches.mid_stream_failure if do.fail_midway else ""
        if do.status is not None or do.body is not None or do.html:
            reply = _replaced(do)
        if do.value_error is not None or do.web_exception or midway == "web_exception":
            reply = _rewritten(do, tag, reply, names, web_exception=do.web_exception or midway == "web_exception")
        if do.retry_after is not None:
            reply.headers = {**reply.headers, "Retry-After": str(do.retry_after)}
        cut_at = do.truncate_bytes
        if midway == "truncate":
            cut_at = sum(map(len, reply.chunks)) // 2
        reply.wire_fault = WireFault(slow + do.delay_secs, cut_at, do.hang, do.drop_connection)
        return reply


def _replaced(do: Do) -> Reply:
    status = do.status or 200
    if isinstance(do.body, dict):
        return Reply(status, [json_bytes(do.body)])
    if isinstance(do.body, str):
        return Reply(status, [do.body.encode()], HTML if do.html else JSON)
    if do.html or status in {502, 503, 504}:
        return html(status, "Service Unavailable", "The service is unavailable.")
    phrase: dict[str, Any] = _PHRASES.get(status, {"Errors": ["The request could not be completed."]})
    return Reply(status, [json_bytes(phrase)])


def _rewritten(do: Do, tag: str | None, reply: Reply, names: Sequence[str], *, web_exception: bool) -> Reply:
    """The answer with an error in one value, or cut and ended by a WebException."""
    body = json.loads(reply.body())
    if do.value_error is not None:
        for stream in _streams(body, tag, names):
            if events := _events(stream):
                failed = events[min(do.value_error, len(events) - 1)]
                failed |= {"Value": None, "Good": False, "Errors": [_FAILED_VALUE]}
    if web_exception:
        _break_off(body)
        body["WebException"] = {"Errors": ["Error occurred during writing of the output stream."], "StatusCode": 500}
    return Reply(reply.status, [json_bytes(body)], reply.content_type, reply.headers)


def _break_off(body: dict[str, Any]) -> None:
    """Drop the second half of the items, and the second half of the last stream that is left."""
    if isinstance(items := body.get("Items"), list):
        del items[-(-len(items) // 2) :]
        if items and isinstance(items[-1], dict):
            _break_off(items[-1])


def _streams(body: dict[str, Any], tag: str | None, names: Sequence[str]) -> list[dict[str, Any]]:
    """The streams of an answer that the rule matches: the body itself, or members of a set, in the order of the request."""
    items = body.get("Items")
    if not isinstance(items, list) or len(items) != len(names) or not items or "Timestamp" in items[0]:
        return [body]
    match = wildcard(tag or "*")
    return [item for item, name in zip(items, names, strict=True) if match(name)]


def _events(stream: dict[str, Any]) -> list[dict[str, Any]]:
    """The TimedValues of a stream: many, one below `Value`, or the stream itself."""
    if isinstance(stream.get("Items"), list):
        return list(stream["Items"])
    return [stream["Value"] if isinstance(stream.get("Value"), dict) and "Timestamp" not in stream else stream]
