"""Shards: which share of the tags, and of the rate, a run takes. Pure.

The hash of a tag's WebID decides its shard. The hash is the same across machines, versions and renames, so a tag
changes its shard only when the number of shards changes.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from config.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Shard:
    """Share `index` of `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`. Raises `ConfigurationError`."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match or not 0 <= int(match[1]) < int(match[2]):
            raise ConfigurationError(
                f"--shard {text!r} is not a shard", hint="Write i/n with i from 0 to n-1, for example --shard 0/4."
            )
        return cls(int(match[1]), int(match[2]))

    def owns(self, web_id: str) -> bool:
        return self.count == 1 or zlib.crc32(web_id.encode()) % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"
