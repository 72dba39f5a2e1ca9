"""Which failures of the destination a run that follows rides out, and for how long. By a clock that leaps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from config import RetryConfig
from config.errors import FencedError, StorageError, UnavailableError, UnknownCommitError
from engine.flow.stop import Stop
from engine.run.patient_reader import PatientReader
from engine.run.report import CycleResult
from tests.leaping import in_leaping_time

AWAY, OPEN = UnavailableError("away"), UnknownCommitError("open")
DONE = CycleResult(7)


class Scripted:
    """A destination: what each reading comes to, and how often the tables were opened anew."""

    def __init__(self, *outcomes: BaseException | CycleResult) -> None:
        self.outcomes = list(outcomes)
        self.opened = 0

    async def open(self) -> Scripted:
        self.opened += 1
        return self

    async def read(self, *_: object, **__: object) -> CycleResult:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def read(scripted: Scripted, times: int = 1) -> Sequence[CycleResult]:
    async def work() -> list[CycleResult]:
        reader = PatientReader(scripted, scripted.open, RetryConfig(max_attempts=4), Stop())  # type: ignore[arg-type]
        return [await reader.read([], 0, since=0.0) for _ in range(times)]

    return in_leaping_time(work())


@pytest.mark.parametrize(
    "failure", [AWAY, OPEN, ExceptionGroup("", [AWAY]), ExceptionGroup("", [ExceptionGroup("", [OPEN, AWAY])])]
)
def test_what_passes_is_ridden_out_with_tables_opened_anew(failure: BaseException) -> None:
    scripted = Scripted(failure, failure, failure, DONE)
    assert read(scripted) == [DONE]
    assert scripted.opened == 3


def test_every_reading_has_all_attempts() -> None:
    scripted = Scripted(*[AWAY, AWAY, AWAY, DONE] * 3)
    assert read(scripted, times=3) == [DONE] * 3


def test_after_the_last_attempt_the_first_error_ends_the_run() -> None:
    with pytest.raises(UnknownCommitError, match="open"):
        read(Scripted(OPEN, AWAY, AWAY, AWAY, DONE))


@pytest.mark.parametrize("final", [FencedError("other"), StorageError("full"), KeyError("a bug")])
@pytest.mark.parametrize("beside", [[], [AWAY]])
def test_what_does_not_pass_by_itself_ends_the_run_at_once(final: Exception, beside: list[Exception]) -> None:
    scripted = Scripted(ExceptionGroup("", [final, *beside]), DONE)
    with pytest.raises((type(final), UnavailableError)):
        read(scripted)
    assert scripted.opened == 0
