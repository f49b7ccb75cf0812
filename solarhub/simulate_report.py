"""The report of `simulate devices --faults`: the true energy, and what the hub made of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from simulators import checking, truth
from simulators.checking import DeviceCheck
from simulators.comparison import Comparison
from simulators.fleet import FleetTally
from simulators.hub_client import HubAddresses

# Per device, until the hub has stored its last reading.
_CHECK_TIMEOUT_S = 600.0


async def check(hub: HubAddresses, tally: FleetTally) -> list[DeviceCheck]:
    return await checking.check(
        hub.api_url, tally.owners, tally.devices, timeout_s=_CHECK_TIMEOUT_S
    )


def print_truth(tally: FleetTally, seed: int, path: Path | None) -> None:
    """Print the true energy and the faults; write them to `path` too, if it is given."""
    devices = {
        device.registered.device.credentials.device_id: (device.truth, device.occurrences)
        for device in tally.devices
    }
    if path is not None:
        truth.write(path, seed, devices)
    totals = [device_truth.total() for device_truth, _ in devices.values()]
    faults = Counter(one.fault for _, occurrences in devices.values() for one in occurrences)
    typer.echo(
        f"In truth {_kwh(sum(total.generated_uwh for total in totals))} kWh were generated and"
        f" {_kwh(sum(total.exported_uwh for total in totals))} kWh exported."
    )
    typer.echo("Faults: " + ", ".join(f"{n:,} {fault}" for fault, n in sorted(faults.items())))


def _kwh(energy_uwh: int) -> str:
    return f"{energy_uwh / 1e9:,.3f}"


def print_checks(checks: Sequence[DeviceCheck]) -> int:
    """Print how the hub's energy compares with the truth; return the exit code."""
    typer.echo(f"Generated: the hub counted {_summary([one.generated for one in checks])}.")
    typer.echo(f"For sale: the hub counted {_summary([one.surplus for one in checks])}.")
    exact = sum(one.is_exact for one in checks)
    must_be_exact = sum(one.must_be_exact for one in checks)
    typer.echo(
        f"{exact:,} of {len(checks):,} devices are within 0.1 %;"
        f" {must_be_exact:,} must be, because they had no fault that loses energy."
    )
    wrong = [one for one in checks if not one.is_sound]
    for one in wrong:
        typer.echo(f"{one.device_id}: {one.generated} {one.surplus}", err=True)
    return 1 if wrong else 0


def _summary(comparisons: Sequence[Comparison]) -> str:
    """Sum up the comparisons, and what deviates by more than 0.1 %."""
    inexact = [one for one in comparisons if not one.is_exact]
    explained_wh = sum(one.explained_wh for one in inexact)
    unexplained_wh = sum(max(0.0, one.unexplained_wh) for one in inexact)
    invented_wh = sum(max(0.0, -one.missing_wh) for one in inexact)
    return (
        f"{_sum_kwh(comparisons, 'hub_wh')} of {_sum_kwh(comparisons, 'truth_wh')} kWh;"
        f" beyond 0.1 %, {explained_wh / 1000:,.3f} kWh are missing in slots with a reason,"
        f" {unexplained_wh / 1000:,.3f} in others, and {invented_wh / 1000:,.3f} are too much"
    )


def _sum_kwh(comparisons: Sequence[Comparison], name: str) -> str:
    return f"{sum(getattr(one, name) for one in comparisons) / 1000:,.3f}"
