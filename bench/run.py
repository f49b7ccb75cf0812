"""One run of the benchmarks: the code of each case, a database server, results and exit code."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench import (
    browse,
    control_room,
    database_outage,
    fanout,
    ingest,
    late,
    latency,
    memory,
    purchase,
    scale,
    suite,
)
from bench.cases import REQUIRED_PROGRAMS, Case
from bench.database import server
from bench.options import Options
from bench.processes import is_installed, program
from bench.suite import CaseOutcome, Runner
from solarhub.child import temporary_directory

RUNNERS: Mapping[Case, Sequence[Runner]] = {
    Case.INGEST: (ingest.singles,),
    Case.INGEST_BATCHED: (ingest.arrays,),
    Case.PURCHASE: (purchase.spread,),
    Case.PURCHASE_HOT: (purchase.hot,),
    Case.NEARBY: (browse.nearby,),
    Case.LISTINGS: (browse.listings,),
    Case.FANOUT: (fanout.burst,),
    Case.LATE: (late.late_reading,),
    Case.LATENCY: (latency.purchases,),
    Case.MEMORY: (memory.idle, database_outage.ingester),
    Case.SCALE: (scale.devices, scale.purchases),
    Case.CONTROL_ROOM: (control_room.control_room,),
}

# Columns of a table that is written to a file.
_WIDTH = 120


def every_case() -> list[Case]:
    """Return all cases, but `control-room` only if Chromium is installed."""
    if is_installed("chromium"):
        return list(Case)
    Console().print("control-room is left out: it needs Chromium", style="yellow")
    return [case for case in Case if case is not Case.CONTROL_ROOM]


async def run_cases(
    cases: Sequence[Case], options: Callable[..., Options], database_url: str | None, out: Path
) -> CaseOutcome:
    """Run the cases in order and print a summary. Raises CommandError if a program is missing.

    `options` creates the options of one case, given a database server and a scratch directory.
    """
    _end_cleanly_on_sigterm()
    for case in cases:
        for name in REQUIRED_PROGRAMS.get(case, ()):
            program(name)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    with temporary_directory() as directory:
        async with server(database_url, directory) as database_server:
            outcome = await suite.run(
                {case: RUNNERS[case] for case in cases},
                lambda work: options(server=database_server, work=work),
                work=directory, out=out, console=console,
            )  # fmt: skip
    suite.sum_up(outcome, console)
    return outcome


def _end_cleanly_on_sigterm() -> None:
    """Cancel on SIGTERM as on Ctrl-C, so that every process that was started is stopped."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
