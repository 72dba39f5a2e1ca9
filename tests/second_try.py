"""Runs what failed once more, alone: a test that then passes was not steady on a busy machine.

Such tests are named, to be mended, and stop nothing. Tests of a promise get no second try: what fails
there once in a hundred times is lost data once in a hundred times. `python -m tests.second_try [PYTEST OPTIONS]`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_FAILED = Path(".pytest_cache/v/cache/lastfailed")
_PROMISES = tuple(f"tests/{name}/" for name in ("contract", "crash", "exactness", "histories", "landing", "race"))
_MOST = 5  # more than a few are no accident


def main(options: Sequence[str]) -> int:
    failed = sorted(json.loads(_FAILED.read_text())) if _FAILED.exists() else []
    if not failed or len(failed) > _MOST or any(name.startswith(_PROMISES) or "::" not in name for name in failed):
        return 1
    print(f"\n== once more, alone: {', '.join(failed)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", "-m", "", *options, *failed], check=False).returncode
    if code == 0:
        print("\n".join(f"NOT STEADY: {name} failed beside others and passed alone" for name in failed), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
