"""How a run is dealt out to tasks: no tag is lost or read twice, and no ceiling is passed by all shares together."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigurationError
from engine.datasets.tags import Inventory
from engine.model import Tag
from engine.plan.shards import Shard
from engine.spark.run_dealing import dealt, share_count
from engine.spark.run_share import packed, unpacked


def inventory(web_ids: list[str]) -> Inventory:
    tags = tuple(Tag(web_id, f"tag {web_id}", "Float64") for web_id in web_ids)
    return Inventory(tags, pa.table({"tag_webid": web_ids}), (), complete=True, server_now=7, warnings=("one",))


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=60), st.integers(1, 9))
def test_each_tag_is_in_the_share_that_is_its_shard(web_ids: list[str], count: int) -> None:
    shares = [unpacked(packed(one)) for one in dealt(inventory(web_ids), count)]
    assert len(shares) == count
    for index, share in enumerate(shares):
        assert [tag.web_id for tag in share.tags] == [each for each in web_ids if Shard(index, count).owns(each)]
        assert share.rows["tag_webid"].to_pylist() == [tag.web_id for tag in share.tags]
        assert (share.server_now, share.complete) == (7, True)


@given(
    st.none() | st.integers(1, 200),
    st.integers(1, 500),
    st.integers(0, 1_000_000),
    st.integers(1, 100),
    st.floats(0.1, 1e6),
)
def test_all_shares_together_stay_within_the_ceilings(
    wanted: int | None, at_once: int, tags: int, max_in_flight: int, rate: float
) -> None:
    if wanted is not None and wanted > max_in_flight:
        with pytest.raises(ConfigurationError, match=f"--shares {wanted}"):
            share_count(wanted, tasks_at_once=at_once, tags=tags, max_in_flight=max_in_flight)
        return
    count = share_count(wanted, tasks_at_once=at_once, tags=tags, max_in_flight=max_in_flight)
    assert count >= 1
    # As `connect` gives each shard its part.
    assert count * max(1, max_in_flight // count) <= max_in_flight
    assert count * (rate / count) <= rate * 1.000001
    if wanted is not None:
        assert count == wanted


def test_few_tags_are_one_share() -> None:
    assert share_count(None, tasks_at_once=64, tags=200, max_in_flight=64) == 1
    assert share_count(None, tasks_at_once=64, tags=30_000, max_in_flight=16) == 16
    assert share_count(None, tasks_at_once=4, tags=30_000, max_in_flight=16) == 4
