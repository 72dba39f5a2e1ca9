"""How a run is dealt out to the tasks of Spark. Pure.

A share is a shard: its tags are those that the hash of the WebID gives it, in every run with as many shares, and its
part of the ceilings is that of the shard. Invariant: the ceilings of all shares together are those of the configuration.
"""

from __future__ import annotations

from config.errors import ConfigurationError

from ..datasets.tags import Inventory
from ..plan.shards import Shard

# So few tags one share reads in no time: more shares would only start.
_FEWEST_TAGS = 500


def share_count(wanted: int | None, *, tasks_at_once: int, tags: int, max_in_flight: int) -> int:
    """How many shares a run has: as many as `wanted`, else one for each task that Spark runs at once.

    A share needs one request in flight of its own. Raises `ConfigurationError` if more shares are wanted than requests
    may be in flight.
    """
    if wanted is None:
        return max(1, min(tasks_at_once, max_in_flight, tags // _FEWEST_TAGS))
    if wanted > max_in_flight:
        raise ConfigurationError(
            f"--shares {wanted}: only {max_in_flight} requests may be in flight, and each share needs one",
            hint=f"Write --shares {max_in_flight} or fewer, or raise pi_web_api.max_in_flight.",
        )
    return wanted


def dealt(inventory: Inventory, count: int) -> tuple[Inventory, ...]:
    """The tags of each share."""
    return tuple(inventory.of_shard(Shard(index, count)) for index in range(count))
