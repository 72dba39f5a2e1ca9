"""Prints docs/faults.md from the matrix. `make faults-page`."""

from __future__ import annotations

from tests.faults.matrix import DATASETS, ELSEWHERE, FAULTS, MIDWAY, End, Fault, Rows

__all__ = ["page"]

HEAD = """# Faults

What goes wrong at the source, on the way and at the destination, and how a run of each dataset ends. `make faults-page` writes
this page from the matrix that `make test-faults` tries, cell by cell.

In every cell the tables hold nothing but what the source has, nothing twice, and nothing that was there is lost. Watermarks
never pass what is not in a table, except for a hole that is named. What is missing is said. The next run makes the tables
equal to the source; holes at the latest with `run --retry-holes`.

Of each cell the first number is the exit code where two requests meet the fault, the second where every request for the dataset
does. One number: both are the same.

- 0: all rows are there, and nothing is to be seen of the fault. `0 warned`: all rows, and a word in the report.
- `0 none` and `0 some`: none or some of the new rows are there, of a dataset that values do not wait for. The report and the log
  say so, unless the clock of the source says that none is due.
- 1: something is left undone; 2: for the configuration; 3: for a login. The tables stay as they were, but for `1 some`.
- Where there is another way to ask, the run takes it. So what refuses one request may not be seen at all.
"""


def page() -> str:
    parts = [HEAD]
    for title, faults in FAULTS.items():
        parts.append(f"\n## {title}\n\n| fault | how it is made | {' | '.join(DATASETS)} |\n")
        parts.append(f"|---|---|{'---|' * len(DATASETS)}\n")
        parts += map(_row, faults)
    parts.append(f"\n## Midway\n\n| change | how it is made | {' | '.join(DATASETS)} |\n")
    parts.append(f"|---|---|{'---|' * len(DATASETS)}\n")
    for midway in MIDWAY:
        cells = " | ".join(_short(midway.ends[name]) for name in DATASETS)
        parts.append(f"| {midway.name} | {midway.made} | {cells} |\n")
    parts.append(
        "\n## The destination, and signals\n\n"
        "Every dataset ends in the same way. Several numbers: it depends on how far the run was.\n\n"
        "| fault | how it is made | exit code |\n|---|---|---|\n"
    )
    for one in ELSEWHERE.values():
        codes = ", ".join("killed" if code < 0 else str(code) for code in sorted(one.codes))
        parts.append(f"| {one.name} | {one.made} | {codes} |\n")
    return "".join(parts)


def _row(fault: Fault) -> str:
    cells = [dict.fromkeys((_short(fault.passes[name]), _short(fault.stays[name]))) for name in DATASETS]
    return f"| {fault.name} | {fault.made} | {' | '.join(' / '.join(cell) for cell in cells)} |\n"


def _short(end: End) -> str:
    if end.code == 0 and (end.told or end.rows is not Rows.ALL):
        return {Rows.ALL: "0 warned", Rows.SOME: "0 some", Rows.NONE: "0 none"}[end.rows]
    return f"{end.code} some" if end.rows is Rows.SOME else str(end.code)


if __name__ == "__main__":
    print(page(), end="")
