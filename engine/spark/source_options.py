"""The options of the Spark source: keys of the configuration by their names, and a few of its own.

Invariant: no credential travels with an option. Spark shows options in plans, and sends them to every worker: there
are only references, which are looked up where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from config import Config, check_runnable, from_mapping, load
from config.errors import ConfigurationError
from config.secrets import credentials_in_full

DATASETS = ("recorded", "tags")
# What a source of Spark cannot know: which rows are gone, or what changed since.
_BY_RUN_ALONE = ("sampled", "digital_states", "data_servers", "point_attributes", "assets", "event_frames")
_OWN = ("config", "path", "dataset", "changeRows", "failOnTagError", "numPartitions", "stateLocation")
_TRUTHS = {"true": True, "false": False}
_PARTITIONS = 4
_MOST_PARTITIONS = 1_000


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What to read, and how. `config` holds references in place of credentials."""

    config: Config
    dataset: str = "recorded"
    change_rows: bool = False
    fail_on_tag_error: bool = True
    partitions: int = _PARTITIONS
    state_location: str | None = None

    def check_streamable(self) -> None:
        """Raises `ConfigurationError` for what no stream can give."""
        extraction = self.config.extraction
        if self.dataset != "recorded":
            raise ConfigurationError(
                f"dataset {self.dataset} has no stream",
                hint="spark.read gives it as it is now; a stream gives recorded.",
            )
        looks_back = extraction.lookback or any(one.lookback for one in extraction.classes)
        if looks_back and not self.change_rows:
            raise ConfigurationError(
                "extraction.lookback reads again what was given before, and without changeRows it would come twice",
                hint="Set changeRows to true, for AUTO CDC or MERGE, or extraction.lookback to 0s.",
            )


def parse_options(options: Mapping[str, str]) -> SourceOptions:
    """Options as Spark gives them; names of its own in any case.

    Raises `ConfigurationError`, which names the option.
    """
    own = {name.lower(): name for name in _OWN}
    given = {own[name.lower()]: text for name, text in options.items() if name.lower() in own}
    keys = {name: text for name, text in options.items() if name.lower() not in own}
    for name in keys:
        if "." not in name:
            raise ConfigurationError(
                f"option {name}: there is none of this name",
                hint=f"There are {', '.join(_OWN)}, and the keys of the configuration, such as pi_web_api.url.",
            )
    overrides = [f"{name}={text}" for name, text in keys.items()]
    named = {name: f"option {name}" for name in keys}
    file = given.get("config") or given.get("path")
    loaded = (
        load(file, overrides, options=named, secrets=False)
        if file
        else from_mapping({}, overrides, source="the options", options=named, secrets=False)
    )
    config = loaded.config
    for key in credentials_in_full(config):
        raise ConfigurationError(
            f"{key} is written in full, and Spark would send it to every worker",
            hint="Write a reference: ${secret:scope/key}, ${env:NAME} or ${file:PATH}, or set pi_web_api.secrets_scope.",
        )
    check_runnable(config)
    fails = _truth(given, "failOnTagError", default=True)
    place = given.get("stateLocation") or None
    if not fails and place is None:
        raise ConfigurationError(
            "failOnTagError is false, and there is no place to write down what is left out",
            hint="Set stateLocation to a folder that is the stream's own, such as /Volumes/main/bronze/state/pi.",
        )
    return SourceOptions(
        config,
        _dataset(given.get("dataset", DATASETS[0])),
        change_rows=_truth(given, "changeRows", default=False),
        fail_on_tag_error=fails,
        partitions=_count(given.get("numPartitions", str(_PARTITIONS))),
        state_location=place,
    )


def _dataset(name: str) -> str:
    if name in DATASETS:
        return name
    hint = (
        "`run` brings it into a table; this source has no way to tell what is gone."
        if name in _BY_RUN_ALONE
        else f"There are {', '.join(DATASETS)}."
    )
    raise ConfigurationError(f"option dataset: {name} is not supported", hint=hint)


def _truth(given: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = given.get(name)
    if text is None:
        return default
    if text.lower() not in _TRUTHS:
        raise ConfigurationError(f"option {name}: found {text!r}, expected true or false")
    return _TRUTHS[text.lower()]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST_PARTITIONS:
        raise ConfigurationError(
            f"option numPartitions: found {text!r}, expected a number from 1 to {_MOST_PARTITIONS}"
        )
    return int(text)
