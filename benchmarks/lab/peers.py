"""The engine beside public peers, from the smallest run to the largest, with what each of them loses or doubles.

Whole processes take turns in one run against a simulator in a process of its own. The best of the turns counts, for
each of them; of memory the worst. A peer that would take too long at a size, by what it took at the size before, is
left out there, and the table says so.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.lab.engine import check_exact
from benchmarks.lab.peer_runs import PEERS, Peer, peers_here, run_peer
from benchmarks.lab.processes import SimulatorProcess, plant
from benchmarks.lab.situations import Answer, answers_of
from benchmarks.lab.windows import TimeSpan, expected_events

Say = Callable[[str], None]
Settings = Mapping[str, Any]
Run: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Size:
    """A size of the run: the runs of each peer, and of who was left out the seconds that it would take."""

    name: str
    title: str
    rows: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    left_out: dict[str, float] = field(default_factory=dict)


def measure(settings: Settings, _scale: str, say: Say) -> dict[str, Any]:
    """Run each size with each peer, then each situation."""
    peers = peers_here()
    if absent := [peer.name for peer in PEERS if peer not in peers]:
        say(f"{', '.join(absent)}: left out, for dlt is not installed (pip install 'osipi-connector[peers]')")
    sizes: list[Size] = []
    for size in settings["sizes"]:
        sizes.append(_measured({**settings, **size}, peers, sizes, say))
    answers: dict[str, list[Answer]] = {}
    for peer in peers:
        answers[peer.name] = answers_of(peer, settings["situations"])
        say(f"{peer.name}: {_wrong(answers[peer.name]):,} rows are wrong in all situations")
    return {
        "figures": _figures(sizes, answers),
        "tables": [_speed_table(sizes), _answer_table(answers)],
        "runs": {
            "sizes": {size.name: size.runs for size in sizes},
            "situations": {name: {each.question: each.shows for each in found} for name, found in answers.items()},
        },
    }


def expected_secs(known: Sequence[tuple[int, float]], rows: int) -> float:
    """How long a run over so many rows takes, by the last two (rows, seconds) that are known. Pure."""
    if len(known) < 2:
        return 0.0
    (fewer, sooner), (more, later) = known[-2:]
    return later + max(0.0, later - sooner) / (more - fewer) * (rows - more)


def _measured(settings: Settings, peers: Sequence[Peer], before: Sequence[Size], say: Say) -> Size:
    site_of = {**settings["plant"], "tags": settings["tags"]}
    span = TimeSpan.of(settings["start"], settings["length"])
    expected = expected_events(site_of, span)
    size = Size(settings["name"], f"{settings['tags']:,} tags x {settings['length']}", sum(expected.values()))
    for peer in peers:
        known = [(each.rows, best(each.runs[peer.name])["wall_seconds"]) for each in before if peer.name in each.runs]
        secs = expected_secs(known, size.rows)
        if secs > settings["most_secs"]:
            size.left_out[peer.name] = secs
            say(f"{size.title}: {peer.name} is left out, it would take about {secs:.0f} s")
        else:
            size.runs[peer.name] = []
    with plant(site_of) as site:
        for turn in range(settings["repeats"]):
            for peer in peers:
                if peer.name not in size.runs:
                    continue
                run = _once(peer, site, settings["runs"], span, expected)
                size.runs[peer.name].append(run)
                took = f"{run['wall_seconds']:.2f} s, {run['cpu_seconds']:.2f} s of processor"
                say(f"{size.title}, turn {turn + 1}: {peer.name} {took}")
    return size


def _once(peer: Peer, site: SimulatorProcess, settings: Settings, span: TimeSpan, expected: Mapping[str, int]) -> Run:
    """One process over an empty folder. Raises `NotExactError` if it did not bring in every event once."""
    with tempfile.TemporaryDirectory(prefix="osipi-benchmark-") as name:
        folder, asked, began = Path(name), site.requests(), time.perf_counter()
        done = run_peer(peer, site, folder, span, settings)
        took = time.perf_counter() - began
        check_exact(str(peer.table_in(folder)), expected)
    return {
        "wall_seconds": round(took, 3),
        "cpu_seconds": round(done.cpu_seconds, 3),
        "peak_mib": round(done.peak_rss_bytes / 2**20, 1),
        "requests": site.requests() - asked,
    }


def best(runs: Sequence[Run]) -> Run:
    """The least of each figure, and of memory the most. Pure."""
    return {key: (max if key == "peak_mib" else min)(run[key] for run in runs) for key in runs[0]}


def _figures(sizes: Sequence[Size], answers: Mapping[str, Sequence[Answer]]) -> dict[str, float]:
    """Costs of the engine at each size, and its share in those of the best peer; of all, how many rows are wrong."""
    figures: dict[str, float] = {"largest_rows": sizes[-1].rows}
    for size in sizes:
        costs = {name: best(runs) for name, runs in size.runs.items()}
        ours = costs.pop("engine")
        for key in ("wall", "cpu"):
            figures[f"{size.name}_{key}_seconds"] = ours[f"{key}_seconds"]
            figures[f"{size.name}_{key}_to_best"] = ours[f"{key}_seconds"] / min(
                cost[f"{key}_seconds"] for cost in costs.values()
            )
    for key in ("wall", "cpu"):
        figures[f"largest_{key}_to_best"] = figures[f"{sizes[-1].name}_{key}_to_best"]
    wrong = {name: _wrong(found) for name, found in answers.items()}
    return {
        **figures,
        **{f"{name}_wrong_rows": count for name, count in wrong.items()},
        "fewest_wrong_rows_of_a_peer": min(count for name, count in wrong.items() if name != "engine"),
    }


def _wrong(found: Sequence[Answer]) -> int:
    return sum(answer.wrong for answer in found)


def _speed_table(sizes: Sequence[Size]) -> dict[str, Any]:
    rows = []
    for size in sizes:
        for peer in PEERS:
            if runs := size.runs.get(peer.name):
                cost = best(runs)
                cells = [f"{cost['wall_seconds']:.2f}", f"{cost['cpu_seconds']:.2f}", f"{cost['peak_mib']:.0f}"]
                rows.append([size.title, peer.name, *cells, f"{cost['requests']:,}", f"{size.rows:,}"])
            else:
                secs = size.left_out.get(peer.name)
                why = f"left out: about {secs:.0f} s" if secs else "not installed"
                rows.append([size.title, peer.name, why, "", "", "", ""])
    head = ["Run", "", "Seconds", "Processor seconds", "Peak MiB", "Requests", "Rows"]
    return {"title": "Cost of a first run over empty tables; every run brought in every event once.", "head": head, "rows": rows}  # fmt: skip


def _answer_table(answers: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    questions = [answer.question for answer in answers["engine"]]
    rows = [
        [question, *(found[number].shows for found in answers.values())] for number, question in enumerate(questions)
    ]
    return {
        "title": "What each of them loses or doubles in the same small situations.",
        "head": ["Situation", *answers],
        "rows": rows,
    }
