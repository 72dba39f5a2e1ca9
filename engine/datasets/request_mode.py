"""How this server is asked for many tags at once: in a batch, in a streamset, or one by one.

`auto` finds out once, at the start of a run. It asks what the run will ask: a few values of a few of its tags.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum

import msgspec

from config.errors import (
    AuthenticationError,
    ConfigurationError,
    RetryError,
    SplitError,
    ThrottledError,
    UnavailableError,
)

from ..model import Ask
from ..net.client import PIClient
from ..piweb import requests
from ..piweb.http import Request, Response
from ..piweb.probing import batch_trouble, may_be_too_much, streamset_trouble
from ..piweb.problems import error_for, excerpt_of, insist_on_object, is_batch_unsupported
from ..plan.timeline import SECOND

# Size of the sample that finds out how a server is to be asked: tags, and values of each tag.
SAMPLE_TAGS = 3
SAMPLE_VALUES = 10

_log = logging.getLogger("osipi.run")
_SERVER_ERROR = 500


class Mode(Enum):
    """How many tags are asked for at once."""

    BATCH = "batch"
    STREAMSET = "streamset"
    SINGLE = "single"


async def choose_mode(client: PIClient, base_url: str, wanted: str, sample: Sequence[Ask] = ()) -> Mode:
    """The mode to use. `auto` asks the server once whether it takes batches, and if it does not, streamsets.

    `sample`: what the run is to ask for, a few values of up to three tags in one window; without it, what anybody
    may ask. Raises `ConfigurationError` where batch is demanded and not to be had.
    """
    if wanted not in {"auto", Mode.BATCH.value}:
        return Mode(wanted)
    try:
        trouble = await _trouble_with_batches(client, base_url, sample, patient=wanted != "auto")
    except (AuthenticationError, ConfigurationError) as error:
        # Where a GET is answered, it is the POST that is sent to a login, or may not be sent by us.
        if wanted != "auto" or error_for(await client.send(requests.data_servers()), "listing the data servers"):
            raise
        trouble = error.message
    if not trouble:
        return Mode.BATCH
    if wanted != "auto":
        raise ConfigurationError(
            f"$.extraction.request_mode: batch, but {trouble}",
            hint="Use request_mode: auto, or streamset. Batches need PI Web API 2017 R2 or newer with the batch "
            "controller enabled; behind a gateway, pi_web_api.url must be an address that the PI Web API itself "
            "can reach under the same path; a firewall must let POST /batch through.",
        )
    mode, second_trouble = Mode.STREAMSET, ""
    if len(sample) > 1 and (second_trouble := await _trouble_with_streamsets(client, sample)):
        mode = Mode.SINGLE
    remark = f"batches are not used: {trouble}" + (f"; nor are streamsets: {second_trouble}" if second_trouble else "")
    _log.info("%s", remark)
    client.limits.remark(f"{remark}. Values are read as {mode.value}")
    return mode


async def _trouble_with_batches(client: PIClient, base_url: str, sample: Sequence[Ask], *, patient: bool) -> str:
    """Why the server does not take batches; empty if it does.

    Raises what has nothing to do with batches, and, if `patient`, what may be over in a while.
    """
    if sample:
        request, keys = _probe(base_url, sample)
        # The error may be one of a tag, or the request may be too large. So it is sent once only, and the question that
        # names no tag decides.
        with suppress(RetryError, SplitError):
            response = await client.send(replace(request, safe=False))
            trouble = _judged(response, keys, sample)
            if not (trouble and may_be_too_much(response, keys)):
                return trouble
            sample = [msgspec.structs.replace(ask, start=max(ask.start, ask.end - SECOND)) for ask in sample]
            request, keys = _probe(base_url, sample)
            return _judged(await client.send(replace(request, safe=False)), keys, sample)
    request, keys = _probe(base_url, ())
    try:
        # One damaged answer must not make the run do without batches.
        return _judged(await client.send(request, check=insist_on_object), keys, ())
    except ThrottledError:
        raise
    except RetryError as error:
        # If a GET is answered, the server is not down: it does not take the POST.
        if patient or (await client.send(requests.home())).status >= _SERVER_ERROR:
            raise
        return error.message


def _judged(response: Response, keys: Sequence[str], sample: Sequence[Ask]) -> str:
    if is_batch_unsupported(response):
        who = excerpt_of(response.body)
        return f"this PI Web API answers {response.status} to POST /batch" + (f": {who}" if who else "")
    refusal = error_for(response, "POST /batch")
    if refusal is None:
        return batch_trouble(response, keys, sample)
    if isinstance(refusal, AuthenticationError | RetryError):
        raise refusal
    return refusal.message


async def _trouble_with_streamsets(client: PIClient, sample: Sequence[Ask]) -> str:
    asks = sample[: max(1, min(2, requests.streamset_capacity(sample)))]
    if len(asks) < 2:
        return ""
    try:
        return streamset_trouble(await client.send(requests.streamset(asks)), asks)
    except (SplitError, UnavailableError) as error:
        return error.message


def _probe(base_url: str, sample: Sequence[Ask]) -> tuple[Request, list[str]]:
    """A small batch like those of the run, and its keys. Without a sample it asks what every account may ask."""
    if sample:
        asks = sample[:SAMPLE_TAGS]
        return requests.batch(asks, base_url), [str(n) for n in range(len(asks))]
    question = {"Method": "GET", "Resource": f"{base_url.rstrip('/')}{requests.data_servers().path}"}
    return Request("POST", "/batch", msgspec.json.encode({"0": question})), ["0"]
