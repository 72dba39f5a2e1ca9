"""A managed table as readers see it that know no catalog: its published log, without the features that name one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["as_path_table", "folder_of"]

CATALOGS_OWN = {"catalogManaged", "inCommitTimestamp", "vacuumProtocolCheck"}


def folder_of(location: str) -> Path:
    return Path(urlsplit(location).path)


def as_path_table(location: str, copy: Path, *, begins_at: int = 0) -> Path:
    """Copy a managed table (data by hard links) so that anybody can open it; every entry but the first, and what
    checkpoints say of files, is as published. `begins_at`: the first version whose entry is still there.
    """
    shutil.copytree(folder_of(location), copy, copy_function=os.link)
    log = copy / "_delta_log"
    for file in (log / f"{0:020}.json", *log.glob("*.checkpoint.*.json")):
        actions = [_without_catalog(json.loads(line)) for line in file.read_text().splitlines()]
        file.unlink()  # or we would write into the table itself
        file.write_text("".join(json.dumps(action) + "\n" for action in actions))
    for version in range(begins_at):
        (log / f"{version:020}.json").unlink()
    return copy


def _without_catalog(action: dict[str, Any]) -> dict[str, Any]:
    for kind in ("readerFeatures", "writerFeatures"):
        if "protocol" in action:
            action["protocol"][kind] = sorted(set(action["protocol"][kind]) - CATALOGS_OWN)
    if "metaData" in action:
        action["metaData"]["configuration"].pop("delta.enableInCommitTimestamps", None)
    return action
