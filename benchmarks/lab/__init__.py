"""The parts of the benchmarks: the simulated plant, measured processes, stages, bars, results.

May import anything of the product; nothing of the product imports this. Invariant: what is
compared is measured in the same run, in processes of their own, on the same cores.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).resolve().parent.parent.parent
