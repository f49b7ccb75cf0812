"""A run of several cases: their code, a shared database server, results, summary, exit code."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

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
    report,
    scale,
)
from bench.cases import REQUIRED_PROGRAMS, Case
from bench.database import server
from bench.options import Options
from bench.processes import is_installed, program
from bench.result import Result, Target
from solarhub.child import temporary_directory
from solarhub.errors import CommandError

Runner = Callable[[Options], Awaitable[Result]]

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


@dataclass(slots=True)
class RunOutcome:
    """The results of all cases; `failed` holds the error of each case that failed."""

    results: list[Result] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    took_s: float = 0

    @property
    def exit_code(self) -> int:
        """0 if every case ran and its audit passed; a missed target is not a failure."""
        passed = not self.failed and all(result.audit_passed for result in self.results)
        return 0 if passed else 1

    def missed(self) -> Iterator[tuple[str, Target]]:
        """Yield each missed target with its case."""
        for result in self.results:
            for target in result.targets:
                if not target.met:
                    yield result.case, target


def every_case() -> list[Case]:
    """Return all cases, but `control-room` only if Chromium is installed."""
    if is_installed("chromium"):
        return list(Case)
    Console().print("control-room is left out: it needs Chromium", style="yellow")
    return [case for case in Case if case is not Case.CONTROL_ROOM]


async def run_cases(
    cases: Sequence[Case], options: Callable[..., Options], database_url: str | None, out: Path
) -> RunOutcome:
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
            outcome = await run_in_order(
                {case: RUNNERS[case] for case in cases},
                lambda work: options(server=database_server, work=work),
                work=directory, out=out, console=console,
            )  # fmt: skip
    print_summary(outcome, console)
    return outcome


async def run_in_order(
    cases: Mapping[str, Sequence[Runner]],
    options: Callable[[Path], Options],
    *,
    work: Path,
    out: Path,
    console: Console,
) -> RunOutcome:
    """Run the cases one after the other; show and write each result. A failure stops no other.

    `options` creates the options of a case, given a scratch directory inside `work`.
    """
    outcome, began = RunOutcome(), perf_counter()
    for case, runners in cases.items():
        scratch = work / case
        scratch.mkdir()
        try:
            for runner in runners:
                with console.status(f"{case} …"):
                    result = await runner(options(scratch))
                report.show(result, console)
                report.write(result, out)
                outcome.results.append(result)
        except CommandError as error:
            outcome.failed[case] = str(error)
            console.print(f"{case}: {error}\n", style="red", markup=False, soft_wrap=True)
    outcome.took_s = perf_counter() - began
    return outcome


def print_summary(outcome: RunOutcome, console: Console) -> None:
    minutes, seconds = divmod(round(outcome.took_s), 60)
    lines = [f"{len(outcome.results)} results in {minutes} min {seconds} s"]
    missed = [f"  {case}: {report.describe(target)}" for case, target in outcome.missed()]
    lines += ["Missed targets:", *missed] if missed else ["Every target is met."]
    lines += [f"The audit failed: {r.case}" for r in outcome.results if not r.audit_passed]
    lines += [f"Not measured: {case}: {error}" for case, error in outcome.failed.items()]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _end_cleanly_on_sigterm() -> None:
    """Cancel on SIGTERM as on Ctrl-C, so that every process that was started is stopped."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
