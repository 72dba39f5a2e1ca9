"""Carries out `views`: fills the names of the tables into the SQL of the views, and prints it, or has it carried out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import click

from config import Config
from config.errors import AccessDeniedError, ConfigurationError, UnavailableError
from config.text import sql_name, sql_quoted, sql_string
from writers import PI_TAGS, PI_TIMESERIES
from writers.asset_tables import (
    PI_ASSET_ATTRIBUTES,
    PI_ASSET_HIERARCHY,
    PI_EVENT_FRAME_ELEMENTS,
    PI_EVENT_FRAMES,
)
from writers.tables import PI_WATERMARKS

from ...run.connect import names_of
from ...telemetry.formats import one_line, printable
from ..exit_status import CommandResult
from ..options import load_config

_TABLES = {
    "timeseries": PI_TIMESERIES,
    "tags": PI_TAGS,
    "asset_hierarchy": PI_ASSET_HIERARCHY,
    "asset_attributes": PI_ASSET_ATTRIBUTES,
    "event_frames": PI_EVENT_FRAMES,
    "event_frame_elements": PI_EVENT_FRAME_ELEMENTS,
    "watermarks": PI_WATERMARKS,
}
# The longest that a warehouse lets a caller wait.
_WAIT = "50s"


class View(NamedTuple):
    """A view: its name, and the statement that creates it."""

    name: str
    statement: str


def show(*, path: str | None, overrides: tuple[str, ...], names: Sequence[str]) -> CommandResult:
    for view in views_of(load_config(path, overrides).config, names):
        click.echo(f"{printable(view.statement)};\n")
    return CommandResult()


def create(*, path: str | None, overrides: tuple[str, ...], names: Sequence[str], warehouse: str) -> CommandResult:
    config = load_config(path, overrides).config
    if config.storage.root is not None:
        raise ConfigurationError(
            "views are created in Unity Catalog, and these tables are under storage.root",
            hint="`views show` prints the statements: run them where the tables are queried.",
        )
    for view in views_of(config, names):
        _carry_out(view, warehouse)
        click.echo(f"{one_line(view.name)} created")
    return CommandResult()


def views_of(config: Config, names: Sequence[str] = ()) -> Iterator[View]:
    """The views of these names, or all, for the configured tables. Raises `ConfigurationError` for an unknown name."""
    folder = files(__package__).joinpath("sql")
    texts = {
        one.name.removesuffix(".sql"): one.read_text("utf-8") for one in folder.iterdir() if one.name.endswith(".sql")
    }
    if unknown := [name for name in names if name not in texts]:
        raise ConfigurationError(f"there is no view {unknown[0]!r}", hint=f"There are: {', '.join(sorted(texts))}.")
    known = names_of(config)
    root = config.storage.root
    if root is not None and "://" not in root:
        root = str(Path(root).absolute())
    tables = {
        role: sql_name(*known.parts(spec))
        if root is None
        else f"delta.{sql_quoted('/'.join((root.rstrip('/'), *known.parts(spec))))}"
        for role, spec in _TABLES.items()
    }
    for name in sorted(set(names) or texts):
        comment, _, query = texts[name].partition("\n")
        words = sql_string(comment.removeprefix("-- "))
        full = sql_name(known.catalog, known.schema, name)
        yield View(full, f"CREATE OR REPLACE VIEW {full}\nCOMMENT {words} AS\n{query.strip().format(**tables)}")


def _carry_out(view: View, warehouse: str) -> None:
    from databricks.sdk.errors import PermissionDenied
    from databricks.sdk.errors.base import DatabricksError
    from databricks.sdk.service.sql import ExecuteStatementRequestOnWaitTimeout, StatementState

    from config.workspace import workspace_client

    try:
        found = workspace_client().statement_execution.execute_statement(
            view.statement,
            warehouse,
            wait_timeout=_WAIT,
            on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CANCEL,
        )
    except PermissionDenied as error:
        raise AccessDeniedError(
            f"the view {view.name} was not created: {error}",
            hint="The account needs CAN USE on the warehouse, and CREATE TABLE in the schema.",
        ) from error
    except (DatabricksError, ValueError, OSError) as error:  # ValueError: no login is configured
        raise UnavailableError(
            f"the view {view.name} was not created: {error}",
            hint="`views show` prints the statements: they can be run in any SQL editor.",
        ) from error
    status = found.status
    if status is None or status.state is not StatementState.SUCCEEDED:
        said = status.error.message if status and status.error else f"the warehouse answered {status and status.state}"
        raise UnavailableError(
            f"the view {view.name} was not created: {said}", hint="A warehouse that is starting may need a second try."
        )
