"""`check --alerts` sends one message to each channel, and says what came back; the address stays a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run import alerts
from tests.monitoring.webhook_server import SECRET, webhook

from .conftest import Called, written

_TEXT = "PI Connector Alert: pipeline plant: a test message; nothing is wrong"


def test_each_channel_gets_one_message_and_the_answers_are_shown(
    called: Called, here: Path, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "POST_SECS", 0.3)
    with webhook() as good, webhook() as refusing, webhook() as moved, webhook() as slow:
        refusing.status, moved.status, slow.slow = 403, 302, True
        channels = [{"kind": "webhook", "url": one.url, "on": ["holes"]} for one in (good, refusing, moved, slow)]
        written(here, site, monitoring={"alerts": channels, "slack_webhook_url": good.url})
        done = called("check", "-c", "plant.yaml", "--alerts", "--json")
        assert [body["text"] for body in good.bodies] == [_TEXT, _TEXT]
        assert [len(one.asked) for one in (refusing, moved, slow)] == [1, 1, 1]
        assert good.bodies[1] | {"since": ""} == {
            "title": "PI Connector Alert", "pipeline": "plant", "state": "test", "status": "test", "text": _TEXT,
            "detail": "", "since": "", "run_id": "test", "shard": "0-of-1",
        }  # fmt: skip
    said = [one for one in done.json["checks"] if one["name"] == "alerts"]
    assert [one["status"] for one in said] == ["passed", "passed", "failed", "failed", "failed"]
    texts = [one["text"] for one in said]
    assert texts[0] == "monitoring.slack_webhook_url took a test message, with status 200; look whether it has come"
    assert texts[2] == "monitoring.alerts[1] (webhook) got no test message: 127.0.0.1 answered with 403"
    assert texts[3].endswith("127.0.0.1 answered with 302 (a redirect, which is not followed)")
    assert texts[4].endswith("got no test message: no answer within 0.3 s")
    assert (done.code, SECRET in done.out + done.err) == (1, False)
    assert not list(here.glob("lakehouse/**/alerts-*")), "no state was sent, so none is kept"


def test_without_a_channel_there_is_nothing_to_try(called: Called, here: Path, site: str) -> None:
    written(here, site)
    done = called("check", "-c", "plant.yaml", "--alerts")
    assert (done.code, "there is no channel to try" in done.out) == (2, True)
    assert "alerts" not in called("check", "-c", "plant.yaml").out
