"""The client of a Databricks workspace, for secrets, grants and views. Imports databricks-sdk, which takes seconds.

Invariant: no request of this client follows a redirect: some of its tokens are in headers that would travel along.
"""

from __future__ import annotations

import contextlib

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config as WorkspaceConfig

RETRY_TIMEOUT_SECS = 30  # the SDK's own 300 s is longer than anybody watches an unreachable workspace


def workspace_client() -> WorkspaceClient:
    """The workspace that the environment, a profile or the identity of a job names.

    Raises `ValueError` if there is no login.
    """
    client = WorkspaceClient(config=WorkspaceConfig(retry_timeout_seconds=RETRY_TIMEOUT_SECS))
    with contextlib.suppress(AttributeError):  # the SDK has no option for it, and may call its session otherwise
        client.api_client._api_client._session.max_redirects = 0  # noqa: SLF001
    return client
