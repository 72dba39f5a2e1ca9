"""`init`: its options and help. Light to import."""

from __future__ import annotations

from typing import Any

import click

from ..exit_status import CommandResult
from ..options import WithExamples, examples

AUTH_TYPES = ("basic", "kerberos", "ntlm", "bearer", "oauth", "auto", "anonymous")


@click.command(
    cls=WithExamples,
    epilog=examples(
        "python -m engine init",
        "python -m engine init -o plant.yaml --url https://pi.company.com/piwebapi",
        r"python -m engine init --no-input --url https://pi.company.com/piwebapi --username 'PLANT\reader' "
        "--secret-from env:PI_PASSWORD --root ./lakehouse",
        "python -m engine init --bundle dev --secrets-scope pi-connector --catalog main --schema bronze",
    ),
)
@click.option(
    "-o", "--output", metavar="FILE", help="File to write.  [default: plant.yaml; in a bundle pipelines/plant.yaml]"
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--no-input", is_flag=True, help="Ask nothing: take what the options say, and defaults for the rest.")
@click.option("--offline", is_flag=True, help="Do not connect: write the file without trying it.")
@click.option("--pipeline", metavar="NAME", help="Name under which watermarks are kept.  [default: plant]")
@click.option("--url", metavar="URL", help="Address of the PI Web API, usually ending in /piwebapi.")
@click.option("--auth-type", type=click.Choice(AUTH_TYPES), help="How to log in.  [default: basic]")
@click.option("--username", metavar="NAME", help="User name for basic, ntlm and auto; client id for oauth.")
@click.option(
    "--secret-from",
    metavar="WHERE",
    help="Where the password, token or client secret is: env:NAME, file:PATH or secret:scope/key.",
)
@click.option("--secrets-scope", metavar="NAME", help="Databricks secret scope that holds user name and password.")
@click.option("--ca-bundle", metavar="FILE", help="PEM file with the certificate authority of the server.")
@click.option("--data-server", metavar="NAME", help="PI Data Archive to read. Needed where there are several.")
@click.option("--filter", "tag_name_filter", metavar="PATTERN", help="Names of tags, with * and ?.  [default: *]")
@click.option("--start", metavar="TIME", help="First instant to read, for example now-7d.  [default: now-1d]")
@click.option("--database", metavar="NAME", help="AF database whose assets and event frames are read; none: no.")
@click.option("--rate", metavar="N", type=click.FloatRange(min=0.1), help="Most requests a second.  [default: 20]")
@click.option("--root", metavar="PATH", help="Folder or URL (s3://, abfss://, gs://, /Volumes/..) for the tables.")
@click.option("--catalog", metavar="NAME", help="Unity Catalog to write to, instead of --root.")
@click.option("--schema", metavar="NAME", help="Schema in this catalog.  [default: bronze]")
@click.option("--bundle", metavar="TARGET", help="Fill the variables of this target of the Databricks bundle, too.")
def init(**options: Any) -> CommandResult:
    """Write a first configuration.

    Asks for the address of the PI Web API and how to log in, tries it, and lists data servers, tags and
    AF databases. Then asks where the tables go, and writes a commented YAML file. What an option says is
    not asked. Without a terminal, or with --no-input, nothing is asked.

    No secret is written. The file names where the password is: an environment variable, a file or a
    Databricks secret. A password typed here is used to try the login, and forgotten.

    With --bundle the file is the one that the jobs of the bundle read, and the variables of the target
    (address, secret scope, catalog, schema) go to .databricks/bundle/TARGET/variable-overrides.json. Run
    it in the folder of databricks.yml.

    Exit code 0 if the file is written and the login works, else as `check` has it; then nothing is written.
    """
    from .main import main

    return main(**options)
