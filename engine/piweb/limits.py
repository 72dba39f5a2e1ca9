"""How long a request may be for this server, or for what stands before it: learnt from what it answers. Pure.

IIS, proxies and firewalls have limits of their own on URLs and bodies, and refuse what is longer in many ways:
with 413, 414 or 431, with a page (400, 403, 404), or by closing the connection. Kinds of requests are learnt
of apart, for a rule may be about an address and not about length. Invariant: a budget is never above a length
that was refused, and never below one that worked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .http import Request, Response
from .problems import is_from_pi, is_too_long
from .requests import MAX_BATCH_BYTES, MAX_PATH_CHARS, without_fields

# The search for the limit ends where it is known to this part.
_CLOSE: Final = 8
# After so many requests within a bound the length that was refused is tried once more, then after twice as many:
# what was refused may have been one tag, not the length.
_PATIENCE: Final = 32
_LEAST_CONFIGURED: Final = 256
_NO_REQUEST: Final = 64  # no request is shorter; below it there is nothing to find out


@dataclass(slots=True)
class Bound:
    """What is known of one limit: the greatest length that `worked`, the smallest that was `refused`.

    `most` is what is never exceeded anyway. `silent`: refused only by a closed connection.
    """

    most: int
    worked: int = 0
    refused: int | None = None
    silent: bool = False
    refusals: int = 0
    _within: int = 0
    _patience: int = _PATIENCE

    def budget(self) -> int:
        """The length to stay within next: in the middle of what is not known yet, until little is."""
        if self.refused is None:
            return self.most
        if self._within >= self._patience:
            return min(self.most, self.refused)
        if self.refused - self.worked <= max(_NO_REQUEST, self.refused // _CLOSE):
            return min(self.most, self.worked or max(1, self.refused // 2))
        return max(1, min(self.most, (self.worked + self.refused) // 2))

    def passed(self, length: int) -> None:
        """Account for a request of this length that reached PI Web API."""
        self.worked = max(self.worked, length)
        if self.refused is not None and length >= self.refused:
            # It was not the length.
            self.refused, self.silent, self._within, self._patience = None, False, 0, _PATIENCE
        self._within += self.refused is not None

    def was_refused(self, length: int, *, silent: bool = False) -> None:
        """Account for a request of this length that did not."""
        if length <= self.worked:
            return
        self.refusals += 1
        if self._within >= self._patience:
            self._patience *= 2
        self._within = 0
        if self.refused is None or length < self.refused:
            self.refused = length
            self.silent = silent


@dataclass(slots=True)
class LearnedLimits:
    """What one run has learnt. `client.limits` of the client that sends its requests."""

    max_url: int = MAX_PATH_CHARS
    max_body: int = MAX_BATCH_BYTES
    reached: bool = False  # PI Web API itself has answered
    _bounds: dict[str, Bound] = field(default_factory=dict)
    _worked: set[str] = field(default_factory=set)
    _without_fields: set[str] = field(default_factory=set)
    _remarks: dict[str, None] = field(default_factory=dict)

    def max_url_chars(self, kind: str) -> int:
        """How long the path and query of the next GET of this kind may be."""
        bound = self._bounds.get(kind)
        return self.max_url if bound is None else bound.budget()

    def max_body_bytes(self, kind: str) -> int:
        """How long the body of the next POST of this kind may be."""
        bound = self._bounds.get(kind)
        return self.max_body if bound is None else bound.budget()

    def learnt(self, kind: str) -> bool:
        """Whether requests of this kind have to be shorter than we would have them."""
        bound = self._bounds.get(kind)
        return bound is not None and bound.budget() < self._most(kind)

    def exceeds(self, request: Request) -> bool:
        """Whether a request is longer than is configured; one that names a single item has no shorter form."""
        return request.items > 1 and length_of(request) > self._most(kind_of_request(request))

    def forbids(self, request: Request) -> bool:
        """Whether a request is longer than should be tried now, by what was learnt."""
        bound = self._bounds.get(kind_of_request(request))
        return bound is not None and request.items > 1 and length_of(request) > bound.budget()

    def worked(self, request: Request) -> bool:
        """Whether a request of this kind has reached PI Web API in this run."""
        return kind_of_request(request) in self._worked

    def fitted(self, request: Request) -> Request:
        """The request as this server takes it: where even the shortest is too long, without `selectedFields`."""
        return without_fields(request) if kind_of_request(request) in self._without_fields else request

    def drop_fields(self, request: Request) -> None:
        """Remember that requests of this kind pass only without `selectedFields`. Servers then send all fields."""
        self._without_fields.add(kind_of_request(request))

    def note(self, request: Request, response: Response) -> None:
        """Take in an answer with any status."""
        if is_too_long(response):
            self._bound(request).was_refused(length_of(request))
        elif is_from_pi(response):
            self.reached = True
            self._worked.add(kind_of_request(request))
            self._bound(request).passed(length_of(request))

    def note_dropped(self, request: Request) -> bool:
        """Take in a connection closed without an answer. Says whether the length may be why: what is shorter works."""
        bound = self._bound(request)
        if not self.reached or request.items < 2 or length_of(request) <= bound.worked:
            return False
        bound.was_refused(length_of(request), silent=True)
        return True

    def remark(self, text: str) -> None:
        """Keep a sentence for the report."""
        self._remarks[text] = None

    def advice(self) -> list[str]:
        """What was learnt, in sentences, with what to configure so that no run has to learn it again."""
        found = list(self._remarks)
        for method, what, key in (
            ("GET", "URLs of at most {0} characters after its address", "max_url_chars"),
            ("POST", "requests of at most {0} bytes", "max_request_bytes"),
        ):
            bounds = [
                bound
                for kind, bound in self._bounds.items()
                if kind.startswith(method) and bound.refused is not None and bound.worked
                # One closed connection may be mere mishap.
                if not bound.silent or bound.refusals > 1
            ]
            if bounds:
                # One limit for all of them, as long as what was refused of one did not pass with another.
                most, refused = max(b.worked for b in bounds), min(b.refused or 0 for b in bounds)
                length = most if most < refused else min(b.worked for b in bounds)
                advice = f": set pi_web_api.{key}: {length}" if length >= _LEAST_CONFIGURED else ""
                found.append(f"this server (or a proxy before it) takes {what.format(length)}{advice}")
        if self._without_fields:
            kinds = ", ".join(sorted(self._without_fields))
            found.append(f"URLs had to do without selectedFields ({kinds}): answers are longer than they need to be")
        return found

    def _most(self, kind: str) -> int:
        return self.max_url if kind.startswith("GET") else self.max_body

    def _bound(self, request: Request) -> Bound:
        kind = kind_of_request(request)
        bound = self._bounds.get(kind)
        if bound is None:
            bound = self._bounds[kind] = Bound(self._most(kind))
        return bound


def kind_of_request(request: Request) -> str:
    """Requests whose lengths compare: `GET points/multiple`, `GET streams/recorded`, `POST batch`."""
    parts = request.path.partition("?")[0].strip("/").split("/")
    return f"{request.method} {parts[0]}{'/' + parts[-1] if len(parts) > 1 else ''}"


def length_of(request: Request) -> int:
    """Bytes of the body, or characters of path and query, in which all of what is refused as too long counts."""
    return len(request.path) if request.body is None else len(request.body)
