"""The stand-in in a process of its own: `python -m tests.unity.serve ROOT`, where managed tables go.

Says where it listens, stays until its standard input ends, and then tells, as JSON, how often it was asked what.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from tests.unity.stand_in import StandIn


def main(root: str) -> None:
    with StandIn(root) as catalog:
        print(f"listening on {catalog.host}", flush=True)
        sys.stdin.read()
        print(json.dumps(Counter(catalog.asked)))


if __name__ == "__main__":
    main(sys.argv[1])
