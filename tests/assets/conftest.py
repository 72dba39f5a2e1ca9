"""Every kind of destination, as the contract has them."""

from __future__ import annotations

from tests.contract.conftest import azure, destination, s3, server

__all__ = ["azure", "destination", "s3", "server"]
