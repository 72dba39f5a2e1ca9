"""What an open table does with its files, for every way of committing: stage, remove and read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from ..log.change_feed import FOLDER, change_spec, keeps_feed
from ..log.model import LiveFile, StagedFile
from ..tables import TableSpec
from .errors import storage_errors
from .location import TableLocation
from .parquet_read import live_schema, read_live
from .parquet_stage import ParquetStage


class TableFiles(ABC):
    """The base of open tables whose files are at a place.

    `written` are the columns that the table has of `spec`; `whole` are these and those that others have added.
    """

    def __init__(self, place: TableLocation, spec: TableSpec, *, written: TableSpec, columns: pa.Schema) -> None:
        self._place = place
        self.spec = spec
        self._written = written
        self._whole = written.with_columns(columns)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._whole.schema.names)

    @property
    @abstractmethod
    def properties(self) -> Mapping[str, str | None]: ...

    def stage(self, *, whole: bool = False) -> ParquetStage:
        return ParquetStage(self._place, self._whole if whole else self._written)

    def stage_changes(self) -> ParquetStage | None:
        if not keeps_feed(self.properties):
            return None
        return ParquetStage(self._place, change_spec(self._whole), folder=FOLDER)

    def discard(self, files: Sequence[StagedFile]) -> None:
        for file in files:
            self._place.remove(file.path)

    def has_file(self, file: StagedFile) -> bool:
        with storage_errors(self._place.uri):
            return self._place.has(file.path)

    def read_file(
        self, file: LiveFile, columns: Sequence[str], *, window: tuple[int, int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        schema, time = live_schema(self._whole, columns), self.spec.grain.time
        return read_live(self._place, file, schema, time=time, window=window)
