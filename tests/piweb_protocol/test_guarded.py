"""What a decoder raises that its interface does not say is the error of one tag; the others land."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from config.errors import UnavailableError, UndecodableError
from engine.model import Ask, DecodedAnswer
from engine.piweb import guarded as module
from engine.piweb.decode import decode
from engine.piweb.guarded import UNFORESEEN, guarded
from engine.piweb.wire import Shape
from tests.piweb_protocol.piweb_answers import INGESTED_AT, ask, batch, column, event, stream, streamset

ASKS = [ask(n) for n in range(3)]
STREAMS = [stream(event("10:00:01", n)) for n in range(3)]
BODIES = {Shape.BATCH: batch(*STREAMS), Shape.STREAMSET: streamset(*STREAMS)}


def stumbling(error: Exception) -> Any:
    def decoder(body: bytes, asks: Sequence[Ask], shape: Shape, *, ingested_at: int) -> DecodedAnswer:
        raise error

    return decoder


@pytest.mark.parametrize("shape", BODIES)
@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: error.__name__)
def test_an_answer_that_the_fast_decoder_stumbles_over_is_read_tag_by_tag(
    error: type[Exception], shape: Shape, caplog: pytest.LogCaptureFixture
) -> None:
    answer = guarded(stumbling(error("\ud83d \0")))(BODIES[shape], ASKS, shape, ingested_at=INGESTED_AT)
    expected = decode(BODIES[shape], ASKS, shape, ingested_at=INGESTED_AT)
    assert answer.rows.to_pylist() == expected.rows.to_pylist()
    [said] = [record.getMessage() for record in caplog.records]
    assert said.isprintable()
    assert error.__name__ in said


@pytest.mark.parametrize("shape", BODIES)
@pytest.mark.parametrize("bad", range(3))
def test_a_tag_at_which_that_fails_as_well_is_set_aside(
    monkeypatch: pytest.MonkeyPatch, shape: Shape, bad: int
) -> None:
    read = module.read_part

    def stumbles(sub: Any, one: Ask) -> Any:
        if one is ASKS[bad]:
            raise KeyError("what nobody has foreseen")
        return read(sub, one)

    monkeypatch.setattr(module, "read_part", stumbles)
    answer = guarded(stumbling(TypeError("x")))(BODIES[shape], ASKS, shape, ingested_at=INGESTED_AT)
    assert column(answer, "value") == [float(n) for n in range(3) if n != bad]
    errors = [outcome.error for outcome in answer.outcomes]
    assert [type(error) for error in errors] == [UndecodableError if n == bad else type(None) for n in range(3)]
    assert "KeyError: 'what nobody has foreseen'" in str(errors[bad])
    assert ASKS[bad].tag.name in str(errors[bad])


def test_an_answer_that_cannot_even_be_taken_apart_is_one_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "decode_with", _raises)
    with pytest.raises(UndecodableError, match="the answer for 3 tags cannot be decoded: OverflowError: too large"):
        guarded(stumbling(TypeError("x")))(BODIES[Shape.BATCH], ASKS, Shape.BATCH, ingested_at=INGESTED_AT)


def _raises(*_: object, **__: object) -> None:
    raise OverflowError("too large")


@pytest.mark.parametrize("error", [UnavailableError("cut"), MemoryError(), SystemError(), KeyboardInterrupt()])
def test_what_is_ours_and_what_no_data_brings_about_passes(error: Any) -> None:
    with pytest.raises(type(error)):
        guarded(stumbling(error))(BODIES[Shape.BATCH], ASKS, Shape.BATCH, ingested_at=INGESTED_AT)
