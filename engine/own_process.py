"""What makes a process that is ours alone start sooner. Called before anything heavy is imported.

A notebook, and a process that calls us, is left as it is: these settings are those of the whole process.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from types import ModuleType

# How rarely garbage is collected while many objects come that stay.
RARELY = (50_000, 20, 50)


def start_sooner() -> None:
    """Leave out what imports of others would do, and no command needs."""
    # Collecting garbage between imports goes through what stays as long as the process.
    gc.set_threshold(*RARELY)
    # Pydantic looks through all packages of the environment for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _PandasUnseen())


class _PandasUnseen:
    """Hides pandas from pyarrow, which asks for it at the first array, and again at the first plain value, to convert what
    we never convert. Spark may have it.
    """

    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> None:
        if fullname == "pandas" and "pyspark" not in sys.modules:
            raise ModuleNotFoundError("pandas is not used here", name=fullname)
