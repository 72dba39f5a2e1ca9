"""One run of a pipeline and shard at a time, and a dead one never stands in the way for long."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.errors import AccessDeniedError, ExtractError, FencedError, StorageError, UnavailableError
from tests.patience import HANGS_AFTER_SECS
from writers.storage.lease import FileLease, lease_name, shards_with_lease
from writers.storage.location import TableLocation


class Sleep:
    """Counts the seconds, and lets the world go on meanwhile."""

    def __init__(self, meanwhile=lambda: None) -> None:
        self.secs = 0.0
        self.meanwhile = meanwhile

    def __call__(self, secs: float) -> None:
        self.secs += secs
        self.meanwhile()


def lease(tmp_path: Path, run_id: str, sleep=None, shard: str = "0-of-1") -> FileLease:
    return FileLease(lambda: TableLocation.parse(tmp_path), "p", shard, run_id, sleep=sleep or Sleep())


def record(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "_osipi" / lease_name("p", "0-of-1")).read_text())


def pretend(tmp_path: Path, **changes) -> None:
    path = tmp_path / "_osipi" / lease_name("p", "0-of-1")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_live_holder_is_named(tmp_path: Path) -> None:
    first = lease(tmp_path, "first")
    first.acquire()
    pretend(tmp_path, host="plant-7", pid=4711, machine="elsewhere")
    sleep = Sleep(first.renew)
    # (renewing writes what the holder knows of itself)
    with pytest.raises(FencedError, match=r"run first on .* \(pid \d+\), since \d{4}-.*Z"):
        lease(tmp_path, "second", sleep).acquire()
    assert sleep.secs <= 1.0


def test_a_silent_holder_on_another_machine_is_succeeded_within_seconds(tmp_path: Path) -> None:
    lease(tmp_path, "first").acquire()
    pretend(tmp_path, machine="elsewhere")
    sleep = Sleep()
    second = lease(tmp_path, "second", sleep)
    second.acquire()
    assert 4.0 <= sleep.secs < 5.0
    assert record(tmp_path)["run_id"] == "second"
    second.renew()
    assert record(tmp_path)["beat"] == 1


def test_a_dead_process_of_this_machine_is_succeeded_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from writers.storage.lease import FileLease; from writers.storage.location import TableLocation;"
        "FileLease(lambda: TableLocation.parse(sys.argv[1]), 'p', '0-of-1', 'gone', sleep=lambda s: None).acquire()"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    assert record(tmp_path)["run_id"] == "gone"
    sleep = Sleep()
    second = lease(tmp_path, "second", sleep)
    assert second.holder() is None
    second.acquire()
    assert sleep.secs < 1.0


def test_a_pid_that_is_used_again_is_not_the_old_holder(tmp_path: Path) -> None:
    lease(tmp_path, "first").acquire()
    assert "first" in (lease(tmp_path, "x").holder() or "")
    pretend(tmp_path, born="1")
    assert lease(tmp_path, "x").holder() is None


@dataclass
class Start:
    """Of several at once. While the others sleep, the one that holds the lease beats."""

    gate: threading.Barrier
    taken: threading.Event = field(default_factory=threading.Event)
    beating: threading.Lock = field(default_factory=threading.Lock)
    holder: FileLease | None = None

    def sleep(self, _secs: float) -> None:
        assert self.taken.wait(HANGS_AFTER_SECS)
        with self.beating:
            assert self.holder is not None
            self.holder.renew()


def test_of_many_that_start_at_once_one_goes_on(tmp_path: Path) -> None:
    """In a fresh folder, where the lease is free, and where its holder died."""
    many = 6
    for turn in range(20):
        start = Start(threading.Barrier(many))

        def begin(number: int, start: Start = start, turn: int = turn) -> FileLease | str:
            one = lease(tmp_path, f"{turn}-{number}", start.sleep)
            start.gate.wait()
            try:
                one.acquire()
            except FencedError as error:
                return str(error)
            start.holder = one
            start.taken.set()
            return one

        with ThreadPoolExecutor(many) as pool:
            found = list(pool.map(begin, range(many)))
        [winner] = [one for one in found if isinstance(one, FileLease)]
        assert all(f"run {turn}-" in one for one in found if isinstance(one, str))
        if turn % 2:
            winner.release()
        else:
            pretend(tmp_path, born="1")


def test_who_has_begun_a_term_holds_the_lease_before_its_first_beat(tmp_path: Path) -> None:
    """Stopped between the two files: the others give it the time of a silent holder, and no less."""
    first = lease(tmp_path, "first")
    first._write = lambda record: None  # type: ignore[method-assign]
    first.acquire()
    sleep = Sleep()
    lease(tmp_path, "second", sleep).acquire()
    assert 4.0 <= sleep.secs < 5.0


def test_a_lease_of_an_earlier_version_is_heeded(tmp_path: Path) -> None:
    """Those wrote the file with the beats and nothing else."""
    first = lease(tmp_path, "first")
    first.acquire()
    first.release()
    shutil.rmtree(tmp_path / "_osipi" / "lease-p-0-of-1")
    pretend(tmp_path, released=False, token="of an earlier version")
    with pytest.raises(FencedError, match="run first"):
        lease(tmp_path, "second", Sleep(lambda: pretend(tmp_path, beat=record(tmp_path)["beat"] + 1))).acquire()
    pretend(tmp_path, released=True)
    sleep = Sleep()
    lease(tmp_path, "second", sleep).acquire()
    assert sleep.secs == 0.0


def test_who_lost_its_lease_learns_it_and_does_not_release_the_others(tmp_path: Path) -> None:
    first, second = lease(tmp_path, "first"), lease(tmp_path, "second")
    first.acquire()
    second.acquire()  # first was silent
    with pytest.raises(FencedError, match="run second"):
        first.renew()
    first.release()
    assert record(tmp_path)["run_id"] == "second"
    assert record(tmp_path)["released"] is False
    second.release()
    assert second.holder() is None


def test_a_released_lease_is_taken_without_waiting(tmp_path: Path) -> None:
    first = lease(tmp_path, "first")
    first.acquire()
    first.release()
    sleep = Sleep()
    lease(tmp_path, "second", sleep).acquire()
    assert sleep.secs < 1.0


def test_a_damaged_lease_file_stops_no_run(tmp_path: Path) -> None:
    lease(tmp_path, "first").acquire()
    (tmp_path / "_osipi" / lease_name("p", "0-of-1")).write_text("{")
    second = lease(tmp_path, "second")
    assert second.holder() is None
    second.acquire()
    assert record(tmp_path)["run_id"] == "second"


@pytest.mark.parametrize(("done", "refused"), [(True, False), (True, True), (False, False)])
def test_a_term_whose_answer_is_lost_is_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool, refused: bool
) -> None:
    """`refused`: the storage client has sent it again, and was told that it is there already: by itself."""
    create = TableLocation.create_small

    def lost(place: TableLocation, path: str, content: bytes) -> None:
        monkeypatch.undo()
        if done:
            create(place, path, content)
        raise FileExistsError(path) if refused else OSError("error sending request: connection reset")

    first = lease(tmp_path, "first")
    monkeypatch.setattr(TableLocation, "create_small", lost)
    if not done:
        with pytest.raises(UnavailableError):
            first.acquire()
        return
    first.acquire()
    first.renew()
    with pytest.raises(FencedError, match="run first"):
        lease(tmp_path, "second", Sleep(first.renew)).acquire()


@pytest.mark.parametrize("error", [StorageError("no room"), UnavailableError("away"), AccessDeniedError("403")])
def test_a_lease_that_cannot_be_given_back_is_not_what_ends_a_run(tmp_path: Path, error: ExtractError) -> None:
    """It would hide what did end it, or make a failure of a run that has landed everything."""
    away: list[ExtractError] = []

    def place() -> TableLocation:
        if away:
            raise away[0]
        return TableLocation.parse(tmp_path)

    first = FileLease(place, "p", "0-of-1", "first", sleep=Sleep())
    first.acquire()
    away.append(error)
    first.release()
    pretend(tmp_path, machine="elsewhere")
    lease(tmp_path, "second").acquire()  # after a few seconds of silence


def test_shards_are_listed_by_pipeline(tmp_path: Path) -> None:
    place = TableLocation.parse(tmp_path)
    assert shards_with_lease(place, "p") == ()
    for pipeline, shard in (
        ("p", "0-of-2"),
        ("p", "1-of-2"),
        ("p-0-of-3", "0-of-1"),
        ("p/x", "0-of-1"),
        ("p_x", "2-of-3"),
    ):
        FileLease(lambda: place, pipeline, shard, "r", sleep=Sleep()).acquire()
    assert shards_with_lease(place, "p") == ("0-of-2", "1-of-2")
    assert shards_with_lease(place, "p/x") == ("0-of-1",)
    assert shards_with_lease(place, "p_x") == ("2-of-3",)
