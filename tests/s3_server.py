"""moto's S3 with one thing mended: of two that put the same name with `If-None-Match: *` at once, one is refused.

moto looks and writes in two steps. S3 does not, and what is committed relies on it. `python -m tests.s3_server -p PORT`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import moto.server
from werkzeug.serving import run_simple

_CONDITIONAL = threading.Lock()


def main() -> None:
    moto.server.run_simple = _serve  # type: ignore[attr-defined]
    moto.server.main()


def _serve(host: str, port: int, application: Callable[..., Iterable[bytes]], **options: Any) -> None:
    def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return application(environ, start_response)
        with _CONDITIONAL:
            return list(application(environ, start_response))

    run_simple(host, port, one_at_a_time, **options)


if __name__ == "__main__":
    main()
