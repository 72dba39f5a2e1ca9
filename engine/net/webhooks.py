"""Posts a JSON object to a webhook, once. Blocks; the caller bounds how long it waits.

Plain `urllib`: it takes the proxies of the environment, and logs nothing. Other clients write the path of a request,
which is the secret here, into their own debug logs. Invariant: nothing of the address but its host is in an error, and
no redirect is followed.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from config import is_web_address
from config.errors import UnavailableError


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post_json(url: str, body: Mapping[str, Any], *, timeout_secs: float) -> int:
    """The status of the answer, if the webhook has taken it. `timeout_secs` counts for each time that the network is waited for.

    Raises `UnavailableError`: how it refused, or that it did not answer.
    """
    url = url.strip()
    if not is_web_address(url):
        raise UnavailableError("its url is no http(s) address")
    host = urlsplit(url).hostname
    request = urllib.request.Request(  # noqa: S310 - an http(s) address
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "osipi-connector"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_secs) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        redirected = " (a redirect, which is not followed)" if 300 <= error.code < 400 else ""
        why = f"{host} answered with {error.code}{redirected}"
    except TimeoutError:
        why = f"{host} did not answer within {timeout_secs:g} s"
    except urllib.error.URLError as error:
        slow = isinstance(error.reason, TimeoutError)
        why = f"{host} did not answer within {timeout_secs:g} s" if slow else f"{host} cannot be reached"
    except (OSError, http.client.HTTPException, ValueError):
        why = f"{host} gave no answer that can be read"
    # Raised out here: the original errors quote the address.
    raise UnavailableError(why)
