"""Carries out `init`: asks what the options leave open, tries the answers, and writes the file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from config import from_mapping
from config.errors import AuthenticationError, ConfigurationError, ExtractError
from config.yaml_text import parse

from ...telemetry.formats import count, one_line
from ..exit_status import CommandResult
from ..options import name_options
from ..terminal import command_line, print_error
from .answers import Answers, bundle_variables, document_of, literal, reference_of, whole_url, yaml_of
from .command import AUTH_TYPES
from .source import SourceFacts, count_tags, look_around

_NONE = "none"
_SECRET_NAMES = {
    "basic": "password",
    "ntlm": "password",
    "auto": "password",
    "bearer": "token",
    "oauth": "client secret",
}
# The options that the keys of the file come from: errors name them, as there is no file yet.
_OPTIONS: dict[tuple[str | int, ...], str] = {
    ("pipeline",): "--pipeline",
    ("pi_web_api", "url"): "--url",
    ("pi_web_api", "auth_type"): "--auth-type",
    ("pi_web_api", "username"): "--username",
    ("pi_web_api", "password"): "--secret-from",
    ("pi_web_api", "token"): "--secret-from",
    ("pi_web_api", "oauth", "client_id"): "--username",
    ("pi_web_api", "oauth", "client_secret"): "--secret-from",
    ("pi_web_api", "secrets_scope"): "--secrets-scope",
    ("pi_web_api", "ca_bundle"): "--ca-bundle",
    ("pi_web_api", "max_requests_per_second"): "--rate",
    ("extraction", "data_server"): "--data-server",
    ("extraction", "tag_name_filter"): "--filter",
    ("extraction", "start_date"): "--start",
    ("asset_framework", "databases"): "--database",
    ("storage", "root"): "--root",
    ("unity_catalog", "catalog"): "--catalog",
    ("unity_catalog", "schema"): "--schema",
}
_BUNDLE_FILE = "databricks.yml"
_SHOWN = 10


def main(
    *,
    output: str | None,
    force: bool,
    no_input: bool,
    offline: bool,
    bundle: str | None,
    **given: Any,
) -> CommandResult:
    name_options(_OPTIONS)
    dialogue = _Dialogue(asking=not no_input and sys.stdin.isatty())
    file = Path(output or ("pipelines/plant.yaml" if bundle else "plant.yaml"))
    _refuse_overwriting(file, dialogue, force=force)
    if bundle and not Path(_BUNDLE_FILE).is_file():
        raise ConfigurationError(
            f"--bundle: there is no {_BUNDLE_FILE} in this folder", hint="Run it where the bundle's databricks.yml is."
        )
    answers, env = _source_answers(dialogue, given, offline=offline)
    answers = _target_answers(dialogue, given, answers)
    text = yaml_of(answers, heading=_heading(file, answers))
    # The file is one that can be loaded. With --offline the secret need not be there yet.
    from_mapping(parse(text, str(file)), env=env, source=str(file), secrets=not offline)
    _write(file, text)
    _say(f"{file} is written.")
    if bundle:
        _write_variables(Path(".databricks", "bundle", bundle, "variable-overrides.json"), bundle_variables(answers))
    if answers.secret.startswith("env:") and answers.secret[4:] not in os.environ:
        _say(f"Before you go on: export {answers.secret[4:]}=..")
    _say(f"Next: {command_line(('check', '-c', str(file)))}")
    return CommandResult()


class _Dialogue:
    """Asks a person, if there is one. `asking`: there is a person."""

    def __init__(self, *, asking: bool) -> None:
        self.asking = asking

    def text(self, given: str | None, question: str, default: str | None, *, option: str, hidden: bool = False) -> str:
        """What the option says, else the answer, else the default. Raises `ConfigurationError` where there is none."""
        if given is not None:
            return given
        if self.asking:
            answer: str = click.prompt(question, default=default, err=True, hide_input=hidden, show_default=not hidden)
            return answer.strip()
        if default is None:
            raise ConfigurationError(f"init: {option} is missing", hint=f"Give it, or run in a terminal: {question}.")
        return default

    def choice(self, given: str | None, question: str, choices: Sequence[str], default: str) -> str:
        if given is not None or not self.asking:
            return given or default
        shown = {one_line(choice): choice for choice in choices}  # a server may have named them
        answer: str = click.prompt(question, default=one_line(default), type=click.Choice(list(shown)), err=True)
        return shown[answer]

    def again(self, error: ExtractError) -> bool:
        """Show what went wrong; whether to try once more with other answers."""
        if not self.asking:
            return False
        print_error(error.message, error.hint)
        return click.confirm("Try again with other answers?", default=True, err=True)


def _source_answers(
    dialogue: _Dialogue, given: Mapping[str, Any], *, offline: bool
) -> tuple[Answers, Mapping[str, str]]:
    """The answers about the source, tried; and the environment with which they were tried."""
    rest, before = dict(given), Answers()
    while True:
        answers = _login_answers(dialogue, rest, before)
        if offline:
            answers = replace(
                answers,
                data_server=given["data_server"] or "",
                tag_name_filter=given["tag_name_filter"] or "*",
                database=_database_given(given) or "",
            )
            return answers, os.environ
        try:
            env = {**os.environ, **_typed_secret(dialogue, answers)}
            _say("logging in ..")
            facts = asyncio.run(look_around(document_of(answers), env))
            break
        except ExtractError as error:
            if not dialogue.again(error):
                raise
            # What led here is asked again, options or not, with the last answers as defaults.
            before = answers
            rest |= dict.fromkeys(("url", "auth_type", "username", "secret_from", "ca_bundle"))
    _say_found(facts)
    answers = replace(answers, data_server=_data_server(dialogue, given, facts))
    answers = _tag_answers(dialogue, given, answers, env)
    return replace(answers, database=_database(dialogue, given, facts)), env


def _login_answers(dialogue: _Dialogue, given: Mapping[str, Any], before: Answers) -> Answers:
    """`before`: the answers of the last try, which are offered again."""
    url = whole_url(dialogue.text(given["url"], "Address of the PI Web API", before.url or None, option="--url"))
    scope = given["secrets_scope"] or ""
    auth_type = dialogue.choice(given["auth_type"], "How to log in", AUTH_TYPES, before.auth_type)
    username = secret = ""
    if not scope and auth_type in _SECRET_NAMES:
        if auth_type != "bearer":
            name = "Client id" if auth_type == "oauth" else r"User name (DOMAIN\user or user@domain)"
            username = dialogue.text(given["username"], name, before.username or None, option="--username")
        what = _SECRET_NAMES[auth_type]
        default = before.secret or f"env:PI_{what.upper().replace(' ', '_')}"
        question = f"Where will the {what} be? env:NAME, file:PATH or secret:scope/key"
        secret = reference_of(dialogue.text(given["secret_from"], question, default, option="--secret-from"))
    return Answers(
        pipeline=given["pipeline"] or "plant",
        url=url,
        auth_type=auth_type,
        username=username,
        secret=secret,
        secrets_scope=scope,
        ca_bundle=given["ca_bundle"] or "",
        start=given["start"] or "now-1d",
        rate=given["rate"] or 20.0,
    )


def _typed_secret(dialogue: _Dialogue, answers: Answers) -> dict[str, str]:
    """The secret for trying the login, where the environment does not hold it yet."""
    kind, _, name = answers.secret.partition(":")
    if kind != "env" or name in os.environ:
        return {}
    if not dialogue.asking:
        raise AuthenticationError(
            f"the environment variable {name} is not set", hint="Set it, or use --offline to write the file untried."
        )
    typed = dialogue.text(None, f"{name} is not set. Type the secret to try the login", None, option="", hidden=True)
    return {name: typed}


def _data_server(dialogue: _Dialogue, given: Mapping[str, Any], facts: SourceFacts) -> str:
    servers = facts.data_servers
    if given["data_server"]:
        return str(given["data_server"])
    if len(servers) == 1:
        return literal(servers[0])
    if not servers:
        raise ConfigurationError(
            "the PI Web API lists no data server for this account",
            hint="Ask its administrator for read access to a PI Data Archive.",
        )
    if not dialogue.asking:
        raise ConfigurationError(
            f"init: --data-server is missing; there are {', '.join(servers)}", hint="Give one of them."
        )
    return literal(dialogue.choice(None, "Which data server", servers, servers[0]))


def _tag_answers(dialogue: _Dialogue, given: Mapping[str, Any], answers: Answers, env: Mapping[str, str]) -> Answers:
    """With a pattern of names that selects tags."""
    pattern = given["tag_name_filter"]
    while True:
        chosen = dialogue.text(pattern, "Names of tags, with * and ?", "*", option="--filter")
        tried = replace(answers, tag_name_filter=chosen)
        _say("counting tags ..")
        found = asyncio.run(count_tags(document_of(tried), env))
        names = f": {', '.join(found.names)}{', ..' if found.number > len(found.names) else ''}"
        _say(f"{chosen} selects {count(found.number, 'tag')}{names if found.names else ''}")
        if (
            not dialogue.asking
            or pattern is not None
            or (found.number and click.confirm("Take these tags?", default=True, err=True))
        ):
            return tried


def _database_given(given: Mapping[str, Any]) -> str | None:
    text = given["database"]
    return None if text is None else "" if text.casefold() == _NONE else str(text)


def _database(dialogue: _Dialogue, given: Mapping[str, Any], facts: SourceFacts) -> str:
    chosen = _database_given(given)
    if chosen is not None or not facts.databases:
        if chosen and facts.databases is not None and chosen.casefold() not in map(str.casefold, facts.databases):
            raise ConfigurationError(
                f"--database: there is no AF database {chosen!r}",
                hint=f"There are: {', '.join(facts.databases) or 'none that this account can see'}.",
            )
        return chosen or ""
    question = "AF database whose assets and event frames are read"
    answer = dialogue.choice(None, question, (*facts.databases, _NONE), _NONE)
    return "" if answer == _NONE else literal(answer)


def _target_answers(dialogue: _Dialogue, given: Mapping[str, Any], answers: Answers) -> Answers:
    """With where the tables go."""
    root, catalog, schema = given["root"], given["catalog"], given["schema"]
    if root is not None and (catalog is not None or schema is not None):
        raise ConfigurationError("init: --root excludes --catalog and --schema", hint="Leave one of them out.")
    if root is None and catalog is None and dialogue.asking:
        if dialogue.choice(None, "Where do the tables go", ("folder", "catalog"), "folder") == "folder":
            question = "Folder or URL (s3://, abfss://, gs://, /Volumes/..)"
            return replace(answers, root=dialogue.text(None, question, "./lakehouse", option="--root"))
        catalog = dialogue.text(None, "Unity Catalog", "main", option="--catalog")
        schema = dialogue.text(schema, "Schema", "bronze", option="--schema")
    if root is None and catalog is None:
        raise ConfigurationError(
            "init: --root or --catalog is missing",
            hint="Say where the tables go: --root ./lakehouse or --catalog main.",
        )
    return replace(answers, root=root or "", catalog=catalog or "", schema=schema or "bronze")


# --- shell ------------------------------------------------------------------------------


def _say_found(facts: SourceFacts) -> None:
    _say(f"data servers: {_listed(facts.data_servers)}")
    if facts.databases is None:
        _say(f"AF databases: not to be had ({facts.why_no_databases})")
    else:
        _say(f"AF databases: {_listed(facts.databases)}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return (f"{shown}, .. ({count(len(names))} in all)" if len(names) > _SHOWN else shown) or "none"


def _say(text: str) -> None:
    click.echo(one_line(text), err=True)


def _heading(file: Path, answers: Answers) -> str:
    lines = [
        "Made by `init`. Every key: `python -m engine config schema`, docs/deployment.md.",
        f"Try it: python -m engine check -c {file}",
        f"Run it: python -m engine run -c {file}",
    ]
    if answers.secret:
        lines.append(f"The secret is not in this file. It is read from {answers.secret}.")
    return "\n".join(lines)


def _refuse_overwriting(file: Path, dialogue: _Dialogue, *, force: bool) -> None:
    if not file.exists() or force:
        return
    if dialogue.asking and click.confirm(f"{file} exists. Replace it?", default=False, err=True):
        return
    raise ConfigurationError(f"{file} exists already", hint="Give another name with -o, or --force to replace it.")


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file}: cannot be written: {error.strerror or type(error).__name__}", hint="Give another path with -o."
        ) from None


def _write_variables(file: Path, values: Mapping[str, str]) -> None:
    """Put the values beside those that the target has already."""
    try:
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError:
        raise ConfigurationError(f"{file}: is no JSON", hint="Mend or remove it.") from None
    kept = before if isinstance(before, dict) else {}
    _write(file, json.dumps({**kept, **values}, indent=2) + "\n")
    _say(f"{file} is written: {', '.join(values)}.")
