"""How many instructions the native decoder takes for an event, counted by callgrind: the same on a busy machine.

    python benchmarks/instructions.py            hold them against benchmarks/results/instructions.json
    python benchmarks/instructions.py --write    keep today's

Needs Rust and valgrind. Exit code 1: an answer takes 5 % more instructions than what is kept.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.decode_only import CORPORA, corpus  # noqa: E402

KEPT = ROOT / "benchmarks" / "results" / "instructions.json"
MOST = 1.05


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep today's counts")
    given = parser.parse_args(arguments)
    missing = [name for name in ("cargo", "valgrind") if shutil.which(name) is None]
    if missing:
        print(f"not counted: there is no {' and no '.join(missing)} here")
        return 0
    found = counted()
    if given.write:
        KEPT.write_text(json.dumps(found, indent=2) + "\n")
        return 0
    kept = json.loads(KEPT.read_text())
    for name, count in found.items():
        print(f"{name}: {count:,.0f} instructions for an event, {count / kept[name]:.1%} of what is kept")
    return int(any(count > MOST * kept[name] for name, count in found.items()))


def counted() -> dict[str, float]:
    """Instructions for an event of each corpus of decode_only."""
    build = ["cargo", "build", "--quiet", "--release", "--example", "decode", "--manifest-path", "native/Cargo.toml"]
    subprocess.run(build, cwd=ROOT, check=True)
    found = {}
    with tempfile.TemporaryDirectory(prefix="osipi-instructions-") as folder:
        for name, (tags, events, slim) in CORPORA.items():
            body, asks = corpus(tags, events, slim=slim)
            file = Path(folder) / name
            file.write_bytes(body)
            # Starting and reading the file are in both counts.
            once, thrice = (_instructions(file, len(asks), times) for times in (1, 3))
            found[name] = round((thrice - once) / 2 / (tags * events), 1)
    return found


def _instructions(file: Path, asks: int, times: int) -> int:
    program = ROOT / "native" / "target" / "release" / "examples" / "decode"
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program), str(file)]
    said = subprocess.run([*command, str(asks), str(times)], check=True, capture_output=True, text=True).stderr
    match = re.search(r"Collected : (\d+)", said)
    if match is None:
        raise RuntimeError(f"callgrind says nothing of its count:\n{said}")
    return int(match[1])


if __name__ == "__main__":
    sys.exit(main())
