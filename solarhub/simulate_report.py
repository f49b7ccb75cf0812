"""What `simulate devices --faults` tells at its end: the truth, and what the hub made of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from simulators import checking, truth
from simulators.checking import Checked
from simulators.comparison import Comparison
from simulators.fleet import FleetTally
from simulators.hub_addresses import HubAddresses

_PATIENCE_S = 600.0


async def check(hub: HubAddresses, tally: FleetTally) -> list[Checked]:
    return await checking.check(hub.api_url, tally.owners, tally.stations, patience_s=_PATIENCE_S)


def tell(tally: FleetTally, seed: int, path: Path | None) -> None:
    """In a line or two, and in a file if there is to be one."""
    stations = {
        station.resident.registered.credentials.device_id: (station.truth, station.hits)
        for station in tally.stations
    }
    if path is not None:
        truth.write(path, seed, stations)
    totals = [known.total() for known, _ in stations.values()]
    befell = Counter(hit.fault for _, hits in stations.values() for hit in hits)
    typer.echo(
        f"In truth {_kwh(sum(total.generated_uwh for total in totals))} kWh were generated and"
        f" {_kwh(sum(total.exported_uwh for total in totals))} kWh exported."
    )
    typer.echo("Faults: " + ", ".join(f"{n:,} {fault}" for fault, n in sorted(befell.items())))


def _kwh(energy_uwh: int) -> str:
    return f"{energy_uwh / 1e9:,.3f}"


def verdict(checked: Sequence[Checked]) -> int:
    """What the hub made of it, and the exit code."""
    typer.echo(f"Generated: the hub counted {_counted([one.generated for one in checked])}.")
    typer.echo(f"For sale: the hub counted {_counted([one.surplus for one in checked])}.")
    exact, whole = sum(one.is_exact for one in checked), sum(one.whole for one in checked)
    typer.echo(
        f"{exact:,} of {len(checked):,} devices are within 0.1 %;"
        f" {whole:,} had to be, having lost nothing on the way."
    )
    wrong = [one for one in checked if not one.is_sound]
    for one in wrong:
        typer.echo(f"{one.device_id}: {one.generated} {one.surplus}", err=True)
    return 1 if wrong else 0


def _counted(reckoned: Sequence[Comparison]) -> str:
    """With what is beyond a thousandth: missing, without a reason, too much."""
    beyond = [one for one in reckoned if not one.is_exact]
    explained_wh = sum(one.explained_wh for one in beyond)
    unexplained_wh = sum(max(0.0, one.unexplained_wh) for one in beyond)
    invented_wh = sum(max(0.0, -one.missing_wh) for one in beyond)
    return (
        f"{_sum_kwh(reckoned, 'hub_wh')} of {_sum_kwh(reckoned, 'truth_wh')} kWh;"
        f" beyond 0.1 %, {explained_wh / 1000:,.3f} kWh are missing in slots that say why,"
        f" {unexplained_wh / 1000:,.3f} in others, and {invented_wh / 1000:,.3f} are too much"
    )


def _sum_kwh(reckoned: Sequence[Comparison], name: str) -> str:
    return f"{sum(getattr(one, name) for one in reckoned) / 1000:,.3f}"
