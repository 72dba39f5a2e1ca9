"""`python -m engine.simulator`: the simulator as a process of its own, until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from . import control
from .faults import FaultPlan
from .options import PROFILES, Basic, Bearer, SimulatorOptions
from .replies import Refusal
from .server import Simulator
from .times import SECOND, parse_span, ticks_of

__all__ = ["main", "serve_until_stopped"]


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 2 for arguments or a plan that cannot be used, and one line says why."""
    given = _parser().parse_args(arguments)
    if given.measure:
        from .measure import measure

        measure()
        return 0
    try:
        simulator = Simulator(_options(given))
    except ValueError as error:
        return _refused(str(error))
    try:
        asyncio.run(serve_until_stopped(simulator, given.host, given.port))
    except OSError as error:
        return _refused(f"cannot listen on {given.host}:{given.port}: {error.strerror}")
    return 0


def _how_to_use(url: str) -> str:
    return (
        f"  look at it:            curl {url}/dataservers\n"
        f"  bring it into tables:  python -m engine run --set pi_web_api.url={url}\n"
        "Ctrl-C ends it."
    )


def _refused(problem: str) -> int:
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - what this command could not do
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m engine.simulator",
        description="A simulated PI Web API.",
        epilog=control.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tags", type=int, default=1000, help="how many tags (1000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (0: a free one)")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another plant (1)")
    parser.add_argument("--begin", default="2020-01-01T00:00:00Z", help="midnight UTC at which history begins")
    parser.add_argument("--now", help="an instant at which the server's clock stands still (default: it runs)")
    parser.add_argument("--interval", default="60s", help="typical time between two events of a tag (60s)")
    parser.add_argument("--profile", choices=PROFILES, default="uniform", help="rates: all alike, or 1 Hz to one a day")
    parser.add_argument("--future-tags", type=int, default=0, help="how many tags, the last ones, are forecasts (0)")
    parser.add_argument("--future-renewed", default="6h", help="how often a forecast is issued (6h)")
    parser.add_argument("--future-reach", default="48h", help="how far a forecast reaches (48h)")
    parser.add_argument("--faults", metavar="FILE", help="fault plan, a YAML file")
    parser.add_argument(
        "--basic", metavar="USER:ENV", help="ask for basic authentication; ENV names the variable with the password"
    )
    parser.add_argument("--bearer", metavar="ENV", help="ask for the bearer token that the variable ENV holds")
    parser.add_argument("--measure", action="store_true", help="print how fast answers are made and sent, and end")
    return parser


def _options(given: argparse.Namespace) -> SimulatorOptions:
    def ticks(option: str, read: Callable[[str], int]) -> int:
        try:
            return read(getattr(given, option))
        except Refusal as refusal:
            raise ValueError(f"--{option.replace('_', '-')}: {' '.join(refusal.payload['Errors'])}") from refusal

    ticks("begin", ticks_of)
    return SimulatorOptions(
        tags=given.tags,
        seed=given.seed,
        begin=given.begin,
        now=ticks("now", ticks_of) / SECOND if given.now else None,
        interval_secs=ticks("interval", parse_span) / SECOND,
        profile=given.profile,
        future_tags=given.future_tags,
        future_renewed_secs=ticks("future_renewed", parse_span) / SECOND,
        future_reach_secs=ticks("future_reach", parse_span) / SECOND,
        auth=_auth(given),
        faults=FaultPlan.load(given.faults) if given.faults else FaultPlan(),
    )


def _auth(given: argparse.Namespace) -> Basic | Bearer | None:
    if given.basic:
        user, _, name = given.basic.rpartition(":")
        if not user or not name:
            raise ValueError("--basic takes USER:ENV, where the variable ENV holds the password")
        return Basic(user, _secret(name))
    return Bearer(_secret(given.bearer)) if given.bearer else None


def _secret(name: str) -> str:
    """A secret from the environment: on the command line everybody on the machine could read it."""
    if not os.environ.get(name):
        raise ValueError(f"the environment variable {name!r} that should hold the secret is not set")
    return os.environ[name]


if __name__ == "__main__":
    sys.exit(main())
