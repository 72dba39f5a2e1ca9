"""Recorded values over the network: how much of an answer is taken in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import SplitError
from engine.datasets.recorded_values import MIN_BODY_BYTES, RecordedSource
from engine.datasets.request_mode import Mode
from engine.model import Ask, Tag
from engine.net.client import ClientSettings, PIClient
from tests.network.sinner import Sinner, answer

EMPTY = b'{"Items": []}'


async def test_an_answer_much_larger_than_what_was_asked_for_is_refused() -> None:
    sins = [answer(EMPTY.ljust(MIN_BODY_BYTES)), answer(EMPTY.ljust(MIN_BODY_BYTES + 1))]
    async with Sinner(sins) as pi, PIClient(ClientSettings(pi.url)) as client:
        with ThreadPoolExecutor(1) as executor:
            source = RecordedSource(client, pi.url, Mode.SINGLE, executor, now=lambda: 0)
            asks = [Ask(Tag("a", "A"), 0, 10, 5)]
            [outcome] = (await source.read(asks)).answer.outcomes
            assert outcome.until == 10
            with pytest.raises(SplitError):
                await source.read(asks)
