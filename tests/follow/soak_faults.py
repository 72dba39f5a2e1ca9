"""Follow for some minutes while troubles of every kind come and go at the source, and judge it. `make soak`.

The simulator, whose troubles begin and end by seeded dice, lives in this process, behind a proxy that closes the connection
after each answer; the run is a process of its own. It is killed at steps of its landings, and started again. At the end
everything is well for a while. Then every event up to the last watermark must be in the table once, as the source has it,
and no hole may be open. Memory, open files and threads of the process must not have grown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import psutil

from engine.simulator import SimulatorOptions
from engine.simulator.faults.plan import FaultPlan, Switches
from engine.simulator.options import BasicLogin
from engine.simulator.times import SECOND
from tests.exactness.expected import assert_same_rows, rows_of, web_id_of
from tests.exactness.reading import holes_in, is_table, marks_in, rows_in
from tests.faults.chaos import ChaosProxy
from tests.follow.live import BEGIN, name_of
from tests.follow.soak import MAX_GROWTH, MAX_STOP_SECS, WARM_UP_SECS, command, growth, told
from tests.follow.unruly import KINDS, OtherQuestion, Trouble, Unruly, WrongCounts

__all__ = ["Outcome", "soak"]

CRITICAL, INTERVALS = 5, {"critical": "1s", "default": "5s"}
USER, PASSWORD = "reader", "not-a-real-one"
REQUESTS_PER_SECOND = 60
# What arrives is timed on the way in, where a busy machine may let some of it pile up for a moment.
RATE_WINDOW_SECS, RATE_SLACK = 10.0, 1.05
LOOKBACK_SECS = 180
# The table is read anew, which takes most memory, after 100 commits.
WARM_CYCLES = 110
# In less time not every kind comes, and no memory is warm.
LONG_SECS = 480.0
# In less time than this a hole is not asked for again, so that no trouble comes: connections that end, and kills, are left.
SHORT_SECS = 100.0
# Where the first runs are killed: a step of a landing, and which time it is reached.
DEATHS = ("after_data_commit:3", "after_staging:5", "before_staging:4", "after_watermark_commit:6")
# What comes and goes raises the peaks: files being read, threads of the storage's pool, which rest for ten seconds. A leak
# raises the least.
FILES_SLACK, THREADS_SLACK = 6, 16
# How often a trouble begins, and how many last at a time.
PAUSE_SECS, MOST_AT_ONCE = (2.0, 6.0), 4
# Most troubles are about few tags, some about all.
FEW_TAGS, SHARE_OF_ALL = 6, 0.15
# After what hits everything the source is left alone for a while, and so is every other trouble.
QUIET_SECS = 8.0
# A hole is asked for after one minute, and after two more if that is in vain.
HEALED_SECS = (75.0, 200.0)
HEALED_SHARE = 0.34


@dataclass
class Outcome:
    """What was seen."""

    secs: float
    began: float
    begun: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, int]] = field(default_factory=list)
    # Open files and threads of the run that lives last.
    held: list[tuple[int, int]] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    closed: int = 0
    warm_secs: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    cycles: list[dict[str, Any]] = field(default_factory=list)
    holes: list[dict[str, Any]] = field(default_factory=list)
    most_open: int = 0
    left_open: list[tuple[str, int, int]] = field(default_factory=list)
    stop_secs: float = 0.0
    exit_code: int | None = None
    report: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    verified: list[tuple[str, int]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


class Troublemaker:
    """Begins and ends troubles. Every kind comes once before one comes again."""

    def __init__(
        self, server: Unruly, dice: Random, outcome: Outcome, until: float, kinds: Collection[type[Trouble]]
    ) -> None:
        self._server, self._dice, self._outcome, self._until, self._kinds = server, dice, outcome, until, kinds
        self._began = time.monotonic()
        self._quiet_until = 0.0
        self._bag: list[type[Trouble]] = []

    async def run(self) -> None:
        """Make trouble until it is time to heal, and end what is left of it then."""
        async with asyncio.TaskGroup() as group:
            while (now := time.monotonic()) < self._until:
                if len(self._server.troubles) < MOST_AT_ONCE and (trouble := self._next(now)) is not None:
                    secs = min(self._dice.uniform(*KINDS[type(trouble)]), self._until - now)
                    group.create_task(self._last(trouble, secs), name=trouble.kind)
                await asyncio.sleep(min(self._dice.uniform(*PAUSE_SECS), max(0.0, self._until - time.monotonic())))

    async def _last(self, trouble: Trouble, secs: float) -> None:
        self._server.begin(trouble)
        self._outcome.begun[trouble.kind] += 1
        say(f"begins: {trouble.kind}, {len(trouble.tags)} tags, {secs:.0f} s")
        await asyncio.sleep(secs)
        self._server.end(trouble)
        if trouble.broad:
            self._quiet_until = time.monotonic() + QUIET_SECS
        say(f"ends: {trouble.kind}, struck {trouble.struck} times")

    def _next(self, now: float) -> Trouble | None:
        if not self._bag:
            self._bag = list(self._kinds)
            self._dice.shuffle(self._bag)
        # Batches are given up for good after an answer to another question, so what is said of batches comes before.
        early = now - self._began < (self._until - self._began) / 2
        active = {type(trouble) for trouble in self._server.troubles}
        broad = any(kind.broad for kind in active) or now < self._quiet_until

        def fits(kind: type[Trouble]) -> bool:
            return kind not in active and not (broad and kind.broad) and not (early and kind is OtherQuestion)

        chosen = next(filter(fits, self._bag), None)
        if chosen is None:
            return None
        self._bag.remove(chosen)
        return self._made(chosen)

    def _made(self, kind: type[Trouble]) -> Trouble:
        """About a few tags, or all; about an instant of theirs, or some seconds around now."""
        dice, server = self._dice, self._server
        count, now = server.options.tags, server.now()
        few = dice.sample(range(count), dice.randint(1, FEW_TAGS))
        tags = frozenset(range(count) if kind.of_all or dice.random() < SHARE_OF_ALL else few)
        start, end = now - dice.randint(1, 5) * SECOND, now + dice.randint(3, 30) * SECOND
        if kind.of_one_instant or dice.random() < 0.5:
            start = server.events(few[0], now - 20 * SECOND, now - SECOND)[-1].ticks
            end = start + 1
        if kind.of_one_instant:
            tags = frozenset(few[:1])
        return kind(dice, tags, start, end)


async def soak(
    folder: Path,
    *,
    minutes: float,
    seed: int,
    tags: int = 40,
    kinds: Collection[type[Trouble]] = tuple(KINDS),
    deaths: Sequence[str] = DEATHS,
) -> Outcome:
    """Follow for so long, with kills at first, and troubles for two thirds of it. Gives what was seen, with the bars that
    were missed.
    """
    dice, secs = Random(seed), minutes * 60
    options = SimulatorOptions(
        tags=tags,
        begin=BEGIN,
        interval_secs=2.0,
        auth=BasicLogin(USER, PASSWORD),
        # A list of several pages.
        faults=FaultPlan(switches=Switches(page_cap=max(2, tags // 3))),
    )
    server, outcome = Unruly(options, watched="127.0.0.1"), Outcome(secs, time.monotonic())
    server.clock = time.monotonic
    healed = min(max(HEALED_SECS[0], HEALED_SHARE * secs), HEALED_SECS[1])
    async with server.serve() as behind, ChaosProxy(urlsplit(behind).port or 0, closes=True).serve() as proxy:
        url = f"http://127.0.0.1:{proxy.port}/piwebapi"
        document, events, log = folder / "document.json", folder / "events.jsonl", folder / "run.log"
        document.write_text(json.dumps(document_for(url, folder)))
        began = outcome.began
        with log.open("wb") as errors, (folder / "report.json").open("wb") as report:
            await killed_again_and_again(document, folder / "killed.jsonl", errors, outcome, deaths)
            child = await asyncio.create_subprocess_exec(*command(document, events), stdout=report, stderr=errors)
            try:
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(watching(child, began, folder, outcome))
                    await until_followed(events, child, 60.0)
                    counting = None
                    if secs >= SHORT_SECS:
                        maker = Troublemaker(server, dice, outcome, began + secs - healed, kinds)
                        counting = group.create_task(while_counts_are_wrong(server, document, url, outcome))
                        await maker.run()
                        counting.cancel()
                        say(f"all is well from now on, for {healed:.0f} s")
                    await asyncio.sleep(max(0.0, began + secs - time.monotonic()))
                    watch.cancel()
                asked = time.monotonic()
                if child.returncode is None:
                    child.send_signal(signal.SIGTERM)
                outcome.exit_code = await asyncio.wait_for(child.wait(), 60)
                outcome.stop_secs = time.monotonic() - asked
            finally:
                if child.returncode is None:
                    child.kill()
                    await child.wait()
        outcome.closed = proxy.seen
        outcome.cycles, outcome.holes = told(events, "Cycled"), told(events, "HoleNoted")
        outcome.log = log.read_text().splitlines()
        outcome.report = json.loads((folder / "report.json").read_text() or "{}")
        outcome.struck, outcome.arrivals = server.struck, server.arrivals
        outcome.verified.append(("at the end", await verified(document, url)))
        judge(server, folder, outcome)
    return outcome


def document_for(url: str, folder: Path) -> dict[str, Any]:
    critical = {"name": "critical", "tags": [name_of(n) for n in range(CRITICAL)], "interval": INTERVALS["critical"]}
    return {
        "pi_web_api": {
            "url": url,
            "auth_type": "basic",
            "username": USER,
            "password": PASSWORD,
            "timeout": "4s",
            "max_requests_per_second": REQUESTS_PER_SECOND,
        },
        "storage": {"root": str(folder / "lake")},
        "extraction": {
            "tag_name_filter": "*",
            "start_date": "now-30s",
            "lag": "1s",
            "lookback": f"{LOOKBACK_SECS}s",
            "interval": INTERVALS["default"],
            "classes": [critical],
            "discovery_interval": "15s",
        },
        "retry": {"max_attempts": 2, "initial_wait": "50ms", "max_wait": "200ms"},
    }


async def killed_again_and_again(
    document: Path, events: Path, log: Any, outcome: Outcome, deaths: Sequence[str]
) -> None:
    """Runs that kill themselves at a step of a landing, each of which goes on where the one before it died."""
    for death in deaths:
        child = await asyncio.create_subprocess_exec(
            *command(document, events, death), stdout=asyncio.subprocess.DEVNULL, stderr=log
        )
        try:
            code = await asyncio.wait_for(child.wait(), 60)
        finally:
            if child.returncode is None:
                child.kill()
        assert code == -signal.SIGKILL, f"the run that was to die at {death} ended with {code}"
        outcome.killed.append(death)
        say(f"killed: {death}")


async def until_followed(events: Path, child: asyncio.subprocess.Process, secs: float) -> None:
    """Wait for the first cycles."""
    async with asyncio.timeout(secs):
        while cycled(events) < 3:
            assert child.returncode is None, f"the run ended by itself with {child.returncode}"
            await asyncio.sleep(0.2)


def cycled(events: Path) -> int:
    return len(told(events, "Cycled")) if events.exists() else 0


async def watching(child: asyncio.subprocess.Process, began: float, folder: Path, outcome: Outcome) -> None:
    """Look at memory and at holes once a second."""
    process, marks = psutil.Process(child.pid), table(folder, "pi_watermarks")
    while True:
        await asyncio.sleep(1.0)
        assert child.returncode is None, f"the run ended by itself with {child.returncode}"
        outcome.memory.append((time.monotonic() - began, process.memory_info().rss))
        if cycled(folder / "events.jsonl") >= 5:
            outcome.held.append((process.num_fds(), process.num_threads()))
        warm_now = time.monotonic() - began >= WARM_UP_SECS
        if warm_now and not outcome.warm_secs and cycled(folder / "events.jsonl") >= WARM_CYCLES:
            outcome.warm_secs = outcome.memory[-1][0]
        if len(outcome.memory) % 10 == 0 and is_table(marks):
            found = await asyncio.to_thread(holes_in, marks)
            outcome.most_open = max(outcome.most_open, len(found))


async def while_counts_are_wrong(server: Unruly, document: Path, url: str, outcome: Outcome) -> None:
    """Let `verify` compare what is done so far whenever the source has begun to miscount: it only reads."""
    seen = None
    while True:
        await asyncio.sleep(1.0)
        wrong = [trouble for trouble in server.troubles if isinstance(trouble, WrongCounts)]
        if wrong and wrong[0] is not seen and time.monotonic() - outcome.began > LOOKBACK_SECS:
            seen = wrong[0]
            outcome.verified.append(("by wrong counts", await verified(document, url)))


async def verified(document: Path, url: str) -> int:
    """The exit code of `verify`, which knows the server by another name, so that its requests are not timed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "verify", "-c", str(document)),
        *("--set", f"pi_web_api.url={url.replace('127.0.0.1', 'localhost')}"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await asyncio.wait_for(process.wait(), 120)
    finally:
        if process.returncode is None:
            process.kill()


def judge(server: Unruly, folder: Path, outcome: Outcome) -> None:
    """Hold what was seen against what must be."""
    missed = outcome.missed
    outcome.left_open = holes_in(table(folder, "pi_watermarks"))
    if outcome.left_open:
        missed.append(f"{len(outcome.left_open)} holes are open, the first {outcome.left_open[0]}")
    if outcome.exit_code != 0 or outcome.stop_secs > MAX_STOP_SECS:
        missed.append(f"it took {outcome.stop_secs:.1f} s to stop, and ended with {outcome.exit_code}")
    missed += odd_lines(outcome.log)
    missed += [
        f"verify {when} ended with {code}"
        for when, code in outcome.verified
        if code not in ({0} if when == "at the end" else {0, 1})
    ]
    if (most := busiest(outcome.arrivals)) > REQUESTS_PER_SECOND * RATE_WINDOW_SECS * RATE_SLACK:
        missed.append(f"{most} requests in {RATE_WINDOW_SECS:.0f} s")
    missed += grown_of(outcome.held, is_long=outcome.secs >= LONG_SECS)
    began = outcome.began
    seen = {"memory": outcome.memory, "arrivals": [at - began for at in outcome.arrivals], "cycles": outcome.cycles}
    (folder / "seen.json").write_text(json.dumps(seen))
    if outcome.secs >= LONG_SECS:
        missed += [f"never struck: {kind.kind}" for kind in KINDS if not outcome.struck[kind.kind]]
        grown = growth(outcome.memory, outcome.warm_secs or WARM_UP_SECS)
        # Before it was warm, growth says nothing: it is told all the same.
        if outcome.warm_secs and grown > MAX_GROWTH:
            missed.append(f"memory grew by {grown:.1%}")
    try:
        assert_exact(server, folder)
    except AssertionError as error:
        missed.append(str(error))


def grown_of(held: Sequence[tuple[int, int]], *, is_long: bool) -> Iterator[str]:
    """What the process holds more of at the end than after its first third, by more than comes and goes."""
    third = len(held) // 3
    if not third:
        return
    for what, place, slack in (("open files", 0, FILES_SLACK), ("threads", 1, THREADS_SLACK)):
        early, late = (min(one[place] for one in part) for part in (held[third : 2 * third], held[-third:]))
        print(f"{what}: at least {early} in the middle, {late} at the end")
        # The storage's pool of threads takes some minutes to be as large as it gets.
        if late > early + slack and (is_long or what != "threads"):
            yield f"{what} grew from {early} to {late}"


def assert_exact(server: Unruly, folder: Path) -> None:
    """Every tag has exactly the events of its window, as the archive shows them now."""
    marks, expected = marks_in(table(folder, "pi_watermarks")), []
    for number in range(server.options.tags):
        mark = marks[web_id_of(number)]
        expected += rows_of(server.point(number), server.truth(number, mark.low * 10, mark.high * 10))
        assert (time.time_ns() // 1000 - mark.high) / 1e6 < HEALED_SECS[0], f"tag {number} was left behind"
    assert_same_rows(rows_in(table(folder, "pi_timeseries")), expected)


def odd_lines(log: Sequence[str]) -> Iterator[str]:
    """Lines that no trouble at the source explains."""
    for line in log:
        try:
            told_of = json.loads(line)
        except ValueError:
            yield f"not a line of the log: {line}"
            continue
        if told_of["level"] in {"error", "critical"} or "exception" in told_of or "bug" in told_of["message"].lower():
            yield f"odd: {line}"


def busiest(arrivals: Sequence[float]) -> int:
    """Most requests within the window."""
    most = first = 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] > RATE_WINDOW_SECS:
            first += 1
        most = max(most, last - first + 1)
    return most


def table(folder: Path, name: str) -> Path:
    return folder / "lake" / "main" / ("checkpoints" if name == "pi_watermarks" else "bronze") / name


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}", flush=True)


def told_of(outcome: Outcome) -> None:
    """Print what was seen."""
    longest = max(cycle["seconds"] for cycle in outcome.cycles)
    print(
        f"{len(outcome.cycles)} cycles, the longest {longest:.1f} s; {len(outcome.arrivals)} requests arrived", end=""
    )
    print(f", {busiest(outcome.arrivals)} in the busiest {RATE_WINDOW_SECS:.0f} s")
    print(f"killed {len(outcome.killed)} times; {outcome.closed} connections were closed after an answer")
    opened = sum("error=None" not in hole["change"] for hole in outcome.holes)
    print(f"holes: {opened} noted, {len(outcome.holes) - opened} filled, {outcome.most_open} open at a time", end="")
    print(f", {len(outcome.left_open)} left")
    for kind in sorted(outcome.begun):
        print(f"  {kind}: begun {outcome.begun[kind]} times, struck {outcome.struck[kind]} times")
    print("verify:", outcome.verified)
    keys = ("status", "records_written", "requests", "retries", "throttled", "commits")
    print("the report:", {key: outcome.report.get(key) for key in keys})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.follow.soak_faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to follow (10)")
    parser.add_argument("--seed", type=int, default=1, help="which troubles come when (1)")
    parser.add_argument("--keep", type=Path, help="a folder for the log and the tables, which then stay")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as passing:
        folder = given.keep or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(soak(folder, minutes=given.minutes, seed=given.seed))
    told_of(outcome)
    for bar in outcome.missed:
        print(f"MISSED: {bar[:2000]}")
    return 1 if outcome.missed else 0


if __name__ == "__main__":
    sys.exit(main())
