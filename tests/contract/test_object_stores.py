"""What is said to an object store beside delta-rs: other threads go on meanwhile, and the options are those of delta-rs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pyarrow as pa
import pytest

from config.errors import StorageError, UnavailableError
from writers import PI_TIMESERIES
from writers.delta.table import DeltaCommitTable
from writers.storage.errors import storage_errors
from writers.storage.location import TableLocation
from writers.storage.objects import create_object, retry_config

SILENT_SECS = 1.5


@pytest.fixture
def silent() -> Iterator[TableLocation]:
    """A bucket of a server that takes connections, and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        options = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "not-a-real-one",
            "timeout": f"{SILENT_SECS * 1000:.0f}ms",
            "max_retries": "0",
            "retry_timeout": "1s",
        }
        yield TableLocation.parse(f"s3://lake/{uuid4().hex}", options)


def _written(place: TableLocation) -> None:
    with place.open_output("a") as sink:
        sink.write(os.urandom(6 << 20))


def test_other_threads_go_on_while_a_store_is_silent(silent: TableLocation) -> None:
    """A call that holds the interpreter lock meanwhile stops the event loop: requests, alerts, signals."""
    calls: dict[str, Callable[[], object]] = {
        "read_small": lambda: silent.read_small("a"),
        "write_small": lambda: silent.write_small("a", b"x"),
        "create_small": lambda: silent.create_small("a", b"x"),
        "names": lambda: silent.names("folder"),
        "has": lambda: silent.has("a"),
        "remove": lambda: silent.remove("a"),
        "open_input": lambda: silent.open_input("a").read(1),
        "open_output": lambda: _written(silent),
        "exists": DeltaCommitTable(silent, PI_TIMESERIES).exists,
        "open": DeltaCommitTable(silent, PI_TIMESERIES).open,
    }
    ended: dict[str, str] = {}

    def wait_for(name: str) -> None:
        try:
            with storage_errors(silent.uri):
                calls[name]()
            ended[name] = "well"
        except Exception as error:  # noqa: BLE001 - the test looks at what it was
            ended[name] = type(error).__name__

    threads = [threading.Thread(target=wait_for, args=(name,)) for name in calls]
    longest, last = 0.0, time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.8 * SILENT_SECS
    # What is removed is no error when it stays.
    assert ended == {**dict.fromkeys(calls, UnavailableError.__name__), "remove": "well"}


@pytest.mark.parametrize("size", [0, 1, (5 << 20) - 1, 5 << 20, (12 << 20) + 7])
def test_files_of_any_size_come_back(s3: dict[str, str], size: int) -> None:
    place = TableLocation.parse(f"s3://lake/{uuid4().hex}", s3)
    content = os.urandom(size)
    with place.open_output("folder/a") as sink:
        for at in range(0, size, 1 << 18):
            sink.write(content[at : at + (1 << 18)])
        assert sink.tell() == size
    place.write_small("folder/b", content)
    place.create_small("folder/c", content)
    assert [place.read_small(f"folder/{name}") == content for name in "abc"] == [True] * 3
    with place.open_input("folder/a") as source:
        assert source.size() == size
        assert source.read() == content
        source.seek(size // 2)
        assert source.read(1000) == content[size // 2 : size // 2 + 1000]
    with pytest.raises(FileNotFoundError):
        place.open_input("folder/d")
    assert place.names("folder") == ("a", "b", "c")
    assert place.names("") == ()
    with pytest.raises(FileExistsError):
        place.create_small("folder/a", b"another")
    place.remove("folder/a")
    place.remove("folder/a")
    assert place.read_small("folder/a") is None
    assert not place.has("folder/a")


def test_a_bucket_that_is_not_there_is_no_file_that_is_not_there(s3: dict[str, str]) -> None:
    place = TableLocation.parse("s3://no-such-bucket/x", s3)
    for call in (lambda: place.read_small("a"), lambda: place.names("folder"), lambda: place.write_small("a", b"")):
        with pytest.raises(StorageError, match="does not exist") as ended, storage_errors(place.uri):
            call()
        assert "Debug" not in str(ended.value)


def test_what_arrow_writes_is_not_there_where_the_store_refuses_it(s3: dict[str, str]) -> None:
    place = TableLocation.parse("s3://no-such-bucket/x", s3)
    with pytest.raises(OSError, match="NoSuchBucket"), place.open_output("a") as sink:
        sink.write(pa.py_buffer(os.urandom(11 << 20)))


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, None),
        ({"max_retries": "3"}, {"max_retries": 3}),
        ({"retry_timeout": "5s"}, {"retry_timeout": timedelta(seconds=5)}),
        ({"retry_timeout": "3 minutes", "max_retries": "many"}, {"retry_timeout": timedelta(minutes=3)}),
        (
            {"backoff_config.init_backoff": "10ms", "backoff_config.base": "3"},
            {"backoff": {"init_backoff": timedelta(milliseconds=10), "base": 3.0}},
        ),
        ({"backoff_config.max_backoff": "long"}, None),
    ],
)
def test_retries_are_as_the_options_of_delta_rs_say(options: dict[str, str], taken: dict | None) -> None:
    assert retry_config(options) == taken


def test_a_store_that_fails_is_asked_as_often_as_the_options_say(silent: TableLocation) -> None:
    began = time.monotonic()
    with pytest.raises(OSError, match=r"retries: 0|error sending request"):
        create_object(silent.uri, {**silent.storage_options, "timeout": "50ms"}, "a", b"x")
    assert time.monotonic() - began < 10  # and not for three minutes
