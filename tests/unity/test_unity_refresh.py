"""Credentials that live for a second: runs of many seconds go on, on both kinds of tables."""

from __future__ import annotations

import itertools
from uuid import uuid4

import pytest

from tests.landing.lake import Lake, land
from tests.unity.places import S3_OPTIONS
from tests.unity.stand_in import TOKEN, StandIn
from writers.unity import open_unity

VENDING = {"managed": "credentials", "external": "temporary-table-credentials"}


@pytest.mark.parametrize("kind", ["managed", "external"])
def test_a_run_outlives_its_credentials(s3: dict[str, str], kind: str) -> None:
    """Time runs by a minute with every look at the clock, so that credentials are old after half an hour of it."""
    root = f"s3://lake/{uuid4().hex}"
    minutes = itertools.count(1_700_000_000, step=60)
    with StandIn(root, s3=s3, lives_ms=None) as catalog:
        lakehouse = open_unity(
            host=catalog.host,
            token=TOKEN,
            table_type=kind,  # type: ignore[arg-type]
            location=f"{root}/external",
            storage_options={k: s3[k] for k in S3_OPTIONS},
            clock=lambda: float(next(minutes)),
        )
        lake = Lake(lakehouse)
        landing = lake.opened()
        before = catalog.asked.count(VENDING[kind])
        for n in range(6):
            land(landing, "a", n, n + 1)
        assert catalog.asked.count(VENDING[kind]) >= before + 3
        assert lake.events() == [("a", n) for n in range(6)]
        # A run that has not seen our commits is told apart, with however new credentials.
        assert lake.opened().open()["a"].high == 6
