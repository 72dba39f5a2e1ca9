"""Alerts reach real webhooks, once for each state, and neither fail a run nor hold it up, whatever the webhook does."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from types import SimpleNamespace

import pytest

import config
from config.errors import ExtractError, StorageError, UnavailableError
from engine.net.webhooks import post_json
from engine.plan.shards import Shard
from engine.run import alerts as alerts_module
from engine.run import run
from engine.run.alerts import Alerts
from engine.telemetry.alert_text import Sender
from engine.telemetry.alerts import Facts
from osipi_connector import PILakeflowConnector
from tests.memory_lakehouse import MemoryLakehouse
from tests.monitoring.plants import plant
from tests.monitoring.webhook_server import SECRET, until, webhook
from tests.patience import patiently
from tests.variants import first_of
from writers import open_lakehouse

MINUTE = 60_000_000
STATES = {
    "run_failed": ({"run_failed": "PI is away"}, 1.0, "the run failed: PI is away", "runs succeed again"),
    "tags_failed": (
        {"tags_failed": "1 tag failed: A: gone"},
        1.0,
        "tags failed: 1 tag failed",
        "no tag fails any more",
    ),
    "holes": ({"holes": "1 hole"}, 1.0, "some time could not be read: 1 hole", "there are no holes any more"),
    "stale": ({}, 7200.0, "the data is too old: the tag furthest behind is 2 h behind", "the data is fresh again"),
}


@pytest.fixture
def hook():
    with webhook() as served:
        yield served


@pytest.fixture
def lake():
    return MemoryLakehouse()


def alerts_to(lakehouse, *receivers, shard="0-of-1", now=0, follows=False, **monitoring) -> Alerts:
    settings = config.from_mapping(
        {"pipeline": "plant", "monitoring": {"alerts": list(receivers), **monitoring}}, env={}
    )
    made = Alerts(settings.config, Sender("plant", "run-1", shard), follows=follows, now=lambda: now)
    made.lakehouse = lakehouse
    return made


def text_in(kind: str, body: dict) -> str:
    if kind == "teams":
        [attachment] = body["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        [block] = attachment["content"]["body"]
        return "".join(run["text"] for run in block["inlines"])
    return body["text"]


def well(at: int, shard: str = "0-of-1") -> Facts:
    return Facts(shard, at, {"run_failed": "", "tags_failed": "", "holes": ""}, age_secs=1.0)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", ["slack", "teams", "webhook"])
async def test_each_receiver_is_told_of_each_state_once_and_of_its_end_once(hook, lake, kind, state):
    problems, age, ill, over = STATES[state]
    receiver = {"kind": kind, "url": hook.url, "max_age": "1h"}
    for number in range(4):  # each is a run of its own
        facts = Facts("0-of-1", number * MINUTE, problems, age) if number < 2 else well(number * MINUTE)
        await alerts_to(lake, receiver).tell(facts)
    texts = [text_in(kind, body) for body in hook.bodies]
    assert len(texts) == 2
    assert texts[0].startswith(f"PI Connector Alert: pipeline plant: {ill}")
    assert texts[1].startswith(f"PI Connector Alert: pipeline plant: {over} (since 1970-01-01 00:02:00Z)")
    if kind == "webhook":
        names = ("title", "pipeline", "state", "status", "since", "run_id", "shard")
        assert [hook.bodies[0][name] for name in names] == [
            *("PI Connector Alert", "plant", state, "alert", "1970-01-01T00:00:00Z", "run-1", "0-of-1")
        ]
        assert hook.bodies[1]["status"] == "recovered"


async def test_title_and_template_make_the_text(hook, lake):
    receiver = {
        "url": hook.url,
        "title": "Plant 7",
        "template": "{{{title}}} {pipeline}/{shard} {state} {status}: {detail}",
    }
    await alerts_to(lake, receiver).tell(Facts("0-of-1", 0, {"holes": "1 hole"}))
    assert hook.texts == ["{Plant 7} plant/0-of-1 holes alert: 1 hole"]


async def test_names_of_a_server_mention_no_one_and_forge_no_line(hook, lake):
    facts = Facts("0-of-1", 0, {"tags_failed": "<!channel> & <https://evil.example|A>\nnext \u202e{title}"})
    await alerts_to(lake, {"kind": "slack", "url": hook.url}).tell(facts)
    [text] = hook.texts
    assert "<" not in text
    assert ">" not in text
    assert "&lt;!channel&gt; &amp; " in text
    assert "\n" not in text
    assert "\u202e" not in text
    assert "{title}" in text


@pytest.mark.parametrize("behaviour", ["500", "404", "302", "slow", "refuses"])
async def test_a_webhook_that_does_not_take_it_is_a_warning_without_its_address_and_is_tried_again(
    hook, lake, behaviour, caplog, monkeypatch
):
    monkeypatch.setattr(alerts_module, "POST_SECS", 0.2)
    url = f"http://127.0.0.1:1/{SECRET}" if behaviour == "refuses" else hook.url
    hook.slow = behaviour == "slow"
    hook.status = int(behaviour) if behaviour.isdigit() else 200
    with caplog.at_level(logging.DEBUG):
        began = time.monotonic()
        await alerts_to(lake, {"url": url}).tell(Facts("0-of-1", 0, {"run_failed": "bad"}))
    assert time.monotonic() - began < patiently(5)
    said = {"500": "with 500", "404": "with 404", "302": "a redirect", "slow": "within", "refuses": "be reached"}
    [warning] = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warning.startswith("monitoring.alerts[0] (webhook) got no alert: ")
    assert said[behaviour] in warning
    assert SECRET not in caplog.text
    assert {method for method, _, _ in hook.asked} <= {"POST"}
    hook.slow, hook.status = False, 200
    hook.asked.clear()
    if behaviour != "refuses":
        await alerts_to(lake, {"url": url}).tell(Facts("0-of-1", MINUTE, {"run_failed": "bad"}))
        await alerts_to(lake, {"url": url}).tell(Facts("0-of-1", 2 * MINUTE, {"run_failed": "bad"}))
        assert len(hook.asked) == 1


@pytest.mark.parametrize("url", ["ftp://host/x", "nothing", "http://", "file:///etc/passwd"])
def test_only_web_addresses_are_posted_to(url):
    with pytest.raises(UnavailableError, match="no http"):
        post_json(url, {}, timeout_secs=1)


@pytest.mark.parametrize("stored", [False, True])
async def test_shards_that_fail_at_the_same_moment_tell_it_once_and_its_end_once(hook, lake, tmp_path, stored):
    if stored:
        lake = open_lakehouse(tmp_path)
    shards = [f"{n}-of-6" for n in range(6)]
    receiver = {"url": hook.url, "on": ["run_failed", "recovered"]}

    async def all_tell(at: int, text: str) -> None:
        async with asyncio.TaskGroup() as group:
            for shard in shards:
                alerts = alerts_to(lake, receiver, shard=shard)
                group.create_task(alerts.tell(Facts(shard, at, {"run_failed": text})))

    await all_tell(0, "PI is away")
    await all_tell(2 * MINUTE, "PI is away")
    assert [body["status"] for body in hook.bodies] == ["alert"]
    await all_tell(4 * MINUTE, "")
    assert [body["status"] for body in hook.bodies] == ["alert", "recovered"]


async def test_runs_of_the_history_have_states_of_their_own(hook, lake):
    full = config.from_mapping(
        {"pipeline": "plant", "extraction": {"mode": "full"}, "monitoring": {"alerts": [{"url": hook.url}]}}, env={}
    ).config
    history = Alerts(full, Sender("plant", "run-2", "0-of-1"), follows=False)
    history.lakehouse = lake
    await history.tell(Facts("0-of-1", 0, {"run_failed": "history", "holes": "1 hole"}))
    await alerts_to(lake, {"url": hook.url}).tell(well(MINUTE))  # does not end it
    await alerts_to(lake, {"url": hook.url}).tell(Facts("0-of-1", 2 * MINUTE, {"run_failed": "live"}))
    assert [(body["run_id"], body["detail"]) for body in hook.bodies] == [("run-2", "history"), ("run-1", "live")]


async def test_a_state_that_cannot_be_kept_is_told_all_the_same_when_a_run_ends(hook, caplog):
    class Broken:
        def state_file(self, _name):
            return self

        def read(self):
            raise StorageError("The disk is gone.")

    for final in (True, False):
        await alerts_to(Broken(), {"url": hook.url}).tell(Facts("0-of-1", 0, {"run_failed": "x"}, final=final))
    assert len(hook.asked) == 1
    assert "the state of alerts cannot be kept: The disk is gone." in caplog.text


async def test_a_secret_that_is_missing_is_a_warning_and_fails_no_run(tmp_path, caplog, monkeypatch):
    def no_workspace(*_):
        raise UnavailableError("the workspace gave no answer")

    monkeypatch.setattr(alerts_module, "resolve_secrets", no_workspace)
    settings = plant(tmp_path, monitoring={"slack_webhook_url": "${secret:x/hook}"})
    assert (await run(settings)).status == "succeeded"
    assert "no alert could be sent: the workspace gave no answer" in caplog.text


async def test_a_run_that_fails_and_one_that_succeeds_tell_it(hook, tmp_path):
    monitoring = {"slack_webhook_url": hook.url, "alerts": [{"url": hook.url, "on": "recovered", "max_age": None}]}
    site = partial(plant, tmp_path, monitoring=monitoring)
    bad = site(pi_web_api={"auth_type": "anonymous", "url": "http://127.0.0.1:1/piwebapi"}, retry={"max_attempts": 1})
    for _ in range(2):
        with pytest.raises(ExtractError):
            await run(bad)
    assert len(hook.texts) == 1
    assert "pipeline p: the run failed: " in hook.texts[0]
    await run(site())
    await run(site())
    assert len(hook.texts) == 2
    assert "runs succeed again" in hook.texts[1]


@pytest.mark.parametrize("behaviour", first_of(["slow", "500"]))
async def test_a_run_ends_in_time_and_as_it_would_without_alerts(hook, tmp_path, behaviour, monkeypatch):
    monkeypatch.setattr(alerts_module, "POST_SECS", 0.3)
    hook.slow, hook.status = behaviour == "slow", 500
    settings = plant(tmp_path, monitoring={"alerts": [{"url": hook.url, "max_age": "1s"}]})
    report = await run(settings)
    assert (report.status, report.exit_code) == ("succeeded", 0)
    assert len(hook.asked) == 1  # the data is older than a second


async def test_shards_of_a_run_share_the_state(hook, tmp_path):
    settings = plant(tmp_path, monitoring={"alerts": [{"url": hook.url, "max_age": "1s"}]})
    for index in range(3):
        await run(settings, shard=Shard(index, 3))
    assert [body["state"] for body in hook.bodies] == ["stale"]


async def test_beside_a_run_what_has_held_is_told_without_another_cycle(hook, lake, monkeypatch):
    monkeypatch.setattr(alerts_module, "LOOK_SECS", 0.01)
    now = [0]
    alerts = alerts_to(lake, {"url": hook.url}, follows=True)
    alerts._now = lambda: now[0]
    telling = asyncio.create_task(alerts.keep_telling())
    alerts.note(Facts("0-of-1", 0, {"run_failed": "PI is away"}, final=False))
    await until(lambda: lake.state_file("alerts-plant").read()[0] > 0)
    assert hook.asked == []
    now[0] = 5 * MINUTE
    await until(lambda: bool(hook.asked))
    telling.cancel()
    assert hook.bodies[0]["detail"] == "PI is away"


# The section on Slack of the guide that operators know, as they paste it into a notebook.
GUIDE = """
import requests

def send_slack_alert(message):
    webhook_url = dbutils.secrets.get('pi-connector', 'slack_webhook')
    payload = {
        'text': f'PI Connector Alert: {message}'
    }
    requests.post(webhook_url, json=payload)

try:
    connector.run()
except Exception as e:
    send_slack_alert(f'Connector failed: {str(e)}')
    raise
"""


def test_the_notebook_code_that_sends_to_slack_itself_works_too(hook, tmp_path):
    document = {
        "pi_web_api_url": "http://127.0.0.1:1/piwebapi",
        "pi_auth_type": "anonymous",
        "tags": ["A"],
        "storage_root": str(tmp_path),
        "retry": {"max_attempts": 1},
        "monitoring": {"slack_webhook_url": hook.url},
    }
    secrets = SimpleNamespace(get=lambda _scope, _key: hook.url)
    names = {"dbutils": SimpleNamespace(secrets=secrets), "connector": PILakeflowConnector(document)}
    with pytest.raises(ExtractError) as caught:
        exec(GUIDE, names)
    ours, theirs = hook.texts
    assert ours.startswith("PI Connector Alert: pipeline default: the run failed: 127.0.0.1:1")
    assert theirs == f"PI Connector Alert: Connector failed: {caught.value}"
