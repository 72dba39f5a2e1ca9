"""How the answers of a run are decoded: by which decoder, and on how many threads.

The native decoder is a package of its own, `osipi-connector-native`. It holds no interpreter lock while it reads an
answer, so it works on as many threads as there are cores. Python's has one: more would wait for each other.
"""

from __future__ import annotations

import importlib
import logging
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType

from config.errors import ConfigurationError

from ..import_check import DISTRIBUTION, installed_version
from ..piweb.decode import Decoder, decode
from ..piweb.native import native_decoder

NATIVE_DISTRIBUTION = f"{DISTRIBUTION}-native"
_CORE = "osipi_native"
_log = logging.getLogger("osipi.run")


@dataclass(frozen=True, slots=True)
class Decoding:
    """The decoder of a run, by its name (python or native), and the threads that it works on."""

    name: str
    decode: Decoder
    executor: Executor


def open_decoding(wanted: str) -> Decoding:
    """The decoder that `performance.decoder` asks for (auto, python or native).

    Raises `ConfigurationError` where the native one is asked for and cannot be had.
    """
    core = None if wanted == "python" else _core_or_none(required=wanted == "native")
    if core is None:
        return Decoding("python", decode, ThreadPoolExecutor(1, thread_name_prefix="osipi-decoder"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Decoding("native", native_decoder(core), ThreadPoolExecutor(cores, thread_name_prefix="osipi-decoder"))


def native_core() -> ModuleType | None:
    """The native core, if it is installed. Raises `ConfigurationError` for one of another version."""
    try:
        core = importlib.import_module(_CORE)
    except ImportError:
        return None
    ours = installed_version()
    if ours and core.__version__ != ours:
        raise ConfigurationError(
            f"{NATIVE_DISTRIBUTION} {core.__version__} does not belong to {DISTRIBUTION} {ours}",
            hint=f"Install {NATIVE_DISTRIBUTION}=={ours}, or uninstall it: Python decodes as exactly, and slower.",
        )
    return core


def _core_or_none(*, required: bool) -> ModuleType | None:
    try:
        core = native_core()
    except ConfigurationError as error:
        if required:
            raise
        _log.warning("%s. Answers are decoded by Python", error.message)
        return None
    if core is None and required:
        raise ConfigurationError(
            f"$.performance.decoder: native, and {NATIVE_DISTRIBUTION} is not installed",
            hint="Install it (`make native` in a checkout builds it), or leave performance.decoder at auto.",
        )
    return core
