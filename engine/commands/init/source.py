"""What a PI Web API says of itself to a newcomer: product, data servers, AF databases, tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config import Config, from_mapping
from config.errors import ExtractError

from ...datasets.asset_reader import AssetReader, list_databases
from ...datasets.halving import ask
from ...datasets.request_mode import Mode
from ...datasets.tags import find_tags
from ...piweb import points, requests
from ...run.connect import Connection, connect

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Names, in the order of the server. `databases` is None where asset servers cannot be asked."""

    data_servers: tuple[str, ...]
    databases: tuple[str, ...] | None
    why_no_databases: str = ""


@dataclass(frozen=True, slots=True)
class MatchedTags:
    """How many tags a pattern matches, and the names of a few."""

    number: int
    names: tuple[str, ...]


async def look_around(document: Mapping[str, Any], env: Mapping[str, str]) -> SourceFacts:
    """Log in and list. Raises `ExtractError` where the login or the list of data servers fails."""
    async with connect(_once(document, env)) as source:
        listed = await ask(
            source.client,
            requests.data_servers(),
            "listing the data servers",
            lambda answer: points.data_servers(answer.body),
        )
        servers = tuple(one.Name for one in listed)
        try:
            return SourceFacts(servers, await _databases(source))
        except ExtractError as error:
            return SourceFacts(servers, None, str(error))


async def _databases(source: Connection) -> tuple[str, ...]:
    reader = AssetReader(source.client, source.url, Mode.SINGLE, batch_size=1)
    return tuple(one.name for one in await list_databases(reader))


async def count_tags(document: Mapping[str, Any], env: Mapping[str, str]) -> MatchedTags:
    """The tags that the configuration selects. Raises `ExtractError`."""
    config = _once(document, env)
    async with connect(config) as source:
        inventory = await find_tags(source.client, config.extraction)
    return MatchedTags(len(inventory.tags), tuple(tag.name for tag in inventory.tags[:_NAMES_SHOWN]))


def _once(document: Mapping[str, Any], env: Mapping[str, str]) -> Config:
    """The configuration, with one attempt for each request: a person waits for the answer."""
    config = from_mapping(document, env=env, source="these answers").config
    return config.model_copy(update={"retry": config.retry.model_copy(update={"max_attempts": 1})})
