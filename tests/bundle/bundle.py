"""The bundle as plain values, put together and filled in as the CLI does, in as far as these files need it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def load(content: str) -> Any:
    """As `yaml.safe_load`, by libyaml where there is one: the dashboard takes the other a second, several times."""
    return yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def files() -> list[Path]:
    return sorted([*ROOT.glob("resources/*.yml"), *ROOT.glob("resources/variants/*.yml")])


def definition() -> dict[str, Any]:
    return load((ROOT / "databricks.yml").read_text())


def jobs() -> dict[str, tuple[Path, dict[str, Any]]]:
    """Every job, the variants included, with the file it stands in."""
    found = {}
    for file in files():
        for name, job in load(file.read_text())["resources"].get("jobs", {}).items():
            assert name not in found, name
            found[name] = (file, job)
    return found


def pipeline(target: str) -> dict[str, Any]:
    """The declarative pipeline, with the variables of a target put in."""
    content = load((ROOT / "resources/variants/declarative.pipeline.yml").read_text())
    [found] = content["resources"]["pipelines"].values()
    return filled_in(found, target)


def dashboard(target: str) -> dict[str, Any]:
    """The dashboard, with the variables of a target put in."""
    content = load((ROOT / "resources/osipi_connector.dashboard.yml").read_text())
    [found] = content["resources"]["dashboards"].values()
    return filled_in(found, target)


def dashboard_queries(target: str) -> dict[str, str]:
    """The queries of the dashboard by the names of their datasets."""
    datasets = dashboard(target)["serialized_dashboard"]["datasets"]
    return {each["name"]: "".join(each["queryLines"]) for each in datasets}


def variables(target: str) -> dict[str, Any]:
    bundle = definition()
    values = {name: each.get("default") for name, each in bundle["variables"].items()}
    return {**values, **bundle["targets"][target].get("variables", {})}


def filled_in(value: Any, target: str) -> Any:
    """`value` with every `${...}` put in; one that nothing stands for is an error."""
    known = {
        **{f"var.{name}": each for name, each in variables(target).items()},
        "workspace.file_path": str(ROOT),
        "workspace.host": definition()["targets"][target]["workspace"]["host"],
        "bundle.name": "osipi-connector",
        "bundle.target": target,
    }
    return _put_in(value, known)


def _put_in(value: Any, known: dict[str, Any]) -> Any:
    match value:
        case dict():
            return {key: _put_in(each, known) for key, each in value.items()}
        case list():
            return [_put_in(each, known) for each in value]
        case str() if whole := _REFERENCE.fullmatch(value):
            return known[whole[1]]  # a reference that is all there is keeps its type
        case str():
            return _REFERENCE.sub(lambda found: str(known[found[1]]), value)
    return value


def tasks(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The tasks that call us, those inside a for_each_task included."""
    return [task["for_each_task"]["task"] if "for_each_task" in task else task for task in job["tasks"]]
