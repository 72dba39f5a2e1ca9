"""Objects of an object store, on every storage that delta-rs knows and with its options: put, get, list, remove.

obstore is the Python interface of the library of storage clients that delta-rs uses. Invariants: a call that waits for the
network lets other threads go on (the filesystem of delta-rs holds the interpreter lock meanwhile: a store that is
silent would stop the whole run, signals and alerts too). Of many writers that create one name at once, one succeeds.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

import obstore
import pyarrow as pa
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PreconditionError,
    UnknownConfigurationKeyError,
)
from obstore.store import LocalStore, from_url

# Options of the HTTP client, which obstore takes separately from those of the storage.
_CLIENT = frozenset(
    {
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only"),
        *("pool_idle_timeout", "pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "proxy_url"),
        *("timeout", "user_agent"),
    }
)
# Options that say how errors are retried, likewise.
_RETRY = frozenset(
    {
        *("max_retries", "retry_timeout"),
        *("backoff_config.init_backoff", "backoff_config.max_backoff", "backoff_config.base"),
    }
)
_PREFIXES = ("aws_", "azure_", "google_")
_UNITS = {
    "ms": 1,
    "millisecond": 1,
    "s": 1000,
    "sec": 1000,
    "second": 1000,
    "m": 60_000,
    "min": 60_000,
    "minute": 60_000,
}
_DURATION = re.compile(r"(\d{1,9})\s*([a-z]+)")
_ENTRY = re.compile(r"_delta_log/\d{20}\.[^/]*(json|parquet)$")
# What is waiting to be uploaded of one file: the smallest part that S3 takes, and one more on its way.
_PART_BYTES = 5 << 20
_PARTS = 2
# Small writes through Python are gathered.
_BUFFER_BYTES = 1 << 20


def create_object(uri: str, options: Mapping[str, str], path: str, content: bytes) -> None:
    """Put it. Raises `FileExistsError` where there is one, `OSError` for everything else that the storage says."""
    with _errors(path):
        obstore.put(_opened(uri, options), path, content, mode="create")


def put_object(uri: str, options: Mapping[str, str], path: str, content: bytes) -> None:
    """Put it, in place of one that is there. Raises `OSError`."""
    with _errors(path):
        obstore.put(_opened(uri, options), path, content)


def get_object(uri: str, options: Mapping[str, str], path: str) -> bytes:
    """Raises `FileNotFoundError` where there is none, `OSError` for everything else."""
    with _errors(path):
        return obstore.get(_opened(uri, options), path).bytes().to_bytes()


def names_under(uri: str, options: Mapping[str, str], folder: str) -> list[str]:
    """The names of the objects right under a prefix. Raises `OSError`."""
    with _errors(folder):
        found = obstore.list_with_delimiter(_opened(uri, options), folder or None)
    return [str(each["path"]).rpartition("/")[2] for each in found["objects"]]


def has_entries(uri: str, options: Mapping[str, str], log: str) -> bool:
    """Whether there is an entry or a checkpoint in the log of a table. Raises `OSError`."""
    with _errors(log):
        found = obstore.list(_opened(uri, options), log)
        return any(_ENTRY.search(str(each["path"])) for chunk in found for each in chunk)


def remove_object(uri: str, options: Mapping[str, str], path: str) -> None:
    """Raises `OSError`."""
    with _errors(path):
        obstore.delete(_opened(uri, options), path)


def open_object(uri: str, options: Mapping[str, str], path: str) -> pa.NativeFile:
    """Open a new object, which is there once it is closed. Writing raises `OSError`."""
    with _errors(path):
        writer = obstore.open_writer(_opened(uri, options), path, buffer_size=_PART_BYTES, max_concurrency=_PARTS)
    return pa.BufferedOutputStream(pa.PythonFile(_Sink(writer, path), mode="w"), _BUFFER_BYTES)


def read_object(uri: str, options: Mapping[str, str], path: str) -> pa.NativeFile:
    """Open a large object to read parts of it. Raises `FileNotFoundError` where there is none, reading `OSError`."""
    store = _opened(uri, options)
    with _errors(path):
        size = int(obstore.head(store, path)["size"])
    return pa.PythonFile(_Source(store, path, size), mode="r")


class _Source:
    """What Arrow reads from: it asks for the parts that it wants."""

    def __init__(self, store: Any, path: str, size: int) -> None:
        self._store, self._path, self._size = store, path, size
        self._at = 0
        self.closed = False

    def read(self, count: int = -1) -> bytes:
        end = self._size if count < 0 else min(self._size, self._at + count)
        if end <= self._at:
            return b""
        with _errors(self._path):
            found = obstore.get_range(self._store, self._path, start=self._at, end=end).to_bytes()
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self.closed = True


class _Sink:
    """What Arrow writes to."""

    def __init__(self, writer: Any, path: str) -> None:
        self._writer, self._path = writer, path
        self._written = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        with _errors(self._path):
            self._writer.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """What is a part of an upload cannot be forced out."""

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with _errors(self._path):
                self._writer.close()


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise FileExistsError(path) from None
    except (NotFoundError, FileNotFoundError) as error:
        # A bucket that does not exist is no object that is not there.
        if re.search("nosuchbucket|containernotfound|filesystemnotfound", str(error), re.IGNORECASE):
            raise OSError(_told(error)) from None
        raise FileNotFoundError(_told(error)) from None
    except BaseError as error:
        raise OSError(_told(error)) from None


def _told(error: BaseException) -> str:
    """Without what is for those who debug obstore."""
    return str(error).partition("Debug source")[0].strip()


def _opened(uri: str, options: Mapping[str, str]) -> Any:
    return _kept(uri, tuple(sorted(options.items())))


@lru_cache(maxsize=64)
def _kept(uri: str, options: tuple[tuple[str, str], ...]) -> Any:
    """A store keeps its connections."""
    return _store(uri, dict(options))


def _store(uri: str, options: Mapping[str, str]) -> Any:
    if "://" not in uri:
        return LocalStore(uri)
    named = {name.lower(): value for name, value in options.items()}
    client: Any = {_bare(name): value for name, value in named.items() if _bare(name) in _CLIENT}
    apart = {name for name in named if _bare(name) in _CLIENT or name in _RETRY}
    config: Any = {name: value for name, value in named.items() if name not in apart and _known(uri, name)}
    return from_url(uri, config=config, client_options=client, retry_config=retry_config(named))


def retry_config(named: Mapping[str, str]) -> Any:
    """The options about retries, as obstore takes them. What cannot be read is left at its default, as delta-rs does it."""
    times = {name: micros for name in _RETRY if (micros := _duration(named.get(name, ""))) is not None}
    config: dict[str, Any] = {}
    if named.get("max_retries", "").isdecimal():
        config["max_retries"] = int(named["max_retries"])
    if "retry_timeout" in times:
        config["retry_timeout"] = times["retry_timeout"]
    backoff: dict[str, Any] = {
        name: times[f"backoff_config.{name}"]
        for name in ("init_backoff", "max_backoff")
        if f"backoff_config.{name}" in times
    }
    with contextlib.suppress(KeyError, ValueError):
        backoff["base"] = float(named["backoff_config.base"])
    return {**config, "backoff": backoff} if backoff else config or None


def _duration(text: str) -> timedelta | None:
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        return None
    unit = _UNITS.get(found[2]) or _UNITS.get(found[2].removesuffix("s"))
    return None if unit is None else timedelta(milliseconds=int(found[1]) * unit)


def _known(uri: str, name: str) -> bool:
    """Whether an option means something to the storage. delta-rs, too, leaves out what does not."""
    config: Any = {name: ""}
    try:
        from_url(uri, config=config)
    except UnknownConfigurationKeyError:
        return False
    except BaseError:
        return True  # the option is known, but not enough by itself
    return True


def _bare(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)
