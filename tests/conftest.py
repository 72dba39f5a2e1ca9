"""What all tests share: how many examples a property test tries, and which waits are left out.

The default profile tries a tenth of the examples. `make test-thorough` and CI run the property tests again with the profile
`thorough`, which tries all of them. A test that needs another number than 100 uses `tests.examples.examples`.
"""

from __future__ import annotations

import gc
import os
import ssl
import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

# How long an example takes is the affair of the machine, which may be busy with other things.
settings.register_profile("thorough", settings(deadline=None, max_examples=100))
settings.register_profile("default", settings(deadline=None, max_examples=10))
settings.load_profile("default")

# Compiling our modules again is half of what the start of a process takes; hundreds are started. Compiling the tests
# again is half of what collecting them takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Workers take tests from each other: fixtures of a module are rarely made twice, and no worker waits at the end."""
    if config.getoption("numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Freeze the tests: half a million objects, which each collection of garbage would go through. Few of them are garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else extension modules call what is frozen leaked


@pytest.fixture(autouse=True)
def no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test cuts the power, and a commit waits for the disk dozens of times. Like `fsync`, `fstat` refuses what is closed."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture(autouse=True)
def no_authorities_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests are trusted by their own certificates. Each run would read a hundred others. `test_tls.py` does."""
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
