"""A hook of MkDocs: files of the project outside of docs/ that pages link to are part of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("CHANGELOG.md", "config/connector_config.yaml", "resources/osipi_connector.dashboard.yml")


def on_files(files: Files, config: Any) -> Files:
    """Add them."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_rest: Any) -> str:
    """Have links to them stay in the site."""
    up = "../" * page.file.src_uri.count("/")
    for name in OUTSIDE:
        markdown = markdown.replace(f"](../{up}{name}", f"]({up}{name}")
    # What is outside of docs/ links into it.
    return markdown.replace("](docs/", f"]({up}") if page.file.src_uri in OUTSIDE else markdown
