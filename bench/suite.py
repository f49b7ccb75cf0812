"""Several cases in a row: each is shown and written down as it ends, and all are summed up."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from rich.console import Console

from bench import report
from bench.options import Options
from bench.result import Result, Target
from solarhub.errors import CommandError

Runner = Callable[[Options], Awaitable[Result]]


@dataclass(slots=True)
class CaseOutcome:
    """What was found; `failed` says by case why one could not be measured."""

    results: list[Result] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    took_s: float = 0

    @property
    def exit_code(self) -> int:
        """0 when every case ran and its books hold: a target that is missed is no failure."""
        sound = not self.failed and all(result.audit_passed for result in self.results)
        return 0 if sound else 1

    def short(self) -> Iterator[tuple[str, Target]]:
        """Which targets are missed, each with its case."""
        for result in self.results:
            for target in result.targets:
                if not target.met:
                    yield result.case, target


async def run(
    cases: Mapping[str, Sequence[Runner]],
    plan: Callable[[Path], Options],
    *,
    work: Path,
    out: Path,
    console: Console,
) -> CaseOutcome:
    """Run them one after the other; one that can't be measured keeps no other from it.

    `plan` makes a case's options, given a scratch directory in `work`.
    """
    outcome, began = CaseOutcome(), perf_counter()
    for case, runners in cases.items():
        scratch = work / case
        scratch.mkdir()
        try:
            for runner in runners:
                with console.status(f"{case} …"):
                    result = await runner(plan(scratch))
                report.show(result, console)
                report.write(result, out)
                outcome.results.append(result)
        except CommandError as error:
            outcome.failed[case] = str(error)
            console.print(f"{case}: {error}\n", style="red", markup=False, soft_wrap=True)
    outcome.took_s = perf_counter() - began
    return outcome


def sum_up(outcome: CaseOutcome, console: Console) -> None:
    minutes, seconds = divmod(round(outcome.took_s), 60)
    said = [f"{len(outcome.results)} results in {minutes} min {seconds} s"]
    short = [f"  {case}: {report.told(target)}" for case, target in outcome.short()]
    said += ["Short of their target:", *short] if short else ["Every target is met."]
    said += [f"The audit failed: {r.case}" for r in outcome.results if not r.audit_passed]
    said += [f"Not measured: {case}: {why}" for case, why in outcome.failed.items()]
    console.print("\n".join(said), markup=False, soft_wrap=True)
