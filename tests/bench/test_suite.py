"""All cases in a row: what the last lines and the exit code say of them."""

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
    """One that finds this."""

    async def found(_: Options) -> Result:
        hub = Contestant("hub", "", [Sample(10), Sample(12)])
        return Result(name, "", "items/s", [hub], targets, audit_passed, parameters={})

    return found


async def broken(_: Options) -> Result:
    raise BenchError("the broker was not ready in 30 s")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Awaitable[tuple[int, str]]]:
    async def run(**cases: Runner) -> tuple[int, str]:
        """Its exit code, and its last words."""
        work, out, said = tmp_path / "work", tmp_path / "out", StringIO()
        work.mkdir()
        outcome = await suite.run(
            {name: (runner,) for name, runner in cases.items()},
            lambda scratch: Options(BenchDatabaseServer("postgresql://nowhere"), scratch),
            work=work, out=out, console=Console(file=StringIO()),
        )  # fmt: skip
        suite.sum_up(outcome, Console(file=said, width=200))
        assert {path.stem for path in out.glob("*.json")} == set(cases) - set(outcome.failed)
        return outcome.exit_code, said.getvalue()

    return run


Run = Callable[..., Awaitable[tuple[int, str]]]


async def test_a_target_that_is_missed_is_named_and_no_failure(run: Run) -> None:
    code, said = await run(ingest=case("ingest", MET), purchase=case("purchase", MET, MISSED))
    assert code == 0
    assert "Short of their target:\n  purchase: p99 ms: 71.4, wanted ≤ 50\n" in said
    assert "of the floor" not in said


async def test_when_all_are_met_it_says_so(run: Run) -> None:
    assert (await run(ingest=case("ingest", MET)))[1].endswith("Every target is met.\n")


async def test_books_that_do_not_hold_fail_the_run(run: Run) -> None:
    code, said = await run(ingest=case("ingest", audit_passed=False), memory=case("memory"))
    assert code == 1
    assert "The audit failed: ingest\n" in said


async def test_a_case_that_can_not_be_measured_keeps_no_other_from_it(run: Run) -> None:
    code, said = await run(ingest=broken, purchase=case("purchase", MISSED))
    assert code == 1
    assert "Not measured: ingest: the broker was not ready in 30 s\n" in said
    assert "purchase: p99 ms" in said
