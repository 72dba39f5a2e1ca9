"""The dataset `data_servers`: pi_data_servers, the data servers that the PI Web API shows. They come with the tags."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

import pyarrow as pa

from writers import PI_DATA_SERVERS, sync_data_servers

from ..piweb.values import well_formed
from ..piweb.wire import DataServer
from .dataset import SyncContext, SyncedDataset, SyncResult

_COLUMNS = ("web_api_host", "data_server_webid", "name", "path", "is_connected", "server_version")
_SCHEMA = pa.schema([PI_DATA_SERVERS.schema.field(name) for name in _COLUMNS])


async def _sync(context: SyncContext) -> SyncResult | None:
    """Bring pi_data_servers up to date. Only the first shard does it; None for the others."""
    inventory = context.inventory
    if context.shard.index != 0 or not inventory.servers:
        return None
    host = urlsplit(context.base_url).hostname or ""
    write = partial(
        sync_data_servers,
        context.lakehouse,
        pa.Table.from_pylist([_row(host, one) for one in inventory.servers], _SCHEMA),
        now=inventory.server_now,
        complete=inventory.all_servers,
        on_step=context.on_step,
    )
    receipt = await context.blocking(write)
    unread = () if inventory.all_servers else (("data servers", "an item of the list cannot be read"),)
    return SyncResult(added=receipt.added, changed=receipt.changed, missing=receipt.missing, unread=unread)


def _row(host: str, one: DataServer) -> dict[str, object]:
    cells = (host, one.WebId, one.Name, one.Path, one.IsConnected, one.ServerVersion)
    formed = [well_formed(cell) if isinstance(cell, str) else cell for cell in cells]
    return dict(zip(_COLUMNS, formed, strict=True))


DATA_SERVERS = SyncedDataset(name="data_servers", tables=(PI_DATA_SERVERS,), sync=_sync, beside_values=True)
