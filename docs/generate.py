"""Writes the pages of docs/reference, the pictures of docs/images and config/connector_config.yaml, from the code.

    python docs/generate.py            write what is stale
    python docs/generate.py --check    exit code 1 if a page is stale; changes nothing

Since which version a key or a column exists is kept in docs/reference/since.json. What is not in it yet gets the version
of pyproject.toml.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs.generating import commands, configuration, errors, glossary, notebook, pictures, report, sample, tables  # noqa: E402

SINCE = "docs/reference/since.json"


def pages(root: Path = ROOT) -> dict[str, str]:
    """The text of each generated file, by its path under the project."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    kept = root / SINCE
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    names = [*configuration.names(), *tables.names()]
    since = {name: known.get(name, version) for name in sorted(names)}
    return {
        SINCE: json.dumps(since, indent=1) + "\n",
        "config/connector_config.yaml": sample.text(),
        "docs/reference/configuration.md": configuration.page(since),
        "docs/reference/tables.md": tables.page(since),
        "docs/reference/errors.md": errors.page(),
        "docs/reference/commands.md": commands.page(),
        "docs/reference/notebook.md": notebook.page(),
        "docs/reference/report.md": report.page(),
        "docs/reference/glossary.md": glossary.page(),
        **{f"docs/images/{name}": picture for name, picture in pictures.pictures().items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "docs/generate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is stale")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="FOLDER", help="where the pages are")
    given = parser.parse_args(arguments)
    stale = []
    for name, text in pages(given.root).items():
        path = given.root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not given.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"{name}: written", file=sys.stderr)
    if given.check and stale:
        print(f"stale: {', '.join(stale)}; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
