"""What `simulate devices --faults` tells at its end: the truth, and what the hub made of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from simulators import checking, truth
from simulators.checking import Checked
from simulators.fleet import FleetTally
from simulators.reckoning import Reckoned
from simulators.whereabouts import Whereabouts

_PATIENCE_S = 600.0


async def check(hub: Whereabouts, tally: FleetTally) -> list[Checked]:
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
    for name in ("generated", "exported"):
        typer.echo(f"The hub counted {_counted([getattr(one, name) for one in checked])} {name}.")
    wrong = [one for one in checked if not one.is_sound]
    for one in wrong:
        typer.echo(f"{one.device_id}: {one.generated} {one.exported}", err=True)
    return 1 if wrong else 0


def _counted(reckoned: Sequence[Reckoned]) -> str:
    hub_wh, truth_wh = (sum(getattr(r, name) for r in reckoned) for name in ("hub_wh", "truth_wh"))
    exact = sum(one.is_exact for one in reckoned)
    explained = sum(one.is_sound and not one.is_exact for one in reckoned)
    return (
        f"{hub_wh / 1000:,.3f} of {truth_wh / 1000:,.3f} kWh"
        f" ({exact:,} devices within 0.1 %, {explained:,} with the rest in slots that say why)"
    )
