"""Tests of a run of several cases: its summary and its exit code."""

from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench import suite
from bench.database import BenchDatabaseServer
from bench.options import Options
from bench.processes import BenchError
from bench.result import Contestant, Result, Sample, Target
from bench.suite import Runner

MET = Target("of the floor", 0.5, found=0.62)
MISSED = Target("p99 ms", 50, found=71.4, at_most=True)


def case(name: str, *targets: Target, audit_passed: bool = True) -> Runner:
    """Return a case with this result."""

    async def runner(_: Options) -> Result:
        hub = Contestant("hub", "", [Sample(10), Sample(12)])
        return Result(name, "", "items/s", [hub], targets, audit_passed, parameters={})

    return runner


async def failing(_: Options) -> Result:
    raise BenchError("the broker was not ready in 30 s")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Awaitable[tuple[int, str]]]:
    async def run(**cases: Runner) -> tuple[int, str]:
        """Return the exit code and the summary."""
        work, out, summary = tmp_path / "work", tmp_path / "out", StringIO()
        work.mkdir()
        outcome = await suite.run_in_order(
            {name: (runner,) for name, runner in cases.items()},
            lambda scratch: Options(BenchDatabaseServer("postgresql://nowhere"), scratch),
            work=work, out=out, console=Console(file=StringIO()),
        )  # fmt: skip
        suite.print_summary(outcome, Console(file=summary, width=200))
        assert {path.stem for path in out.glob("*.json")} == set(cases) - set(outcome.failed)
        return outcome.exit_code, summary.getvalue()

    return run


Run = Callable[..., Awaitable[tuple[int, str]]]


async def test_a_missed_target_is_named_and_is_not_a_failure(run: Run) -> None:
    code, summary = await run(ingest=case("ingest", MET), purchase=case("purchase", MET, MISSED))
    assert code == 0
    assert "Missed targets:\n  purchase: p99 ms: 71.4, wanted ≤ 50\n" in summary
    assert "of the floor" not in summary


async def test_the_summary_says_that_every_target_is_met(run: Run) -> None:
    assert (await run(ingest=case("ingest", MET)))[1].endswith("Every target is met.\n")


async def test_a_failed_audit_fails_the_run(run: Run) -> None:
    code, summary = await run(ingest=case("ingest", audit_passed=False), memory=case("memory"))
    assert code == 1
    assert "The audit failed: ingest\n" in summary


async def test_a_case_that_fails_does_not_stop_the_others(run: Run) -> None:
    code, summary = await run(ingest=failing, purchase=case("purchase", MISSED))
    assert code == 1
    assert "Not measured: ingest: the broker was not ready in 30 s\n" in summary
    assert "purchase: p99 ms" in summary
