"""`solarhub bench [CASE]…`: run cases, show what they found, write it down."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import (
    browse,
    control_room,
    database_outage,
    fanout,
    ingest,
    latency,
    machine,
    memory,
    purchase,
    scale,
    suite,
)
from bench.database import server
from bench.options import Options
from bench.processes import is_installed, program
from bench.suite import CaseOutcome, Runner
from solarhub.errors import CommandError
from solarhub.server_access import temporary_directory


class Case(StrEnum):
    INGEST = "ingest"
    INGEST_BATCHED = "ingest-batched"
    PURCHASE = "purchase"
    PURCHASE_HOT = "purchase-hot"
    NEARBY = "nearby"
    LISTINGS = "listings"
    FANOUT = "fanout"
    LATENCY = "latency"
    MEMORY = "memory"
    SCALE = "scale"
    CONTROL_ROOM = "control-room"


_RUN: dict[Case, tuple[Runner, ...]] = {
    Case.INGEST: (ingest.singles,),
    Case.INGEST_BATCHED: (ingest.arrays,),
    Case.PURCHASE: (purchase.spread,),
    Case.PURCHASE_HOT: (purchase.hot,),
    Case.NEARBY: (browse.nearby,),
    Case.LISTINGS: (browse.listings,),
    Case.FANOUT: (fanout.burst,),
    Case.LATENCY: (latency.purchases,),
    Case.MEMORY: (memory.idle, database_outage.ingester),
    Case.SCALE: (scale.devices, scale.purchases),
    Case.CONTROL_ROOM: (control_room.control_room,),
}

_PROGRAMS = {
    Case.INGEST: ("mosquitto",),
    Case.INGEST_BATCHED: ("mosquitto",),
    Case.PURCHASE: ("wrk",),
    Case.PURCHASE_HOT: ("wrk",),
    Case.NEARBY: ("wrk",),
    Case.LISTINGS: ("wrk",),
    Case.MEMORY: ("mosquitto",),
    Case.SCALE: ("mosquitto", "wrk"),
    Case.CONTROL_ROOM: ("chromium",),
}

# Of a table that is written to a file.
_WIDTH = 120

app = typer.Typer()


@app.command()
def bench(
    cases: Annotated[list[Case] | None, typer.Argument(help="Which; all if none is named.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Length of a turn over HTTP.")] = 5,
    readings: Annotated[int, typer.Option(min=10_000, help="Readings queued a round.")] = 60_000,
    listings: Annotated[
        int, typer.Option(min=30_000, help="Listings of a large market, to browse.")
    ] = 1_000_000,
    page_seconds: Annotated[
        int, typer.Option(min=5, help="How long the control room is watched.")
    ] = 30,
    memory_seconds: Annotated[
        int, typer.Option(min=10, help="How long an ingester is without its database.")
    ] = 60,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("bench/results"),
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="SOLARHUB_BENCH_DATABASE_URL",
            help="A server to create databases on; an embedded one if not given.",
        ),
    ] = None,
) -> None:
    """Measure the hub against a floor or a peer in the same run."""
    machine.raise_open_files_limit()
    plan = partial(
        Options, rounds=rounds, seconds=seconds, readings=readings, listings=listings,
        page_seconds=page_seconds, memory_seconds=memory_seconds,
    )  # fmt: skip
    try:
        outcome = asyncio.run(_run(cases or _every_case(), plan, database_url, out))
    except CommandError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    raise typer.Exit(outcome.exit_code)


def _every_case() -> list[Case]:
    """All, but none for want of a browser."""
    if is_installed("chromium"):
        return list(Case)
    Console().print("control-room is left out: it needs Chromium", style="yellow")
    return [case for case in Case if case is not Case.CONTROL_ROOM]


async def _run(
    cases: Sequence[Case], plan: Callable[..., Options], database_url: str | None, out: Path
) -> CaseOutcome:
    _end_cleanly_on_sigterm()
    for case in cases:
        for needed in _PROGRAMS.get(case, ()):
            program(needed)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    with temporary_directory() as directory:
        async with server(database_url, directory) as database_server:
            outcome = await suite.run(
                {case: _RUN[case] for case in cases},
                lambda work: plan(server=database_server, work=work),
                work=directory, out=out, console=console,
            )  # fmt: skip
    suite.sum_up(outcome, console)
    return outcome


def _end_cleanly_on_sigterm() -> None:
    """As on Ctrl-C: what was started is stopped on the way out."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
