"""docs/faults.md is what the matrix says."""

from __future__ import annotations

from pathlib import Path

from tests.faults.page import page

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_page_of_faults_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make faults-page`"
