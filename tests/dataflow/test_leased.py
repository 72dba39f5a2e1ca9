"""Work goes on for as long as the lease is ours: not longer, and not shorter for a renewal that did not get through."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    ExpiredError,
    ExtractError,
    FencedError,
    StorageError,
    UnavailableError,
)
from engine.flow.run_with_lease import run_with_lease
from tests.patience import patiently
from writers.storage.lease import FileLease
from writers.storage.location import TableLocation


class Quick(FileLease):
    """Beats as fast as it can, and never waits to see whether another does."""

    renew_secs = 0.0


def lease_of(folder: Path, run_id: str) -> Quick:
    lease = Quick(lambda: TableLocation(str(folder)), "p", "0-of-1", run_id, sleep=lambda _: None)
    lease.acquire()
    return lease


class Renewals:
    """A lease whose renewals end as given, the rest well."""

    renew_secs = 0.0

    def __init__(self, *errors: ExtractError) -> None:
        self._errors = list(errors)
        self.went_well = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def acquire(self) -> None: ...

    def release(self) -> None: ...

    def holder(self) -> str | None:
        return None

    def renew(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self._loop.call_soon_threadsafe(self.went_well.set)


async def test_a_run_that_has_lost_the_lease_does_not_go_on(tmp_path: Path) -> None:
    ours = lease_of(tmp_path, "ours")
    lease_of(tmp_path, "rival")
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async with asyncio.timeout(patiently(10)):
        with pytest.raises(FencedError, match="run rival"):
            await run_with_lease(ours, work())
    assert ended == ["work"]


@pytest.mark.parametrize(
    "error",
    [
        *(
            StorageError("no room"),
            UnavailableError("503"),
            ExpiredError("token"),
            AccessDeniedError("403 for a moment"),
        ),
        *(AuthenticationError("401 for a moment"), ConfigurationError("404 of a proxy")),
    ],
)
async def test_a_store_that_does_not_take_a_renewal_ends_nothing(error: ExtractError) -> None:
    lease = Renewals(error, error)
    assert await run_with_lease(lease, lease.went_well.wait())
