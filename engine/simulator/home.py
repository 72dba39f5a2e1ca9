"""Routes above the data: home and the system pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .call import Call
from .fields import pick
from .options import Basic, Bearer
from .replies import Reply, json_reply, message
from .site import Site
from .times import MINUTE, iso

__all__ = ["ROUTES"]

_VERSION = "1.13.0.6298"


def _answer(call: Call, body: dict[str, Any]) -> Reply:
    return json_reply(pick(body, call.query.fields()))


def _home(_site: Site, call: Call) -> Reply:
    names = {"AssetServers": "assetservers", "DataServers": "dataservers", "System": "system"}
    return _answer(
        call, {"Links": {"Self": f"{call.base}/"} | {name: f"{call.base}/{path}" for name, path in names.items()}}
    )


def _system(_site: Site, call: Call) -> Reply:
    here = f"{call.base}/system"
    pages = ("CacheInstances", "Configuration", "UserInfo", "Versions", "Status")
    links = {"Self": here} | {page: f"{here}/{page.lower()}" for page in pages}
    return _answer(call, {"ProductTitle": "PI Web API 2019 SP1", "ProductVersion": _VERSION, "Links": links})


def _userinfo(site: Site, call: Call) -> Reply:
    if site.options.auth is None:
        return Reply(204, [])
    name = site.options.auth.user if isinstance(site.options.auth, Basic) else "client"
    identity = {
        "IdentityType": "WindowsIdentity",
        "Name": f"SIM\\{name}",
        "IsAuthenticated": True,
        "SID": "S-1-5-21-1004336348-1177238915-682003330-1001",
        "ImpersonationLevel": "Impersonation",
    }
    return _answer(call, identity)


def _status(site: Site, call: Call) -> Reply:
    status = {
        "UpTimeInMinutes": site.uptime_minutes(call.now),
        "State": "Running",
        "CacheInstances": 1,
        "ServerTime": iso(call.now),
    }
    return _answer(call, status)


def _versions(_site: Site, call: Call) -> Reply:
    version = {"FullVersion": _VERSION, "MajorMinorRevision": "1.13.0", "Build": "6298"}
    return _answer(call, {"OSIsoft.REST.Services": version})


def _configuration(site: Site, call: Call) -> Reply:
    method = "Anonymous" if site.options.auth is None else type(site.options.auth).__name__
    configuration = {
        "AuthenticationMethods": [method],
        "EnableCSRFDefense": True,
        "DisableWrites": True,
        "MaxReturnedItemsPerCall": site.switches.max_items,
        "MaxRequestContentLength": site.switches.max_body_bytes,
        "RateLimitMaxRequests": site.switches.rate_limit or 0,
        "WebIDType": "Full",
    }
    return _answer(call, configuration)


def _cacheinstances(_site: Site, call: Call) -> Reply:
    instance = {
        "Id": "SIM\\client",
        "LastRefreshTime": iso(call.now - call.now % MINUTE),
        "WillRefreshAfter": iso(call.now - call.now % MINUTE + 5 * MINUTE),
        "ScheduledExpirationTime": iso(call.now + 15 * MINUTE),
        "User": "SIM\\client",
    }
    return _answer(call, {"Links": {}, "Items": [instance]})


def _for_administrators(page: Callable[[Site, Call], Reply]) -> Callable[[Site, Call], Reply]:
    """A page that no bearer token opens. Raises a 403."""

    def route(site: Site, call: Call) -> Reply:
        if isinstance(site.options.auth, Bearer):
            raise message(403, "Authorization has been denied for this request.")
        return page(site, call)

    return route


ROUTES = {
    "": _home,
    "system": _system,
    "system/userinfo": _userinfo,
    "system/status": _for_administrators(_status),
    "system/versions": _for_administrators(_versions),
    "system/configuration": _for_administrators(_configuration),
    "system/cacheinstances": _for_administrators(_cacheinstances),
}
