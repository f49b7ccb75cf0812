"""Output of a result: a table on the terminal, a JSON file and a plot."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.processes import BenchError
from bench.result import Contestant, Course, Result, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HUB = "#c98500"


def show(result: Result, console: Console) -> None:
    console.print(_table(result))
    for absent in result.absent:
        console.print(absent, style="yellow", markup=False, soft_wrap=True)
    for target in result.targets:
        console.print(_verdict(target))
    console.print(
        "[green]audit passed[/]" if result.audit_passed else "[red]the audit failed[/]", end="\n\n"
    )


def _table(result: Result) -> Table:
    about = "\n".join(f"{c.name}: {c.what}" for c in result.contestants)
    table = Table(
        title=f"{result.case}: {result.what}",
        title_justify="left",
        caption=about,
        caption_justify="left",
    )
    columns = _columns(result)
    for heading in columns:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _columns(result: Result) -> dict[str, list[str]]:
    """Return the cells of each column by heading, without columns that are empty."""
    contestants, ratios = result.contestants, [value for _, value in result.ratios()]
    columns = {
        "": [c.name for c in contestants],
        result.unit: [f"{c.per_s:,.0f}" for c in contestants],
        "min – max": [f"{c.slowest:,.0f} – {c.fastest:,.0f}" for c in contestants],
        "hub ÷ it": ["", *(f"{value:.2f}" for value in ratios)],
        "p50 ms": [_ms(c.p50_ms) for c in contestants],
        "p99 ms": [_ms(c.p99_ms) for c in contestants],
        "CPU µs each": [_cpu(c) for c in contestants],
    }
    return {heading: cells for heading, cells in columns.items() if any(cells)}


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _cpu(contestant: Contestant) -> str:
    return "\n".join(f"{name} {_microseconds(us)}" for name, us in contestant.cpu_us.items())


def _microseconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 10 else f"{value:.2g}"


def _verdict(target: Target) -> str:
    verdict = "[green]met   [/]" if target.met else "[red]missed[/]"
    return f"{verdict} {describe(target)}"


def describe(target: Target) -> str:
    sign = "≤" if target.at_most else "≥"
    found, wanted = _number(target.found), _number(target.wanted)
    return f"{target.what}: {found}, wanted {sign} {wanted}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(result: Result, directory: Path) -> None:
    """Write `<case>.json` and `<case>.png`. Raises BenchError without matplotlib."""
    directory.mkdir(parents=True, exist_ok=True)
    document = json.dumps(result.as_json(), indent=2, ensure_ascii=False)
    (directory / f"{result.case}.json").write_text(document + "\n", "utf-8")
    _plot(result, directory / f"{result.case}.png")


def _plot(result: Result, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BenchError("matplotlib is not installed: pip install 'solarhub[bench]'") from None
    height_in = 3 if result.course else 1 + 0.6 * len(result.contestants)
    figure = Figure(figsize=(7, height_in), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{result.case}: {result.what}", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if result.course:
        _plot_course(axes, result.course, result.unit)
    else:
        _plot_bars(axes, result)
    figure.savefig(path)


def _plot_bars(axes: "Axes", result: Result) -> None:
    contestants: list[Contestant] = list(reversed(result.contestants))
    names = [c.name for c in contestants]
    bars = axes.barh(names, [c.per_s for c in contestants], color=_colours(names))
    axes.bar_label(bars, fmt="{:,.0f}", padding=14)
    for contestant in contestants:
        rates = [s.per_s for s in contestant.samples]
        axes.plot(rates, [contestant.name] * len(rates), "|", color="black", markersize=12)
    axes.margins(x=0.15)
    axes.set_xlabel(f"{result.unit}; bar: median, ticks: rounds", fontsize=8)


def _plot_course(axes: "Axes", course: Course, unit: str) -> None:
    axes.plot(course.seconds, course.values, color=_HUB)
    axes.set_ylim(bottom=0, top=1.2 * max(course.values))
    axes.set_xlabel("seconds", fontsize=8)
    axes.set_ylabel(unit, fontsize=8)


def _colours(names: list[str]) -> list[str]:
    return [_HUB if name.startswith("hub") else "#9aa5b1" for name in names]
