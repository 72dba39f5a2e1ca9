"""A state of a pipeline that several runs change: each version is written by one of them, at every destination."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import StorageError
from tests.contract.conftest import Destination
from writers import PI_WATERMARKS, open_lakehouse
from writers.storage.state_file import KEPT

NAME = "alerts-plant"


def test_a_version_is_written_once_and_the_newest_is_read(destination: Destination):
    destination.lakehouse().table(PI_WATERMARKS).open()
    ours, theirs = destination.lakehouse().state_file(NAME), destination.lakehouse().state_file(NAME)
    assert ours.read() == (0, b"")
    assert ours.write(1, b"ours")
    assert not theirs.write(1, b"theirs")
    assert theirs.read() == (1, b"ours")
    assert theirs.write(2, b"theirs")
    assert ours.read() == (2, b"theirs")
    assert destination.lakehouse().state_file("alerts-other").read() == (0, b"")


def test_of_writers_at_the_same_moment_one_succeeds(destination: Destination):
    destination.lakehouse().table(PI_WATERMARKS).open()

    def add_one(_: int) -> None:
        file = destination.lakehouse().state_file(NAME)
        while True:
            version, content = file.read()
            if file.write(version + 1, str(int(content or b"0") + 1).encode()):
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(12)))
    assert destination.lakehouse().state_file(NAME).read() == (12, b"12")


def test_a_writer_that_slept_through_many_versions_came_too_late(tmp_path):
    file = open_lakehouse(tmp_path).state_file(NAME)
    for version in range(1, KEPT + 4):
        assert file.write(version, b"%d" % version)
    folder = tmp_path / "main/checkpoints/pi_watermarks/_osipi" / NAME
    assert len(list(folder.iterdir())) == KEPT
    assert not file.write(2, b"late")
    assert file.read() == (KEPT + 3, b"%d" % (KEPT + 3))
    assert len(list(folder.iterdir())) == KEPT


def test_a_catalog_without_a_checkpoint_table_keeps_no_state_and_gets_no_table(tmp_path):
    from tests.unity.places import stand_in

    with stand_in("managed", str(tmp_path), None) as (_, lakehouse):
        file = lakehouse().state_file(NAME)
        assert file.read() == (0, b"")
        with pytest.raises(StorageError, match="no checkpoint table yet"):
            file.write(1, b"x")
        assert not lakehouse().table(PI_WATERMARKS).exists()
