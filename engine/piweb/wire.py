"""What PI Web API sends, as typed shapes. Pure.

The shape of an event is strict on purpose: it holds what nearly every answer is made of, and anything
else (an array, an event with `Errors`, a bare NaN) fails to decode and is then read by `tolerant`.
Invariant: a shape never accepts what it would have to drop.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from msgspec import Meta, Struct


class Shape(Enum):
    """How an answer is wrapped around the recorded values of its tags."""

    BATCH = "batch"  # POST /batch: one sub-response a tag, keyed "0", "1", ... in the order of the asks
    STREAMSET = "streamset"  # GET /streamsets/recorded: one stream a tag, matched by WebID
    STREAM = "stream"  # GET /streams/{webId}/recorded: one tag


class WireState(Struct, gc=False):
    """A digital state, or (`IsSystem`) a system state, which any point type may hold."""

    Name: str
    Value: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
    IsSystem: bool = False
    Errors: None = None


class WireEvent(Struct, gc=False):
    """One recorded value. Fields in the order of the wire: that is what the decoder guesses first."""

    Timestamp: str
    Value: float | int | str | bool | WireState | list[int] | None = None  # a list: the bytes of a blob
    Good: bool | None = None
    Questionable: bool | None = None
    Substituted: bool | None = None
    Annotated: bool | None = None
    # Of type None alone, so that an event that failed does not pass for one that did not.
    Errors: None = None
    WebException: None = None


class WirePoint(Struct, gc=False):
    """A PI point; all but its identity may be missing, or null."""

    WebId: str
    Name: str
    Path: str | None = None
    Descriptor: str | None = None
    PointClass: str | None = None
    PointType: str | None = None
    DigitalSetName: str | None = None
    EngineeringUnits: str | None = None
    Span: float | None = None
    Zero: float | None = None
    Step: bool | None = None
    Future: bool | None = None
    # Of type None alone, so that a point that failed does not pass for one that did not.
    Errors: None = None
    WebException: None = None


class Links(Struct, gc=False):
    First: str | None = None
    Next: str | None = None


class PointsPage(Struct):
    """One page of points. A server that was asked for links says by `Next` whether there is more."""

    Items: list[WirePoint]
    Links: Links | None = None
    Errors: Any = None  # the server broke off: there are more
    WebException: Any = None


class PointResult(Struct, gc=False):
    """One item of points/multiple: the point, or why there is none."""

    Identifier: str = ""
    Object: WirePoint | None = None
    Exception: Any = None


class PointResults(Struct):
    Items: list[PointResult]


class DataServer(Struct, gc=False):
    WebId: str
    Name: str
    IsConnected: bool | None = None
    ServerVersion: str | None = None
    ServerTime: str | None = None
    Path: str | None = None


class DataServers(Struct):
    Items: list[DataServer]
    Errors: Any = None  # the server broke off: there are more
    WebException: Any = None
