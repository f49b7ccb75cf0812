"""`solarhub bench [CASE]…`: run cases, show what they found, write it down."""

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import (
    browse,
    control_room,
    fanout,
    ingest,
    latency,
    machine,
    memory,
    purchase,
    report,
    scale,
)  # fmt: skip
from bench.database import server
from bench.options import Options
from bench.processes import program
from bench.result import Result
from solarhub.errors import HubError


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


_RUN: dict[Case, Callable[[Options], Awaitable[Result]]] = {
    Case.INGEST: ingest.singles,
    Case.INGEST_BATCHED: ingest.arrays,
    Case.PURCHASE: purchase.spread,
    Case.PURCHASE_HOT: purchase.hot,
    Case.NEARBY: browse.nearby,
    Case.LISTINGS: browse.listings,
    Case.FANOUT: fanout.burst,
    Case.LATENCY: latency.purchases,
    Case.MEMORY: memory.idle,
    Case.SCALE: scale.devices,
    Case.CONTROL_ROOM: control_room.control_room,
}

_PROGRAMS = {
    Case.INGEST: "mosquitto",
    Case.INGEST_BATCHED: "mosquitto",
    Case.PURCHASE: "wrk",
    Case.PURCHASE_HOT: "wrk",
    Case.NEARBY: "wrk",
    Case.LISTINGS: "wrk",
    Case.SCALE: "mosquitto",
    Case.CONTROL_ROOM: "chromium",
}

app = typer.Typer()


@app.command()
def bench(
    cases: Annotated[list[Case] | None, typer.Argument(help="Which; all if none is named.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each contestant.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Length of a turn over HTTP.")] = 8,
    readings: Annotated[int, typer.Option(min=10_000, help="Readings queued a round.")] = 60_000,
    listings: Annotated[
        int, typer.Option(min=30_000, help="Listings of a large market, to browse.")
    ] = 1_000_000,
    page_seconds: Annotated[
        int, typer.Option(min=5, help="How long the control room is watched.")
    ] = 30,
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
        page_seconds=page_seconds,
    )  # fmt: skip
    try:
        passed = asyncio.run(_run(cases or list(Case), plan, database_url, out))
    except HubError as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if passed else 1)


async def _run(
    cases: Sequence[Case], plan: Callable[..., Options], database_url: str | None, out: Path
) -> bool:
    """Run the cases one after the other; whether every audit passed."""
    _end_cleanly_on_sigterm()
    for case in cases:
        if case in _PROGRAMS:
            program(_PROGRAMS[case])
    console, passed = Console(), True
    with tempfile.TemporaryDirectory(prefix="solarhub-bench-") as directory:
        async with server(database_url, Path(directory)) as database_server:
            for case in cases:
                work = Path(directory) / case
                work.mkdir()
                with console.status(f"{case} …"):
                    result = await _RUN[case](plan(server=database_server, work=work))
                report.show(result, console)
                report.write(result, out)
                passed = passed and result.audit_passed
    return passed


def _end_cleanly_on_sigterm() -> None:
    """As on Ctrl-C: what was started is stopped on the way out."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
