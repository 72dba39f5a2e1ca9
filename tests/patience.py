"""How long a test may wait on a machine that is busy elsewhere."""

from __future__ import annotations

import os

__all__ = ["HANGS_AFTER_SECS", "patiently"]

# What has not come by then never comes. No test waits for it to pass.
HANGS_AFTER_SECS = 200.0


def patiently(secs: float) -> float:
    """What may take so many seconds where there is nothing else to do. With more to do than there are processors,
    all of it takes as many times longer.
    """
    return secs * max(1.0, 1.5 * os.getloadavg()[0] / (os.cpu_count() or 1))
