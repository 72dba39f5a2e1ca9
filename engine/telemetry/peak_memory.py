"""How much memory this process has held at most, on each system."""

from __future__ import annotations

import ctypes
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def peak_rss_bytes() -> int:
    """Peak of the resident memory of this process; 0 where the system does not tell.

    What getrusage says on Linux holds for the process: it counts what the program had that started us, too.
    """
    with suppress(OSError):
        own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        if own is not None:
            return int(own[1]) * 1024
    try:
        import resource
    except ImportError:
        return _peak_working_set_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of Windows."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("rest", ctypes.c_size_t * 7),
    )


def _peak_working_set_bytes() -> int:
    libraries: Any = getattr(ctypes, "windll", None)
    if libraries is None:
        return 0
    kernel = libraries.kernel32
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
    ask = kernel.K32GetProcessMemoryInfo
    ask.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MemoryCounters), ctypes.c_uint32)
    return counters.peak_working_set if ask(kernel.GetCurrentProcess(), counters, counters.size) else 0
