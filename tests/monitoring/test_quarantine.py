"""What of an answer could not be read is kept with its excerpt; a record that the archive cannot give is no such piece."""

from __future__ import annotations

import re
from pathlib import Path

from engine.run import run
from tests.exactness.expected import web_id_of
from tests.exactness.plant import BEGIN, HOUR, MINUTE, Plant, text_of
from tests.exactness.reading import is_table, read_table
from tests.fuzzing.poisoner import of_tags, poisoned_site

END = BEGIN + HOUR
STEADY = {"shapes": (("steady", 1.0),), "types": (("Float32", 1.0),), "interval_secs": 60}


def quarantine_of(plant: Plant) -> Path:
    return plant.root / "main" / "monitoring" / "pi_quarantine"


async def test_an_event_that_cannot_be_read_is_kept_once_with_its_excerpt(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=3, **STEADY)
    at = plant.rows([1], BEGIN + 20 * MINUTE, END)[0][2]
    sign = re.compile(rb'("Timestamp": ?")%s' % text_of(at)[:19].encode())

    def spoilt(said: bytes) -> bytes:
        """No time that anybody knows, and what a terminal would obey."""
        return sign.sub(rb"\1yesterday \\u001b[31m\\u0007", said)

    rewrite = of_tags({web_id_of(1): spoilt})
    async with plant.simulator(END).serve() as url, poisoned_site(url, rewrite) as poisoned:
        for retry_holes in (False, True):
            report = await run(plant.config(poisoned), run_id=f"run-{retry_holes}", retry_holes=retry_holes)
            assert (report.status, report.exit_code, report.tags_failed) == ("incomplete", 1, ())
            assert [(one.tag, one.hole.start, one.hole.end) for one in report.holes] == [(plant.name(1), at, at + 1)]
    rows = {row["run_id"]: row for row in read_table(quarantine_of(plant)).to_pylist()}
    assert len(read_table(quarantine_of(plant))) == len(rows) == 2
    row = rows["run-False"]
    assert (row["tag_webid"], row["tag_name"], row["pipeline"]) == (web_id_of(1), plant.name(1), "default")
    assert row["window_start"].timestamp() * 1_000_000 == at
    assert "yesterday" in row["excerpt"]
    assert all(char.isprintable() for text in (row["excerpt"], row["reason"]) for char in text)
    assert len(plant.rows([0, 1, 2], BEGIN, END)) - 1 == plant.count()


async def test_a_damaged_record_is_nothing_to_keep(tmp_path: Path) -> None:
    plant = Plant.of(tmp_path, tags=3, **STEADY)
    at = BEGIN + 20 * MINUTE + 7
    damaged = [{"tag": plant.name(1), "start": text_of(at), "end": text_of(at + 1)}]
    report = await plant.run(END, faults={"damaged": damaged})
    assert [(one.tag, one.hole.start, one.hole.end) for one in report.holes] == [(plant.name(1), at, at + 1)]
    assert not is_table(quarantine_of(plant))
