"""What the tests of this folder share: small configurations of the simulator, and what they leave behind."""

from __future__ import annotations

from typing import Any

import config
from engine.run.connect import lakehouse_of
from writers import PI_CONNECTOR_METRICS


def plant(folder, **sections: Any) -> config.Config:
    document = {
        "pipeline": "p",
        "development": {"simulator": {"tags": 5, "history": "1h"}},
        "pi_web_api": {"auth_type": "anonymous", "max_requests_per_second": 100_000},
        "extraction": {"tag_name_filter": "*", "start_date": "now-1h"},
        "storage": {"root": str(folder)},
    }
    return config.from_mapping({**document, **sections}, env={}).config


def metrics(settings: config.Config) -> list[dict[str, Any]]:
    rows = lakehouse_of(settings).table(PI_CONNECTOR_METRICS).open().read().read_all()
    return rows.sort_by("started_at").to_pylist()
