"""A managed table as readers see it that know no catalog: its published log, without the features that name one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["as_path_table", "folder_of"]

CATALOGS_OWN = {"catalogManaged", "inCommitTimestamp", "vacuumProtocolCheck"}


def folder_of(location: str) -> Path:
    return Path(urlsplit(location).path)


def as_path_table(location: str, copy: Path) -> Path:
    """Copy a managed table (data by hard links) so that anybody can open it; every entry but the first is as published."""
    shutil.copytree(folder_of(location), copy, copy_function=os.link)
    first = copy / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in first.read_text().splitlines()]
    first.unlink()  # or we would write into the table itself
    for action in actions:
        for kind in ("readerFeatures", "writerFeatures"):
            if "protocol" in action:
                action["protocol"][kind] = sorted(set(action["protocol"][kind]) - CATALOGS_OWN)
        if "metaData" in action:
            action["metaData"]["configuration"].pop("delta.enableInCommitTimestamps", None)
    first.write_text("".join(json.dumps(action) + "\n" for action in actions))
    return copy
