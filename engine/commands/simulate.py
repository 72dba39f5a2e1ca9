"""`simulate`: a simulated PI Web API, in this process."""

from __future__ import annotations

import click

from .exit_status import CommandResult
from .options import command


@command(
    "python -m engine simulate --tags 30000 --port 8443",
    "python -m engine run --set pi_web_api.url=http://127.0.0.1:8443/piwebapi",
    "",
    "Change its history, points and clock meanwhile (/simulator is no part of PI):",
    """curl http://127.0.0.1:8443/simulator/changes -d '[{"tag": 3, "action": "rename", "name": "New"}]'""",
    "curl 'http://127.0.0.1:8443/simulator/truth?tag=New&start=2024-03-05T00:00:00Z'",
    """curl http://127.0.0.1:8443/simulator/clock -d '{"advance": "90s"}'    (with --now)""",
    "curl http://127.0.0.1:8443/simulator/restart -d ''",
)
@click.option("--tags", type=click.IntRange(min=0), default=1000, show_default=True, help="How many tags.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port to listen on; 0: a free one.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another plant.")
@click.option("--begin", metavar="TIME", help="Midnight UTC at which history begins, e.g. 2024-01-01T00:00:00Z.")
@click.option("--now", metavar="TIME", help="Instant at which the server's clock stands still.")
@click.option("--interval", metavar="TIME", help="Typical time between two events of a tag, e.g. 60s.")
@click.option("--profile", type=click.Choice(["uniform", "mixed"]), help="Rates: all alike, or 1 Hz to one a day.")
@click.option("--future-tags", type=click.IntRange(min=0), help="How many tags, the last ones, are forecasts.")
@click.option("--future-renewed", metavar="TIME", help="How often a forecast is issued, e.g. 6h.")
@click.option("--future-reach", metavar="TIME", help="How far a forecast reaches, e.g. 48h.")
@click.option("--elements", type=click.IntRange(min=0), help="How many elements its AF database Plant has.")
@click.option(
    "--more-attributes", type=click.IntRange(min=0), help="How many more attributes each element of a template has."
)
@click.option("--frames-per-day", type=click.FloatRange(0, 86_400), help="How many event frames begin a day in it.")
@click.option("--faults", metavar="FILE", help="What the server does wrong, as a YAML file.")
@click.option("--basic", metavar="USER:ENV", help="Ask for this user and the password in the variable ENV.")
@click.option("--bearer", metavar="ENV", help="Ask for the bearer token in the variable ENV.")
def simulate(**given: str | float | None) -> CommandResult:
    """Run a simulated PI Web API.

    It runs until Ctrl-C. The first line of output says where it listens.
    """
    from ..simulator.process import main

    return CommandResult(main(given))
