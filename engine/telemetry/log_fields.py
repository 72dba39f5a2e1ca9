"""What lines of the log carry besides their message: of which run they are. Light to import."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

RUN_FIELDS: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("osipi_run_fields", default=None)
"""Id, pipeline and shard of the run that this task or thread works for."""
