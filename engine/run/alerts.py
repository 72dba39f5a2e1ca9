"""Sends alerts to the receivers of the configuration.

`engine.telemetry.alerts` decides which are due. The state is kept beside the leases, where all runs and shards of the
pipeline find it: the one that could write it first sends the alert. Invariant: nothing here fails a run, or holds it up
for more than `LIMIT_SECS`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from config import AlertConfig, Config, only_alerts, resolve_secrets
from config.errors import ExtractError, UnavailableError
from writers import Lakehouse, StateFile

from ..clock import wall_micros
from ..daemon_call import in_daemon_thread
from ..net.webhooks import post_json
from ..telemetry.alert_text import DEFAULT_TEMPLATE, ReceiverKind, Sender, body_of, fields_of, fields_of_test
from ..telemetry.alerts import KINDS, Facts, Kind, Message, Policy, State, alerts_of, decode, encode, told_of

LOG = logging.getLogger("osipi.alerts")
LIMIT_SECS = 10.0
POST_SECS = 5.0
# States that hold are looked at again so often while a run goes on, to see whether they have held for long enough.
LOOK_SECS = 15.0
# Of shards that end at the same moment each write one after the other.
_JITTER_SECS = 0.05


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where messages go, and in which words."""

    kind: ReceiverKind
    policy: Policy
    title: str
    template: str
    url: str = field(repr=False)
    label: str  # as a warning calls it


class Alerts:
    """The alerts of one run. `lakehouse`: where the state is kept, once there is one."""

    def __init__(self, config: Config, sender: Sender, *, follows: bool, now: Callable[[], int] = wall_micros) -> None:
        self.lakehouse: Lakehouse | None = None
        self._config = config
        self._sender = sender
        self._now = now
        # A run of the history has failures of its own, which no run of the present ends.
        self._of_history = config.extraction.mode == "full" and not follows
        self._receivers: dict[str, Receiver] | None = None
        self._state: State = {}
        self._version = 0
        self._known = False
        self._latest: Facts | None = None
        self._news = asyncio.Event()

    @property
    def enabled(self) -> bool:
        return bool(self._config.monitoring.alerts or self._config.monitoring.slack_webhook_url)

    async def tell(self, facts: Facts) -> None:
        """Send what is due. Never raises, but for being cancelled."""
        if not self.enabled:
            return
        if self._of_history:
            problems: dict[Kind, str] = {kind: text for kind, text in facts.problems.items() if kind != "holes"}
            facts = replace(facts, problems=problems)
        if self._of_history or self._config.extraction.end_date is not None:
            facts = replace(facts, age_secs=None)  # what is read is not meant to be fresh
        try:
            async with asyncio.timeout(LIMIT_SECS):
                await self._tell(facts)
        except TimeoutError:
            LOG.warning("alerts took longer than %.0f s; the next run sends what is missing", LIMIT_SECS)
        except ExtractError as error:
            LOG.warning("no alert could be sent: %s", error)
        except Exception as error:  # noqa: BLE001 - a run does not fail because of what tells of it
            LOG.warning("no alert could be sent: a bug (%s)", type(error).__name__)

    def note(self, facts: Facts) -> None:
        """Leave facts of a run that goes on for `keep_telling`."""
        self._latest = facts
        self._news.set()

    async def keep_telling(self) -> None:
        """Send what is due by the latest facts, beside the run, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            if self._latest is not None:
                await self.tell(replace(self._latest, at=self._now()))

    async def _tell(self, facts: Facts) -> None:
        receivers = await self._opened()
        policies = {name: receiver.policy for name, receiver in receivers.items()}
        messages = await self._changed(partial(alerts_of, facts=facts, policies=policies), final=facts.final)
        if not messages:
            return
        async with asyncio.TaskGroup() as group:
            posts = [group.create_task(self._post(receivers[one.receiver], one)) for one in messages]
        delivered = [message for message, post in zip(messages, posts, strict=True) if post.result()]
        if delivered:
            await self._changed(lambda state: ((), told_of(state, delivered)), final=facts.final)

    async def _changed(
        self, change: Callable[[State], tuple[Sequence[Message], State]], *, final: bool
    ) -> Sequence[Message]:
        """Change the state, and give what is to be sent. A change that another run has made first is taken up.

        If the state cannot be kept, a run that goes on tries again later. One that ends sends all the same: better
        twice than never.
        """
        file = self._file()
        try:
            if file is not None and not self._known:
                await self._read(file)
            while True:
                messages, after = change(self._state)
                if after == self._state:
                    return messages
                if file is None or await in_daemon_thread(partial(file.write, self._version + 1, encode(after))):
                    self._state, self._version = after, self._version + 1
                    return messages
                await asyncio.sleep(random.random() * _JITTER_SECS)
                await self._read(file)
        except ExtractError as error:
            LOG.warning("the state of alerts cannot be kept: %s", error)
            if final:
                messages, self._state = change(self._state)
                return messages
        return ()

    async def _read(self, file: StateFile) -> None:
        self._version, content = await in_daemon_thread(file.read)
        self._state, self._known = decode(content), True

    def _file(self) -> StateFile | None:
        prefix = "alerts-history" if self._of_history else "alerts"
        return None if self.lakehouse is None else self.lakehouse.state_file(f"{prefix}-{self._sender.pipeline}")

    async def _post(self, receiver: Receiver, message: Message) -> bool:
        fields = fields_of(message, self._sender, receiver.title)
        try:
            await _deliver(receiver, fields)
        except ExtractError as error:
            LOG.warning("%s got no alert: %s; the next run sends it again", receiver.label, error)
        else:
            LOG.info("%s got: %s", receiver.label, fields["text"])
            return True
        return False

    async def _opened(self) -> dict[str, Receiver]:
        """The receivers, with their secrets. Raises what looking these up raises."""
        if self._receivers is None:
            resolved = await in_daemon_thread(partial(resolve_secrets, only_alerts(self._config)))
            self._receivers = receivers_of(resolved)
        return self._receivers


async def send_test(receiver: Receiver, pipeline: str) -> int:
    """Send a message that nothing is wrong. The status of the answer. Raises `UnavailableError`."""
    return await _deliver(receiver, fields_of_test(Sender(pipeline, "test", "0-of-1"), receiver.title, wall_micros()))


async def _deliver(receiver: Receiver, fields: dict[str, str]) -> int:
    body = body_of(receiver.kind, fields, receiver.template)
    try:
        async with asyncio.timeout(POST_SECS):
            return await in_daemon_thread(partial(post_json, receiver.url, body, timeout_secs=POST_SECS))
    except TimeoutError:
        why = f"no answer within {POST_SECS:g} s"
    raise UnavailableError(why)


def receivers_of(config: Config) -> dict[str, Receiver]:
    """The receivers of a configuration whose secrets are known. Each has a name that stays when others come and go, and
    from which its address cannot be guessed.
    """
    slack = config.monitoring.slack_webhook_url
    receivers = [_receiver("monitoring.slack_webhook_url", AlertConfig(kind="slack", url=slack))] if slack else []
    for n, one in enumerate(config.monitoring.alerts):
        receivers.append(_receiver(f"monitoring.alerts[{n}] ({one.kind})", one))
    found: dict[str, Receiver] = {}
    for receiver in receivers:
        name = f"{receiver.kind}-{hashlib.sha256(receiver.url.encode()).hexdigest()[:12]}"
        while name in found:
            name += "-2"
        found[name] = receiver
    return found


def _receiver(label: str, one: AlertConfig) -> Receiver:
    return Receiver(
        kind=one.kind,
        policy=Policy(
            kinds=frozenset(kind for kind in KINDS if kind in one.on),
            recovered="recovered" in one.on,
            max_age_secs=one.max_age.total_seconds() if one.max_age else None,
            holds_secs=one.holds_for.total_seconds(),
        ),
        title=one.title,
        template=one.template or DEFAULT_TEMPLATE,
        url=one.url.get_secret_value() if one.url is not None else "",
        label=label,
    )
