"""Options of the Spark source, and what it keeps beside a checkpoint."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from config import put_local_references
from config.errors import ConfigurationError, ExtractError, LostStateError
from engine.model import Tag
from engine.spark.micro_batches import StreamTag
from engine.spark.source_options import SourceOptions, parse_options
from engine.spark.source_state import MOST_INLINE, LeftOut, SourceState

PLAIN = {
    "pi_web_api.url": "https://pi.example.com/piwebapi",
    "pi_web_api.auth_type": "anonymous",
    "extraction.tag_name_filter": '"*"',
}
BASIC = {**PLAIN, "pi_web_api.auth_type": "basic", "pi_web_api.username": "me"}


def test_keys_of_the_configuration_are_options_and_a_file_may_hold_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(
        "pi_web_api: {url: 'https://pi.example.com/piwebapi', auth_type: anonymous}\nextraction: {lag: 5m}\n"
    )
    for named in ("config", "path"):
        found = parse_options({named: str(file), "extraction.tags": "[A, B]", "NUMPARTITIONS": "7"})
        assert found.config.extraction.tags == ("A", "B")
        assert found.config.extraction.lag.total_seconds() == 300
        assert (found.partitions, found.fail_on_tag_error, found.change_rows) == (7, True, False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speed": "1"}, "option speed: there is none"),
        ({"extraction.spped": "1"}, "spped"),
        ({"extraction.lag": "later"}, "option extraction.lag"),
        ({"dataset": "event_frames"}, "event_frames is not supported"),
        ({"dataset": "nonsense"}, "nonsense is not supported"),
        ({"changeRows": "perhaps"}, "changeRows: found 'perhaps'"),
        ({"numPartitions": "0"}, "numPartitions: found '0'"),
        ({"failOnTagError": "false"}, "no place to write down"),
        ({"extraction.tag_name_filter": "[]"}, "tag"),
        ({"pi_web_api.auth_type": "bearer"}, "token"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, str], said: str) -> None:
    with pytest.raises(ExtractError, match=said):
        parse_options({**PLAIN, **options})


@pytest.mark.parametrize(
    "options",
    [
        {**BASIC, "pi_web_api.password": "hunter2"},
        {**PLAIN, "pi_web_api.auth_type": "bearer", "pi_web_api.token": "hunter2"},
        {**PLAIN, "storage.options.aws_secret_access_key": "hunter2"},
    ],
)
def test_a_credential_in_full_is_refused_and_not_repeated(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="is written in full") as refused:
        parse_options(options)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


def test_what_travels_holds_references_and_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PI_PASSWORD", "hunter2")
    found = parse_options({**BASIC, "pi_web_api.password": "${env:PI_PASSWORD}", "storage.options.region": "eu-1"})
    sent = pickle.dumps(found)
    assert b"hunter2" not in sent
    arrived: SourceOptions = pickle.loads(sent)
    password = put_local_references(arrived.config).pi_web_api.password
    assert password is not None
    assert password.get_secret_value() == "hunter2"


def test_a_stream_refuses_what_it_cannot_give() -> None:
    with pytest.raises(ConfigurationError, match="dataset tags has no stream"):
        parse_options({**PLAIN, "dataset": "tags"}).check_streamable()
    with pytest.raises(ConfigurationError, match="changeRows"):
        parse_options({**PLAIN, "extraction.lookback": "1h"}).check_streamable()
    parse_options({**PLAIN, "extraction.lookback": "1h", "changeRows": "true"}).check_streamable()


def tags(count: int) -> list[StreamTag]:
    return [StreamTag(Tag(f"F1DP{n:05}", f"Töpfer's {n}"), n if n % 7 == 0 else None) for n in range(count)]


def test_few_tags_are_in_the_offset_itself() -> None:
    state = SourceState(None, parse_options(PLAIN).config)
    mark = state.keep_tags(tags(50))
    assert SourceState(None, parse_options(PLAIN).config).tags_of(mark) == tags(50)
    assert state.tags_of("") == []
    assert state.keep_tags(tags(50)) == mark
    with pytest.raises(ConfigurationError, match="1,001 tags") as refused:
        state.keep_tags(tags(MOST_INLINE + 1))
    assert "stateLocation" in refused.value.hint
    with pytest.raises(LostStateError, match="in its offset"):
        state.tags_of(mark[:-8])


def test_many_tags_are_a_file_that_the_offset_names(tmp_path: Path) -> None:
    config = parse_options(PLAIN).config
    state = SourceState(str(tmp_path / "state"), config)
    mark = state.keep_tags(tags(MOST_INLINE + 1))
    assert len(mark) == 64
    assert state.keep_tags(tags(MOST_INLINE + 1)) == mark
    assert SourceState(str(tmp_path / "state"), config).tags_of(mark) == tags(MOST_INLINE + 1)
    with pytest.raises(LostStateError, match="is not there"):
        SourceState(str(tmp_path / "elsewhere"), config).tags_of(mark)
    with pytest.raises(LostStateError, match="stateLocation"):
        SourceState(None, config).tags_of(mark)
    [file] = (tmp_path / "state" / "tags").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(LostStateError, match="damaged"):
        SourceState(str(tmp_path / "state"), config).tags_of(mark)


def test_windows_that_are_left_out_are_written_once(tmp_path: Path) -> None:
    state = SourceState(str(tmp_path), parse_options(PLAIN).config)
    state.leave_out([])
    assert not (tmp_path / "left_out").exists()
    for _ in range(2):
        state.leave_out([LeftOut("A", "it is broken", "F1", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z")])
    [file] = (tmp_path / "left_out").iterdir()
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {
            "tag_name": "A",
            "error": "it is broken",
            "tag_webid": "F1",
            "start": "2024-01-01T00:00:00Z",
            "end": "2024-01-02T00:00:00Z",
        }
    ]
