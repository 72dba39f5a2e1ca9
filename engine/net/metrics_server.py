"""Answers GET /metrics with a text that is given: in the text format of Prometheus, or as OpenMetrics if asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from ..telemetry.openmetrics import OPENMETRICS_TYPE, TEXT_TYPE


@asynccontextmanager
async def serve_metrics(host: str, port: int, text: Callable[[bool], str]) -> AsyncIterator[None]:
    """Serve meanwhile. `text` is given whether OpenMetrics is wanted. Raises `OSError` if the port cannot be had."""

    async def metrics(request: web.Request) -> web.Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        return web.Response(
            body=text(openmetrics).encode(), headers={"Content-Type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE}
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
