"""Find the settings with which a PI server gives most, and show what each of them does.

Batch size, values per answer, requests in flight and commit size are varied one after the other; every
trial reads for a few seconds into a temporary folder, in a process of its own. Between all others the baseline
is measured again. How much it varies is the spread: where settings differ by less, there is "no difference". At the end stand
recommended settings to paste into a configuration, all figures as JSON, and a chart.

    python benchmarks/tune.py                               the simulator, answering after 50 ms
    python benchmarks/tune.py --latency-ms 200 --interval 60s --tags 30000
    python benchmarks/tune.py --quick                       a first impression in under a minute
    python benchmarks/tune.py -c plant.yaml --budget-requests 400
                                                            a real server; 400 requests and not one more
    python benchmarks/tune.py -c plant.yaml --budget-requests 800 --max-in-flight 1,2,4,8 --knobs max_in_flight

On a real server trials read the tags and window of the configuration file, never faster than its
max_requests_per_second, and (unless told by --max-in-flight) with no more in flight than it allows.
The real tables are not touched.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from benchmarks.lab.knobs import KNOBS, Setting, snippet
from benchmarks.lab.machine import machine, revision, versions
from benchmarks.lab.processes import CORES, ChildError, claim_cores, plant
from benchmarks.lab.sweep import Sweep, TuningResult, discover
from config import Config, load
from config.errors import ExtractError

SERVER_NOW = "2024-04-01T00:00:00Z"
WINDOW = ("2024-03-01T00:00:00Z", "2024-03-31T00:00:00Z")
# Telling commit sizes apart takes millions of values, more than one should ask of a real server.
REAL_KNOBS = ("batch_size", "values_per_answer", "max_in_flight")


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    given.seconds = given.seconds or (2.0 if given.quick else 4.0)
    if given.config and given.budget_requests is None:
        print("error: a real server needs --budget-requests N: how many requests may be sent in all", file=sys.stderr)
        return 2
    claim_cores()
    try:
        with _source_file(given) as path:
            outcome = _tuned(given, path)
    except ExtractError as error:
        print(f"error: {error.message}\n  hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except ChildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _tell(given, outcome)
    return 0


def _tuned(given: argparse.Namespace, path: str) -> TuningResult:
    loaded = load(path)
    config = loaded.config
    names = given.knobs or (REAL_KNOBS if given.config else tuple(KNOBS))
    source = discover(config, path, (), given.budget_requests)
    tell(f"{len(source.tags):,} tags, mode {source.mode}; every trial takes up to {given.seconds:g} s")
    return Sweep(
        source=source,
        values={name: _values(given, config, name) for name in names},
        base=_base(config),
        repeats=given.repeats or (1 if given.config or given.quick else 3),
        seconds=given.seconds,
        seed=given.seed,
        budget=given.budget_requests,
        say=tell,
    ).run()


def _values(given: argparse.Namespace, config: Config, name: str) -> tuple[int, ...]:
    chosen: tuple[int, ...] | None = getattr(given, name)
    if chosen:
        return chosen
    values = KNOBS[name].values
    if given.quick:
        values = values[1::2]
    if given.config and name == "max_in_flight":
        # The configured number is the owner's word for what the server bears.
        values = tuple(value for value in values if value <= config.pi_web_api.max_in_flight)
    return values


def _base(config: Config) -> Setting:
    return Setting(
        batch_size=config.extraction.batch_size,
        values_per_answer=config.performance.values_per_answer,
        max_in_flight=config.pi_web_api.max_in_flight,
        commit_rows=config.performance.commit_rows,
    )


@contextmanager
def _source_file(given: argparse.Namespace) -> Iterator[str]:
    """The configuration of the server to ask: the user's, or one of a simulator that is started here."""
    if given.config:
        yield given.config
        return
    settings = {"tags": given.tags, "interval": given.interval, "seed": given.seed, "now": SERVER_NOW}
    rules = [{"match": {"scope": "outer"}, "do": {"delay_secs": given.latency_ms / 1000}}] if given.latency_ms else []
    with (
        plant(settings, faults={"rules": rules} if rules else None) as site,
        tempfile.NamedTemporaryFile("w", suffix=".yaml") as file,
    ):
        yaml.safe_dump(_simulated(site.url, given), file)
        file.flush()
        yield file.name


def _simulated(url: str, given: argparse.Namespace) -> dict[str, Any]:
    start, end = WINDOW
    return {
        "pi_web_api": {"url": url, "auth_type": "anonymous", "max_requests_per_second": 10_000},
        "extraction": {
            "tag_name_filter": "*", "start_date": start, "end_date": end, "lag": "0s", "assumed_interval": given.interval,
        },
        "storage": {"root": tempfile.gettempdir()},
    }  # fmt: skip


def _tell(given: argparse.Namespace, outcome: TuningResult) -> None:
    """Write JSON, YAML and chart; print the snippet."""
    from benchmarks.lab.chart import draw

    given.out.mkdir(parents=True, exist_ok=True)
    yaml_text = snippet(outcome.recommended, outcome.sweeps, undecided=outcome.undecided)
    (given.out / "tune.yaml").write_text(yaml_text, encoding="utf-8")
    (given.out / "tune.json").write_text(json.dumps(_as_json(given, outcome), indent=1) + "\n", encoding="utf-8")
    draw(outcome, given.out / "tune.png", subtitle=_subtitle(given, outcome))
    print(f"# Recommended: paste this into the configuration.\n{yaml_text}", end="")
    tell(f"chart: {given.out / 'tune.png'}   figures: {given.out / 'tune.json'}")


def _subtitle(given: argparse.Namespace, outcome: TuningResult) -> str:
    trials = f"{len(outcome.trials)} trials, {outcome.requests_used:,} requests."
    if given.config:
        return f"Measured on the server of {Path(given.config).name}: {trials}"
    return (
        f"Measured on the simulator ({given.tags:,} tags, one event per {given.interval}, "
        f"{given.latency_ms:g} ms until it answers, {CORES} cores): {trials}"
    )


def _as_json(given: argparse.Namespace, outcome: TuningResult) -> dict[str, Any]:
    asked = {key: value for key, value in vars(given).items() if key not in {"out", "config"}}
    return {
        "benchmark": "tune",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(CORES),
        "versions": versions(),
        "arguments": asked,
        "recommended": outcome.recommended.as_dict(),
        "requests_used": outcome.requests_used,
        "spreads": {name: round(spread, 3) for name, spread in outcome.spreads.items()},
        "no_difference": list(outcome.undecided),
        "sweeps": {name: [setting.as_dict() for setting in settings] for name, settings in outcome.sweeps.items()},
        "trials": [trial.as_dict() for trial in outcome.trials],
    }


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _numbers(text: str) -> tuple[int, ...]:
    values = tuple(int(part.replace("_", "")) for part in text.split(","))
    if not all(value > 0 for value in values):
        raise ValueError(text)
    return values


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in KNOBS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(KNOBS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "benchmarks/tune.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="a real server's configuration (default: the simulator)")
    parser.add_argument("--budget-requests", type=int, metavar="N", help="requests in all; required for a real server")
    parser.add_argument("--knobs", type=_names, metavar="NAMES", help=f"what to vary: {','.join(KNOBS)}")
    for knob in KNOBS.values():
        flag = f"--{knob.name.replace('_', '-')}"
        parser.add_argument(flag, type=_numbers, metavar="N,N", help=f"{knob.says} ({','.join(map(str, knob.values))})")
    parser.add_argument("--seconds", type=float, help="longest time of one trial (4; --quick 2)")
    parser.add_argument("--repeats", type=int, help="trials of each setting (simulator 3, real server 1)")
    parser.add_argument("--seed", type=int, default=1, help="order of trials and tags; the simulator's values (1)")
    parser.add_argument("--quick", action="store_true", help="fewer values, shorter trials")
    parser.add_argument("--out", type=Path, default=Path("build/tuning"), metavar="FOLDER", help="build/tuning")
    simulator = parser.add_argument_group("the simulator")
    simulator.add_argument("--tags", type=int, default=5000, help="how many tags (5000)")
    simulator.add_argument("--interval", default="10s", help="time between two events of a tag (10s)")
    simulator.add_argument("--latency-ms", type=float, default=50.0, help="how long it takes to begin an answer (50)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
