"""Unity Catalog as a destination: external and managed tables. The way in is `open_unity`.

Invariant: the promises of `writers.ports` hold here as they do on paths. Callers do not see who decides a commit,
storage or catalog.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

from ..ports import Lakehouse
from ..tables import Names
from .patience import Patience

__all__ = ["Patience", "open_unity"]


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
    creates: bool = True,
    sleep: Callable[[float], None] = time.sleep,
    patience: Patience = Patience(),  # noqa: B008 - a frozen value
) -> Lakehouse:
    """Open the tables of a catalog; asks it nothing yet.

    Without `host` and `token` the Databricks SDK finds out who we are (a job's identity, a profile, the
    environment). `table_type`, `location` and `properties` (by `TableSpec.name`) are for tables that have to be
    created. `storage_options` are what vended credentials do not say, such as AWS_REGION. `on_step` hears of each step of a commit
    that the catalog decides: staged, ratified, copied, published. `creates`: whether tables that do not exist are
    created; else they are waited for, by `sleep`. `patience`: how long a catalog that fails is waited for.

    Raises `AuthenticationError` where the SDK finds no credentials.
    """
    from .client import CatalogClient
    from .delta_api import DeltaApi
    from .lakehouse import UnityLakehouse
    from .table import Catalog
    from .transport import connect

    transport = connect(host, token, patience=patience)
    catalog = Catalog(
        client=CatalogClient(transport),
        delta=DeltaApi(transport),
        kind=table_type,
        location=location,
        storage_options=dict(storage_options or {}),
        on_step=on_step,
        clock=clock,
        creates=creates,
        sleep=sleep,
    )
    return UnityLakehouse(catalog, names or Names(), properties or {})
