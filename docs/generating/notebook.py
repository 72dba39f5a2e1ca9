"""docs/reference/notebook.md: the class that notebooks import."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from config.problems import FLAT_KEYS
from osipi_connector import PILakeflowConnector, RunReport, Shown

from .markdown import MADE, code, prose, table

_HEAD = f"""{MADE}

# The notebook class

```python
from osipi_connector import PILakeflowConnector

report = PILakeflowConnector("plant.yaml").run()
report
```

[Deployment](../deployment.md#a-notebook) shows a whole cell.
"""


def page() -> str:
    """The page."""
    flat = [(code(key), code(".".join(path))) for key, path in sorted(FLAT_KEYS.items())]
    return "\n".join(
        [
            _HEAD,
            *_described("PILakeflowConnector", PILakeflowConnector),
            *_members(PILakeflowConnector),
            "## Flat keys\n\nIn a dictionary, these stand for keys of [the configuration](configuration.md).\n",
            table(("flat key", "key"), flat),
            "\n## RunReport\n",
            _text(RunReport),
            "",
            *_members(RunReport),
            "Its fields, as JSON: [the report](report.md).\n",
            "## Shown\n",
            _text(Shown),
            "",
            *_members(Shown),
        ]
    )


def _described(name: str, one: type) -> Iterator[str]:
    yield f"## {name}\n\n```python\n{name}{_signature(one)}\n```\n\n{_text(one)}\n"


def _members(one: type) -> Iterator[str]:
    for name, member in vars(one).items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        if not inspect.getdoc(member):
            continue
        head = f".{name}" if isinstance(member, property) else f".{name}{_signature(member)}"
        yield f"### {one.__name__}.{name}\n\n```python\n{head}\n```\n\n{_text(member)}\n"


def _signature(one: object) -> str:
    signature = inspect.signature(one)  # type: ignore[arg-type]
    taken = [each for name, each in signature.parameters.items() if name != "self"]
    return str(signature.replace(parameters=taken)).replace("'", "").replace("typing.", "").removesuffix(" -> None")


def _text(one: object) -> str:
    words, raises, errors = (inspect.getdoc(one) or "").partition("\nRaises:\n")
    lines = [f"- {' '.join(line.split())}" for line in errors.splitlines() if line.strip()]
    return prose(words.strip()) + ("\n\nRaises:\n\n" + prose("\n".join(lines)) if raises else "")
