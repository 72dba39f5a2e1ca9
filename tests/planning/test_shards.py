"""Which shard a tag belongs to: always the same, and one alone."""

from __future__ import annotations

from engine.plan.shards import Shard

WEB_IDS = [f"F1DPtag{n}" for n in range(12)]


def test_a_tag_belongs_to_one_shard_on_every_machine_and_version() -> None:
    """Were it another one tomorrow, two runs of one division could read the same tag at the same time."""
    owners = [[shard for shard in range(4) if Shard(shard, 4).owns(web_id)] for web_id in WEB_IDS]
    assert owners == [[0], [2], [0], [2], [1], [3], [1], [3], [2], [0], [3], [1]]
    assert all(Shard().owns(web_id) for web_id in WEB_IDS)
