"""What the Spark source keeps beside the checkpoint of a stream: the tags that it knows, and windows that it left out.

Spark gives a source no place in its checkpoint. Few tags travel in the offsets themselves; many are files under
`stateLocation`. Invariant: a file is named by what is in it, so it is never changed, and to write it again is no error.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import zlib
from collections.abc import Iterable, Sequence

import msgspec

from config import Config, resolve_secrets, without_alerts
from config.errors import ConfigurationError, LostStateError
from writers.storage.errors import storage_errors
from writers.storage.location import TableLocation

from .micro_batches import StreamTag

# So many tags fit into an offset. It is in the checkpoint, and in all that Spark tells of the progress of a query.
MOST_INLINE = 1_000
_INLINE = "inline:"


class LeftOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """A window of a tag that could not be read, and why. Without a window it is a name that leads to no tag."""

    tag_name: str
    error: str
    tag_webid: str = ""
    start: str = ""
    end: str = ""


class SourceState:
    """Keeps tags and windows. `location` is a folder or the URL of one, or None."""

    def __init__(self, location: str | None, config: Config) -> None:
        self._config = config
        self._location = location
        self._recent: dict[str, list[StreamTag]] = {}  # of the last two marks

    def keep_tags(self, tags: Sequence[StreamTag]) -> str:
        """Keep the tags of an offset. Gives the mark that leads to them.

        Raises `ConfigurationError` for so many that they need a `stateLocation`, `StorageError`.
        """
        content = msgspec.json.encode(tags)
        if self._location is None:
            if len(tags) > MOST_INLINE:
                raise ConfigurationError(
                    f"a stream of {len(tags):,} tags needs a place to remember them by",
                    hint="Set the option stateLocation to a folder that is the stream's own, such as "
                    f"/Volumes/main/bronze/state/pi. Up to {MOST_INLINE:,} tags do without.",
                )
            return _INLINE + base64.b64encode(zlib.compress(content, 9)).decode()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._recent:
            self._create(_path_of(digest), content)
            self._remember(digest, list(tags))
        return digest

    def tags_of(self, mark: str) -> list[StreamTag]:
        """The tags under a mark. Raises `LostStateError` where they are not there any more, or damaged."""
        if not mark:
            return []
        if mark not in self._recent:
            self._remember(mark, self._decoded(mark))
        return self._recent[mark]

    def _decoded(self, mark: str) -> list[StreamTag]:
        inline = mark.startswith(_INLINE)
        try:
            content = zlib.decompress(base64.b64decode(mark.removeprefix(_INLINE))) if inline else self._read(mark)
            return msgspec.json.decode(content, type=list[StreamTag])
        except (ValueError, zlib.error, msgspec.MsgspecError):
            damaged = LostStateError(
                f"the tags that the stream knows are damaged, in {'its offset' if inline else _path_of(mark)}",
                hint="Restore it, or begin a new checkpoint, with start_date where the old one ended.",
            )
        raise damaged

    def leave_out(self, windows: Iterable[LeftOut]) -> None:
        """Write down what was left out, a JSON object a line. Raises `StorageError`."""
        content = b"".join(msgspec.json.encode(each) + b"\n" for each in windows)
        if content:
            self._create(f"left_out/{hashlib.sha256(content).hexdigest()}.json", content)

    def _remember(self, mark: str, tags: list[StreamTag]) -> None:
        self._recent = dict([*self._recent.items(), (mark, tags)][-2:])

    def _read(self, mark: str) -> bytes:
        place, path = self._place(), _path_of(mark)
        with storage_errors(place.uri):
            content = place.read_small(path)
        if content is None:
            raise LostStateError(
                f"{place.uri}/{path} is not there: the stream does not know any more which tags it has read",
                hint="Is stateLocation the same as before? Restore the file, or begin a new checkpoint, with start_date "
                "where the old one ended.",
            )
        return content

    def _create(self, path: str, content: bytes) -> None:
        place = self._place()
        with storage_errors(place.uri), contextlib.suppress(FileExistsError):
            place.make_root()
            place.create_small(path, content)

    def _place(self) -> TableLocation:
        if self._location is None:
            raise LostStateError(
                "the tags that the stream knows are in a stateLocation, and the option is not set",
                hint="Set it to the folder that it was before.",
            )
        options = self._config.storage.options
        if options:
            options = resolve_secrets(without_alerts(self._config)).storage.options
        return TableLocation.parse(self._location, {name: value.get_secret_value() for name, value in options.items()})


def _path_of(mark: str) -> str:
    return f"tags/{mark}.json"
