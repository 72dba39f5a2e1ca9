"""The lease of a pipeline and shard: a small file beside the checkpoint table, with a heartbeat.

Each time it is taken begins a term, and each term is written once: of runs that start at the same moment one gets it.
Invariant: no clock of another machine is trusted. A holder is alive while we see its beat change. A process of this
machine that no longer exists is dead at once. A holder that slept for seconds and comes back is still kept out by the
commit.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from config.errors import ExtractError, FencedError, RetryError

from .errors import storage_errors
from .location import TableLocation
from .state_file import FOLDER, FileState, plain_name

RENEW_SECS = 1.0
WATCH_SECS = 4.0
_POLL_SECS = 0.5


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The content of the file."""

    run_id: str
    host: str
    pid: int
    machine: str
    born: str  # when the process started, by the kernel's count: pids are used again
    token: str
    started_at: str
    beat: int = 0
    released: bool = False

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def decode(cls, content: bytes) -> LeaseRecord | None:
        """None for a file that we cannot parse: it does not say who is alive."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        return f"run {self.run_id} on {self.host} (pid {self.pid}), since {self.started_at}"


class FileLease:
    """The lease of one pipeline and shard."""

    def __init__(
        self,
        place: Callable[[], TableLocation],
        pipeline: str,
        shard: str,
        run_id: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`place` is asked at each use, not now: a catalog may have to be asked for it."""
        self._place = place
        name = lease_name(pipeline, shard)
        self._path = f"{FOLDER}/{name}"
        self._terms = FileState(place, name.removesuffix(".json"))
        self._what = f"pipeline {pipeline}, shard {shard}"
        self._run_id = run_id
        self._sleep = sleep
        self._ours: LeaseRecord | None = None

    def __repr__(self) -> str:
        return f"FileLease({self._what!r}, {'held' if self._ours else 'not held'})"

    @property
    def renew_secs(self) -> float:
        return RENEW_SECS

    def acquire(self) -> None:
        term, begun = self._terms.read()
        found = self._seen(begun)
        if any(not one.released and not _surely_dead(one) for one in found):
            self._watch(begun, found)
        ours = self._new()
        self._begin(term + 1, ours)
        self._write(ours)
        self._ours = ours

    def _begin(self, term: int, ours: LeaseRecord) -> None:
        """Begin a term. Raises `FencedError` where another run has begun it.

        An answer that is lost, or a refusal because of our own first attempt, says nothing: the term does, whose it is.
        """
        lost: ExtractError | None = None
        try:
            if self._terms.write(term, ours.encode()):
                return
        except RetryError as error:
            lost = error
        newest = LeaseRecord.decode(self._terms.read()[1])
        if newest is None or newest.token != ours.token:
            raise lost or self._fenced(newest)

    def _seen(self, begun: bytes) -> list[LeaseRecord]:
        """Who says that it has the lease: the file, and who has begun the newest term if its file is yet to come."""
        newest, beating = LeaseRecord.decode(begun), self._read()
        if newest is None or (beating is not None and beating.token == newest.token):
            return [beating] if beating is not None else []
        return [newest, beating] if beating is not None else [newest]

    def _new(self) -> LeaseRecord:
        return LeaseRecord(
            run_id=self._run_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=_machine(),
            born=_born(os.getpid()) or "",
            token=uuid4().hex,
            started_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )

    def renew(self) -> None:
        ours = self._check_ours()
        self._ours = replace(ours, beat=ours.beat + 1)
        self._write(self._ours)

    def release(self) -> None:
        """Mark it free. The file stays, so that a run with another division into shards knows which commits to look at.

        Raises nothing that the storage raises: what the run has done stands, and what ended it is what is to be said. A
        lease that was not given back is known by its silence.
        """
        ours, self._ours = self._ours, None
        with contextlib.suppress(ExtractError):
            found = self._read()
            if ours is not None and found is not None and found.token == ours.token:
                self._write(replace(ours, released=True))

    def holder(self) -> str | None:
        found = self._read()
        if found is None or found.released or _surely_dead(found):
            return None
        return str(found)

    def _watch(self, begun: bytes, found: list[LeaseRecord]) -> None:
        """Return when the holder has been silent long enough, or gives the lease back. Raises `FencedError`."""
        for _ in range(round(WATCH_SECS / _POLL_SECS)):
            self._sleep(_POLL_SECS)
            latest = self._seen(begun)
            if all(one.released for one in latest):
                return
            if latest != found:
                raise self._fenced(latest[-1])

    def _check_ours(self) -> LeaseRecord:
        ours = self._ours
        found = self._read()
        if ours is None or (found is not None and found.token != ours.token):
            raise self._fenced(found)
        return ours

    def _fenced(self, other: LeaseRecord | None) -> FencedError:
        return FencedError(
            f"Another run is at work on {self._what}: {other or 'it has taken the lease'}.",
            hint="Wait until it has finished, or stop it; a run that was killed is noticed within a few seconds.",
        )

    def _read(self) -> LeaseRecord | None:
        place = self._place()
        with storage_errors(place.uri):
            content = place.read_small(self._path)
        return None if content is None else LeaseRecord.decode(content)

    def _write(self, record: LeaseRecord) -> None:
        place = self._place()
        with storage_errors(place.uri):
            place.write_small(self._path, record.encode())


def lease_name(pipeline: str, shard: str) -> str:
    return f"lease-{plain_name(pipeline)}-{shard}.json"


def shards_with_lease(place: TableLocation, pipeline: str) -> tuple[str, ...]:
    pattern = re.compile(rf"lease-{re.escape(plain_name(pipeline))}-((?:[a-z]+\.)?\d+-of-\d+)\.json")
    with storage_errors(place.uri):
        names = place.names(FOLDER)
    return tuple(found.group(1) for name in names if (found := pattern.fullmatch(name)))


def _surely_dead(found: LeaseRecord) -> bool:
    return bool(found.born and found.machine) and found.machine == _machine() and _born(found.pid) != found.born


def _machine() -> str:
    """Name this kernel and process namespace; empty where we cannot tell (then no holder is surely dead)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _born(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if there is none or it is a zombie."""
    try:
        # The second field is the name, in brackets, and may itself hold brackets and spaces.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]
