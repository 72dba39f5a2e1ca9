"""Runs the simulator in this process until a signal ends it: what the command `simulate` does."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from .faults.plan import FaultPlan, FaultPlanError
from .options import BasicLogin, BearerLogin, SimulatorOptions
from .replies import Refusal
from .server import Simulator
from .times import SECOND, parse_span, ticks_of

# Options that are fields of `SimulatorOptions` as they are, and those that are spans of time.
_FIELDS = ("tags", "elements", "more_attributes", "frames_per_day", "seed", "begin", "profile", "future_tags")
_SPANS = ("interval", "future_renewed", "future_reach")


async def serve_until_stopped(simulator: Simulator, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; the first line of output says where."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: Ctrl-C ends the process as it is
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    async with simulator.serve(host, port) as url:
        print(f"listening on {url}", flush=True)  # noqa: T201 - the line that programs wait for
        if sys.stdout.isatty():
            print(_how_to_use(url), flush=True)  # noqa: T201 - for a person
        await stopped.wait()


def main(given: Mapping[str, Any]) -> int:
    """Serve, as the options of `simulate` say. One that is None or empty is not given.

    Exit code 2 and one line on standard error: the options or the fault plan are wrong.
    """
    try:
        simulator = Simulator(options_of(given))
    except ValueError as error:
        return _refused(_by_option(str(error), given))
    host, port = given["host"], given["port"]
    try:
        asyncio.run(serve_until_stopped(simulator, host, port))
    except OSError as error:
        return _refused(f"cannot listen on {host}:{port}: {error.strerror}")
    return 0


def options_of(given: Mapping[str, Any]) -> SimulatorOptions:
    """The system that the options of `simulate` describe. Raises `ValueError`."""
    given = {name: value for name, value in given.items() if value not in (None, "")}

    def ticks(option: str, read: Callable[[str], int]) -> int:
        try:
            return read(given[option])
        except Refusal as refusal:
            raise ValueError(f"--{option.replace('_', '-')}: {' '.join(refusal.payload['Errors'])}") from refusal

    if "begin" in given:
        ticks("begin", ticks_of)
    fields: dict[str, Any] = {name: given[name] for name in _FIELDS if name in given}
    fields |= {f"{name}_secs": ticks(name, parse_span) / SECOND for name in _SPANS if name in given}
    return SimulatorOptions(
        **fields,
        now=ticks("now", ticks_of) / SECOND if "now" in given else None,
        auth=_auth(given.get("basic"), given.get("bearer")),
        faults=_faults(given.get("faults")),
    )


def _how_to_use(url: str) -> str:
    return (
        f"  look at it:            curl {url}/dataservers\n"
        f"  bring it into tables:  python -m engine run --set pi_web_api.url={url}\n"
        "Ctrl-C ends it."
    )


def _by_option(problem: str, options: Iterable[str]) -> str:
    """A problem of `SimulatorOptions`, with the options in the place of its fields."""
    fields = problem.removeprefix("simulator options: ")
    if fields == problem:
        return problem
    return re.sub(rf"\b({'|'.join(options)})(_secs)?\b", lambda found: f"--{found[1].replace('_', '-')}", fields)


def _refused(problem: str) -> int:
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - what this command could not do
    return 2


def _faults(path: str | None) -> FaultPlan:
    try:
        return FaultPlan.load(path) if path else FaultPlan()
    except FaultPlanError as error:
        raise ValueError(f"--faults: {error}") from error


def _auth(basic: str | None, bearer: str | None) -> BasicLogin | BearerLogin | None:
    if basic:
        user, _, name = basic.rpartition(":")
        if not user or not name:
            raise ValueError("--basic takes USER:ENV, where the variable ENV holds the password")
        return BasicLogin(user, _secret("--basic", name))
    return BearerLogin(_secret("--bearer", bearer)) if bearer else None


def _secret(option: str, name: str) -> str:
    """A secret from the environment: on the command line all users of the machine could read it."""
    if not os.environ.get(name):
        raise ValueError(f"{option}: the environment variable {name!r} that should hold the secret is not set")
    return os.environ[name]
