"""The command `solarhub bench [CASE]…`, registered as an entry point in pyproject.toml.

Every start of `solarhub` imports this module, so it imports the cases' code only when it runs.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.cases import Case


def bench(
    cases: Annotated[
        list[Case] | None, typer.Argument(help="Cases to run; all by default.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds; each contestant has one turn per round.")
    ] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Seconds of one turn over HTTP.")] = 5,
    readings: Annotated[
        int, typer.Option(min=10_000, help="Readings to queue for one round.")
    ] = 60_000,
    listings: Annotated[
        int, typer.Option(min=30_000, help="Listings of the large market to browse.")
    ] = 1_000_000,
    page_seconds: Annotated[
        int, typer.Option(min=5, help="Seconds for which the control room is observed.")
    ] = 30,
    memory_seconds: Annotated[
        int, typer.Option(min=10, help="Seconds for which an ingester has no database.")
    ] = 60,
    late_readings: Annotated[
        int, typer.Option(min=10_000, help="Stored readings after the late one.")
    ] = 604_800,
    out: Annotated[Path, typer.Option(help="Directory for results.")] = Path("bench/results"),
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="SOLARHUB_BENCH_DATABASE_URL",
            help="Server on which databases are created; an embedded one by default.",
        ),
    ] = None,
) -> None:
    """Measure the hub against a floor or a peer, in the same run on this machine."""
    from rich.console import Console

    from bench import machine
    from bench.options import Options
    from bench.suite import every_case, run_cases
    from solarhub.errors import CommandError

    machine.raise_open_files_limit()
    options = partial(
        Options, rounds=rounds, seconds=seconds, readings=readings, listings=listings,
        page_seconds=page_seconds, memory_seconds=memory_seconds,
        late_readings=late_readings,
    )  # fmt: skip
    try:
        outcome = asyncio.run(run_cases(cases or every_case(), options, database_url, out))
    except CommandError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    raise typer.Exit(outcome.exit_code)
