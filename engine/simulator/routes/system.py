"""Routes of the home page and the system pages."""

from __future__ import annotations

from collections.abc import Callable

from ..options import BasicLogin, BearerLogin
from ..replies import Reply, message
from ..request import IncomingRequest
from ..site import Site
from ..times import MINUTE, iso

_VERSION = "1.13.0.6298"


def _home(_site: Site, request: IncomingRequest) -> Reply:
    names = {"AssetServers": "assetservers", "DataServers": "dataservers", "System": "system"}
    return request.answer(
        {"Links": {"Self": f"{request.base}/"} | {name: f"{request.base}/{path}" for name, path in names.items()}},
    )


def _system(_site: Site, request: IncomingRequest) -> Reply:
    here = f"{request.base}/system"
    pages = ("CacheInstances", "Configuration", "UserInfo", "Versions", "Status")
    links = {"Self": here} | {page: f"{here}/{page.lower()}" for page in pages}
    return request.answer({"ProductTitle": "PI Web API 2019 SP1", "ProductVersion": _VERSION, "Links": links})


def _userinfo(site: Site, request: IncomingRequest) -> Reply:
    if site.options.auth is None:
        return Reply(204, [])
    name = site.options.auth.user if isinstance(site.options.auth, BasicLogin) else "client"
    identity = {
        "IdentityType": "WindowsIdentity",
        "Name": f"SIM\\{name}",
        "IsAuthenticated": True,
        "SID": "S-1-5-21-1004336348-1177238915-682003330-1001",
        "ImpersonationLevel": "Impersonation",
    }
    return request.answer(identity)


def _status(site: Site, request: IncomingRequest) -> Reply:
    status = {
        "UpTimeInMinutes": site.uptime_minutes(request.now),
        "State": "Running",
        "CacheInstances": 1,
        "ServerTime": iso(request.now),
    }
    return request.answer(status)


def _versions(_site: Site, request: IncomingRequest) -> Reply:
    version = {"FullVersion": _VERSION, "MajorMinorRevision": "1.13.0", "Build": "6298"}
    return request.answer({"OSIsoft.REST.Services": version})


def _configuration(site: Site, request: IncomingRequest) -> Reply:
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
    return request.answer(configuration)


def _cacheinstances(_site: Site, request: IncomingRequest) -> Reply:
    instance = {
        "Id": "SIM\\client",
        "LastRefreshTime": iso(request.now - request.now % MINUTE),
        "WillRefreshAfter": iso(request.now - request.now % MINUTE + 5 * MINUTE),
        "ScheduledExpirationTime": iso(request.now + 15 * MINUTE),
        "User": "SIM\\client",
    }
    return request.answer_list([instance])


def _for_administrators(page: Callable[[Site, IncomingRequest], Reply]) -> Callable[[Site, IncomingRequest], Reply]:
    """A page that no bearer token opens. Raises a 403."""

    def route(site: Site, request: IncomingRequest) -> Reply:
        if isinstance(site.options.auth, BearerLogin):
            raise message(403, "Authorization has been denied for this request.")
        return page(site, request)

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
