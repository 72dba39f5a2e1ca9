"""A request to stop, and where it comes from."""

from __future__ import annotations

import os
import signal

import pytest

from engine.flow.stop import Stop, on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_asks_to_stop_and_afterwards_belongs_again_to_whom_it_belonged(number: signal.Signals) -> None:

    def ours(_number: int, _frame: object) -> None:
        raise AssertionError("not while the run listens")

    before = signal.signal(number, ours)
    try:
        stop = Stop()
        with on_signals(stop):
            os.kill(os.getpid(), number)
            await stop.wait()
        assert stop.reason == number.name
        assert signal.getsignal(number) is ours
    finally:
        signal.signal(number, before)
