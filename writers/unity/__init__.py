"""Unity Catalog as a destination: external and managed tables. The way in is `open_unity`.

May import `config` and `writers`, never `engine`. Invariant: the promises of `writers.commit` hold here
as they do on paths; who decides a commit (storage or catalog) is nobody else's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

from ..commit import Lakehouse
from ..tables import Names

__all__ = ["open_unity"]


def open_unity(
    *,
    host: str | None = None,
    token: str | None = None,
    names: Names | None = None,
    properties: Mapping[str, Mapping[str, str]] | None = None,
    table_type: Literal["managed", "external"] = "managed",
    location: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    on_step: Callable[[str], None] = lambda _step: None,
    clock: Callable[[], float] = time.time,
) -> Lakehouse:
    """Open the tables of a catalog; asks it nothing yet.

    Without `host` and `token` the Databricks SDK finds out who we are (a job's identity, a profile, the
    environment). `table_type`, `location` and `properties` (by `TableSpec.name`) are for tables that have to be
    created. `storage_options` are what vended credentials do not say, such as AWS_REGION. `on_step` hears of each step of a commit
    that the catalog decides: staged, ratified, copied, published.

    Raises `AuthenticationError` where the SDK finds no credentials.
    """
    from .client import CatalogClient
    from .delta_api import DeltaApi
    from .lakehouse import UnityLakehouse
    from .table import Catalog
    from .transport import connect

    transport = connect(host, token)
    catalog = Catalog(
        client=CatalogClient(transport),
        delta=DeltaApi(transport),
        kind=table_type,
        location=location,
        storage_options=dict(storage_options or {}),
        on_step=on_step,
        clock=clock,
    )
    return UnityLakehouse(catalog, names or Names(), properties or {})
