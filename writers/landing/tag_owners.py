"""Which pipeline owns a tag of a data table. Reads snapshots, and commits claims.

A tag belongs to the pipeline that has rows of it in the checkpoint table, with any content: a tag that only ever
failed is owned, too. Where there is a claim, it counts more: watermarks that were read back from the data
(`writers.landing.rebuild`) do not know whose they are. Before a pipeline reads new tags it claims them: one commit of
rows with empty windows, under an app_id that all pipelines share. So of two pipelines that claim at the same moment
one is fenced, and looks again.

Invariant: a tag of one data table has rows of one pipeline. (Tables of earlier versions may break it; both
pipelines are then refused.) Pipelines that write to different data tables may share a checkpoint table, and tags: a
claim says for which table it is, and the log of a data table names who has ever committed to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.errors import ConfigurationError, ExtractError, FencedError, UnknownCommitError

from ..ports import Commit, CommitKey, Lakehouse, OpenTable, StagedFile, stage_rows
from ..tables import PI_WATERMARKS, TableSpec
from ..watermarks.checkpoint_rows import encode
from ..watermarks.model import Watermark
from ..watermarks.store import WatermarkColumns, WatermarkStore, row_of
from .commit_ids import is_landing
from .landing_run import LandingRun

_SHOWN = 5
# Rows that are looked up at a time: each time Arrow builds a hash table of the wanted tags.
_ROWS = 1 << 19


@dataclass(frozen=True, slots=True)
class Held:
    """Tags that were asked for, and that another pipeline owns."""

    pipeline: str
    web_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Having:
    any: set[str]
    claimed: set[str]


class TagOwners:
    """Looks up and claims tags for one pipeline, dataset and data table. Not for several threads."""

    def __init__(
        self,
        lakehouse: Lakehouse,
        spec: TableSpec,
        run: LandingRun,
    ) -> None:
        self._lakehouse = lakehouse
        self._spec = spec
        self._run = run
        # The data table, as schema.table.
        self.table = table_name(lakehouse.table(spec).uri)
        self._claims = claims_name(run.dataset, lakehouse.table(spec).uri)
        self.on_step = run.on_step

    def held(self, web_ids: Collection[str], checkpoint: OpenTable | None = None) -> list[Held]:
        """Say which of these tags other pipelines have brought into the table, by a snapshot of the checkpoint
        table; without one by a fresh one, where the table exists.
        """
        if checkpoint is None:
            table = self._lakehouse.table(PI_WATERMARKS)
            if not table.exists():
                return []
            checkpoint = table.open()
        wanted = pa.array(web_ids, pa.string())
        found: list[Held] = []
        claimed: set[str] | None = None
        for pipeline in sorted(_pipelines(checkpoint) - {self._run.pipeline}):
            theirs = self._having(checkpoint, pipeline, wanted)
            if theirs.any and claimed is None:
                claimed = self._having(checkpoint, self._run.pipeline, wanted).claimed
            tags = theirs.claimed | (theirs.any - (claimed or set()))
            if tags and self._shares_table(checkpoint, pipeline):
                found.append(Held(pipeline, tuple(sorted(tags))))
        return found

    def _having(self, checkpoint: OpenTable, pipeline: str, wanted: pa.Array) -> _Having:
        """Those of the wanted tags of which a pipeline has rows."""
        having = _Having(set(), set())
        rows = checkpoint.read(["dataset", "tag_webid"], where={"pipeline": pipeline})
        for table in _gathered(rows):
            theirs = table.filter(pc.is_in(table["tag_webid"], wanted))
            if theirs.num_rows:
                datasets = theirs["dataset"].cast(pa.string())
                of_it, claims = of_dataset(datasets, self._run.dataset), pc.equal(datasets, self._claims)
                having.any.update(pc.unique(theirs.filter(of_it)["tag_webid"]).to_pylist())
                having.claimed.update(pc.unique(theirs.filter(claims)["tag_webid"]).to_pylist())
        return having

    def claim(
        self, web_ids: Sequence[str], watermarks: WatermarkStore, checkpoint: OpenTable, *, leave_out: bool = False
    ) -> list[Held]:
        """Have these tags belong to this pipeline, all or none: give those that others hold. With `leave_out` the
        rest is claimed all the same. `watermarks`: the watermarks of this pipeline; where every tag has one, nothing is
        committed. `checkpoint`: a snapshot that is not older than they are; it stays as it is.
        """
        held = self.held(web_ids, checkpoint)
        unknown = list(compress(web_ids, (watermarks.row_indices(web_ids) < 0).tolist()))
        if (held and not leave_out) or not unknown:
            return held
        staged: tuple[StagedFile, ...] = ()
        last: list[str] = []
        while True:
            # A handle of its own: by the snapshot of a landing is known who has committed since it was opened.
            table = self._lakehouse.table(PI_WATERMARKS).open()
            held = self.held(web_ids, table)
            theirs = {web_id for one in held for web_id in one.web_ids}
            new = [web_id for web_id in unknown if web_id not in theirs]
            ours = self._having(table, self._run.pipeline, pa.array(new, pa.string())).any if new else set()
            new = [web_id for web_id in new if web_id not in ours]
            if not new or (held and not leave_out):
                table.discard(staged)
                return held
            if new != last:
                table.discard(staged)
                staged, last = self._staged(table, new), new
            try:
                self.on_step("before_claim")
                owner = f"osipi/claims/{self._run.dataset}"
                table.commit(
                    Commit(
                        CommitKey(owner, (table.last_sequence(owner) or 0) + 1),
                        staged,
                        metadata={"run_id": self._run.run_id},
                    )
                )
            except FencedError:
                continue  # another pipeline or shard was quicker: what it has claimed is looked at
            except UnknownCommitError:
                raise  # it may have landed; the next run finds it
            except ExtractError:
                table.discard(staged)
                raise
            self.on_step("after_claim")
            return held

    def _staged(self, table: OpenTable, web_ids: Sequence[str]) -> tuple[StagedFile, ...]:
        return stage_rows(
            table, [claims(web_ids, pipeline=self._run.pipeline, dataset=self._claims, now=self._run.now())]
        )

    def _shares_table(self, checkpoint: OpenTable, pipeline: str) -> bool:
        """Whether another pipeline writes to the data table of this one. Where it has neither claimed nor landed
        anything anywhere (it was run by an earlier version, and found nothing), it is taken to.
        """
        prefix = f"{self._run.dataset}.claims."
        named = {name for name in _datasets(checkpoint, pipeline) if name.startswith(prefix)}
        if named:
            return self._claims in named
        data = self._lakehouse.table(self._spec)
        there = data.open().last_sequences() if data.exists() else {}
        if any(is_landing(pipeline, self._run.dataset, owner) for owner in there):
            return True
        said = checkpoint.last_sequences().items()
        return not any(sequence for owner, sequence in said if is_landing(pipeline, self._run.dataset, owner))

    def check_source(self, source: str) -> bool:
        """Whether tags can be taken over from a pipeline at all: false where it has no rows (any more).

        Raises `ConfigurationError` for one that never wrote to this table.
        """
        if source == self._run.pipeline:
            raise ConfigurationError(
                f"--take-over {source}: that is this pipeline itself",
                hint="Name the pipeline that has the tags; `check` says which it is.",
            )
        table = self._lakehouse.table(PI_WATERMARKS)
        checkpoint = table.open() if table.exists() else None
        there = checkpoint is not None and source in _pipelines(checkpoint)
        if there and checkpoint is not None and self._shares_table(checkpoint, source):
            return True
        data = self._lakehouse.table(self._spec)
        logs = [one for one in (checkpoint, data.open() if data.exists() else None) if one is not None]
        if not there and any(is_landing(source, self._run.dataset, o) for log in logs for o in log.last_sequences()):
            return False  # what it had was taken over before
        raise ConfigurationError(
            f"--take-over {source}: no pipeline of this name has written to {self.table}",
            hint="`check` names the pipeline that has the tags.",
        )


def refuse(held: Sequence[Held], *, names: Callable[[str], str], of: int, pipeline: str, table: str) -> None:
    """Raise `ConfigurationError` where others have any of the tags: how many, the first by name, and who."""
    if not held:
        return
    tags = sorted({names(web_id) for one in held for web_id in one.web_ids})
    count = len({web_id for one in held for web_id in one.web_ids})
    more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
    who = ", ".join(f"{one.pipeline} ({len(one.web_ids):,})" if len(held) > 1 else one.pipeline for one in held)
    raise ConfigurationError(
        f"{count:,} of {of:,} {'tag' if of == 1 else 'tags'} of pipeline {pipeline} "
        f"{'is' if count == 1 else 'are'} brought into {table} by {'pipelines' if len(held) > 1 else 'pipeline'} "
        f"{who}: {', '.join(tags[:_SHOWN])}{more}. A second pipeline would bring every event twice.",
        hint=take_over_hint(held[0].pipeline),
    )


def take_over_hint(pipeline: str) -> str:
    return (
        f"Give this configuration the name of that pipeline (`pipeline: {pipeline}`), or leave these tags out. "
        f"To move them here for good, stop {pipeline}, and run once with `run --take-over {pipeline}`."
    )


def claims(web_ids: Sequence[str], *, pipeline: str, dataset: str, now: int) -> pa.RecordBatch:
    """Give the rows that claim these tags. An empty window says nothing of what is done, and under a dataset of their
    own they are no watermarks at all.
    """
    one = np.array([row_of(Watermark("", now, now))], np.int64)
    rows = WatermarkColumns(web_ids, np.repeat(one, len(web_ids), axis=0))
    return encode(rows, pipeline=pipeline, dataset=dataset, sequence=0, updated_at=now)


def claims_name(dataset: str, uri: str) -> str:
    """Name claims of the tags of a data table, in the column `dataset`."""
    return f"{dataset}.claims.{table_name(uri)}"


def table_name(uri: str) -> str:
    """Name a table by schema and name, however its root is spelled."""
    return ".".join(re.split(r"[/\\.]", uri.rstrip("/"))[-2:])


def of_dataset(names: pa.Array | pa.ChunkedArray, dataset: str) -> pa.Array:
    """Which of these names are the dataset's, or of what is kept beside it."""
    return pc.or_(pc.equal(names, dataset), pc.starts_with(names, f"{dataset}."))


def _pipelines(checkpoint: OpenTable) -> set[str]:
    """Who has rows in the snapshot; its files say it, none is read."""
    found = (file.partition_values.get("pipeline") for file in checkpoint.live_files(0, 1))
    return {name for name in found if name is not None}


def _datasets(checkpoint: OpenTable, pipeline: str) -> set[str]:
    found: set[str] = set()
    for batch in checkpoint.read(["dataset"], where={"pipeline": pipeline}):
        found.update(pc.unique(batch.column("dataset")).to_pylist())
    return found


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= _ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)
