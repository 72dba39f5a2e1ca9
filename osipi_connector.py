"""The import that notebooks know: `PILakeflowConnector(config).run()`.

Takes the nested configuration of a YAML file, or flat keys as notebooks write them, or both. Decides
nothing about data. Invariant: what is shown of a connector holds no credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any

from config import Config, InvalidConfigurationError, from_mapping, load
from config.errors import ConfigurationError
from config.problems import Path
from engine.commands.terminal import errors
from engine.job import run_job
from engine.plan.shards import Shard
from engine.telemetry.log import set_up_logging
from engine.telemetry.report import RunFailedError, RunReport
from engine.wiring import target_of

__all__ = ["PILakeflowConnector", "RunFailedError", "RunReport"]

_FLAT: Mapping[str, tuple[str, ...]] = {
    "pi_web_api_url": ("pi_web_api", "url"),
    "pi_auth_type": ("pi_web_api", "auth_type"),
    "pi_username": ("pi_web_api", "username"),
    "pi_password": ("pi_web_api", "password"),
    "pi_token": ("pi_web_api", "token"),
    "secrets_scope": ("pi_web_api", "secrets_scope"),
    "catalog": ("unity_catalog", "catalog"),
    "schema": ("unity_catalog", "schema"),
    "storage_root": ("storage", "root"),
    "tags": ("extraction", "tags"),
    "start_date": ("extraction", "start_date"),
    "end_date": ("extraction", "end_date"),
    "af_database_id": ("asset_framework", "database"),
    "include_event_frames": ("event_frames", "enabled"),
}
# Of these the value is what a secret scope gave: a `${` in a password is a part of it.
_VERBATIM = frozenset({"pi_username", "pi_password", "pi_token"})
_REFERENCE = re.compile(r"\$\{(?:env|file|secret):[^{}]+\}")


class PILakeflowConnector:
    """Brings a PI System into Delta tables, from a notebook or any Python program.

    `config` is a mapping (sections as in YAML, the flat keys, or both) or the path of a YAML file.

    Raises:
        ConfigurationError: names everything that is wrong with it.

    """

    def __init__(self, config: Mapping[str, Any] | str | PathLike[str]) -> None:
        self._flat = isinstance(config, Mapping) and not _FLAT.keys().isdisjoint(config)
        with self._own_words():
            self._loaded = from_mapping(_nested(config)) if isinstance(config, Mapping) else load(config)

    @property
    def config(self) -> Config:
        """The configuration in effect; secrets show as asterisks."""
        return self._loaded.config

    def __repr__(self) -> str:
        source = self.config.pi_web_api.url or "the simulator"
        return f"PILakeflowConnector({self.config.pipeline!r}: {source} -> {target_of(self.config)})"

    def run(
        self,
        *,
        shard: str | None = None,
        run_id: str | None = None,
        take_over: str | None = None,
        retry_holes: bool = False,
    ) -> RunReport:
        """Read what is new, land it exactly once, and say what became of it.

        Works where an event loop runs already; interrupting it commits what is complete. `shard`, for
        example "0/4", takes a share of the tags. `take_over` names a pipeline whose tags, as far as they are
        selected here, belong to this one from then on. `retry_holes` asks for everything now that could not be
        read before, due or not. A report may tell of failed tags: in a notebook that
        runs as a job, end with `report.raise_for_status()`.

        Raises:
            ExtractError: there is nothing to report: configuration, login, permission, another run, tables.

        """
        found = self._loaded
        monitoring = found.config.monitoring
        console = errors()
        set_up_logging(console, level=monitoring.log_level, as_json=monitoring.log_format == "json")
        part = Shard.parse(shard) if shard else Shard()
        with self._own_words():
            return run_job(
                found.config,
                shard=part,
                run_id=run_id,
                console=console,
                warnings=found.warnings,
                take_over=take_over,
                retry_holes=retry_holes,
            )

    @contextmanager
    def _own_words(self) -> Iterator[None]:
        """Call keys in complaints as the user has called them."""
        try:
            yield
        except InvalidConfigurationError as error:
            if not self._flat:
                raise
            refused = _in_flat_words(error)
        else:
            return
        raise refused


def _nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sections as in YAML, flat keys put where they belong."""
    document = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for key in [key for key in document if key in _FLAT]:
        value = document.pop(key)
        section, name = _FLAT[key]
        inner = document.setdefault(section, {})
        if not isinstance(inner, dict) or name in inner:
            raise ConfigurationError(f"{key} stands beside {section}.{name}", hint="write one of the two")
        inner[name] = _verbatim(value) if key in _VERBATIM and isinstance(value, str) else value
    return document


def _verbatim(value: str) -> str:
    return value if _REFERENCE.fullmatch(value) else value.replace("${", "$${")


def _in_flat_words(error: InvalidConfigurationError) -> InvalidConfigurationError:
    """The same, with what has a flat key called by it."""
    flat: dict[Path, str] = {path: key for key, path in _FLAT.items()}
    problems = [
        replace(problem, found=f"{problem.found} (`{flat[names]}`)") if (names := problem.path[:2]) in flat else problem
        for problem in error.problems
    ]
    return InvalidConfigurationError(error.source, problems, hint=error.hint)
