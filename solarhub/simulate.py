"""The commands `simulate devices`, `replay` and `buyers`: a fleet, a recording, and buyers."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Annotated

import typer

from core.dialects import Dialect
from simulators import buyers, fleet
from simulators import neighbourhood as homes_of_demo
from simulators.checking import DeviceCheck
from simulators.dialects.encoders import ENCODERS
from simulators.faults import CALM_READINGS, Fault, FaultPlan
from simulators.progress import show_progress
from simulators.sun import import_pvlib
from solarhub import run_file, simulate_replay, simulate_report
from solarhub.options import DATA, Data, Seconds
from solarhub.simulate_common import (
    ApiUrl,
    MqttUrl,
    Seed,
    Wait,
    allow_connections,
    describe,
    hub_at,
    until_done_or_stopped,
    wait_for_hub,
    with_administrator,
)

# A hub accepts readings of the last seven days (168 h); the rest is time to send them.
_PAST_MAX = timedelta(hours=160)

app = typer.Typer(no_args_is_help=True, help="Simulate devices, recordings and buyers.")
app.command(name="replay")(simulate_replay.command)


@app.command()
def devices(
    count: Annotated[int, typer.Option(min=1, help="Number of homes.")] = 20,
    rate: Annotated[float, typer.Option(min=0.001, help="Readings per second of each home.")] = 1.0,
    duration: Seconds = None,
    sun: Annotated[
        str, typer.Option(help="Start of the simulated sun: now, noon, or HH:MM local time.")
    ] = "now",
    sun_speed: Annotated[
        float,
        typer.Option(min=0, help="Seconds of the sun per second of the clock; 0 stops the sun."),
    ] = 1.0,
    speed: Annotated[
        float,
        typer.Option(
            min=1,
            help="With --duration: speed of new homes' clocks, which are right at the end.",
        ),
    ] = 1.0,
    dialect: Annotated[
        str,
        typer.Option(help="Firmware of new homes: native, opendtu, …, or mixed for one of each."),
    ] = "native",
    faults: Annotated[
        int | None,
        typer.Option(help="Inject faults; the same seed creates the same faults."),
    ] = None,
    kinds: Annotated[
        str,
        typer.Option(
            help="With --faults: all kinds, each (one kind per home), or a list such as dip,gap."
        ),
    ] = "all",
    calm: Annotated[
        int,
        typer.Option(min=1, help="With --faults: mean number of good readings between two faults."),
    ] = CALM_READINGS,
    truth: Annotated[
        Path | None,
        typer.Option(help="With --faults: file for the true energy and the faults of each device."),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="With --faults: compare the hub's energy with the truth.")
    ] = False,
    backfill: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=_PAST_MAX / timedelta(hours=1),
            help="New homes send the last hours as fast as the broker accepts them.",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1000, help="Readings per message of --backfill, at most.")
    ] = 50,
    seed: Seed = 1,
    data: Data = DATA,
    wait: Wait = 0,
    api_url: ApiUrl = None,
    mqtt_url: MqttUrl = None,
) -> None:
    """Simulate homes around Bangalore with panels, loads and batteries, over MQTT.

    Readings have the real time, even if the simulated sun has another.
    """
    if faults is None and (truth is not None or check):
        raise typer.BadParameter("--truth and --check need --faults")
    if speed != 1 and (duration is None or backfill is not None):
        raise typer.BadParameter("--speed needs --duration, and no --backfill")
    past = None if backfill is None else timedelta(hours=backfill)
    plan = fleet.FleetPlan(
        count, rate, duration, _sun_hour(sun), sun_speed, seed, _faults(faults, kinds, calm), past,
        batch, _dialects(dialect, lossless=bool(faults is not None or past or speed != 1)), speed,
    )  # fmt: skip
    if plan.past > _PAST_MAX:
        raise typer.BadParameter(
            f"--speed: must start at most {_PAST_MAX} in the past, not {plan.past}"
        )
    allow_connections(count)
    # The hub starts and homes are registered meanwhile.
    Thread(target=import_pvlib, daemon=True).start()
    wait_for_hub(data, wait)
    tally = fleet.FleetTally()
    hub = hub_at(data, api_url=api_url, mqtt_url=mqtt_url)
    # A backfill or a truth needs new homes: known ones have sent these times, or other energy.
    state_file = None if plan.past or plan.faults else data / "fleet.json"
    checks: list[DeviceCheck] = []

    async def work() -> None:
        async with show_progress(
            "Readings", None, lambda: tally.readings, lambda: describe(tally.connections)
        ):
            target = await with_administrator(data, hub) if plan.past else hub
            await fleet.run(plan, target, state_file, tally, now=run_file.clock_of(data).now)
            if check:
                checks.extend(await simulate_report.check(hub, tally))

    until_done_or_stopped(work())
    typer.echo(
        f"{tally.registered:,} devices sent {tally.readings:,} readings;"
        f" {tally.connections.lost:,} connections were lost."
    )
    if faults is not None:
        simulate_report.print_truth(tally, faults, truth)
    if checks:
        raise typer.Exit(simulate_report.print_checks(checks))


@app.command(hidden=True)
def neighbourhood(
    rate: Annotated[float, typer.Option(help="Readings per second of each home.")] = 1.0,
    data: Data = DATA,
    wait: Wait = 0,
) -> None:
    """Simulate the homes of `up --demo`: a day of the past, and then the present."""
    Thread(target=import_pvlib, daemon=True).start()
    wait_for_hub(data, wait)
    tally = fleet.FleetTally()
    hub = hub_at(data, api_url=None)
    clock = run_file.clock_of(data)
    plan = homes_of_demo.NeighbourhoodPlan(rate_hz=rate)

    async def work() -> None:
        target = await with_administrator(data, hub)
        await homes_of_demo.run(plan, target, data / "fleet.json", tally, clock)

    until_done_or_stopped(work())
    typer.echo(f"{tally.registered:,} devices sent {tally.readings:,} readings.")


@app.command(name="buyers")
def buyers_(
    count: Annotated[int, typer.Option(min=1, help="Number of buyers.")] = 10,
    rate: Annotated[
        float,
        typer.Option(min=0.001, help="Attempted purchases per second, of all buyers together."),
    ] = 1.0,
    duration: Seconds = None,
    radius_km: Annotated[
        float,
        typer.Option(min=0.001, max=100, help="Kilometres around each buyer's home to search."),
    ] = 5.0,
    routine: Annotated[
        bool, typer.Option(help="Buy little at night, most at noon and in the evening.")
    ] = False,
    seed: Seed = 1,
    data: Data = DATA,
    wait: Wait = 0,
    api_url: ApiUrl = None,
) -> None:
    """Simulate people who sign in, top up, follow the feed, and buy from neighbours."""
    plan = buyers.BuyersPlan(count, rate, duration, radius_km, seed, routine)
    wait_for_hub(data, wait)
    tally = buyers.BuyersTally()
    hub = hub_at(data, api_url=api_url)

    async def work() -> None:
        async with show_progress(
            "Purchases", None, lambda: tally.purchases, lambda: _summary(tally)
        ):
            await buyers.run(plan, hub, data / "buyers.json", tally, run_file.clock_of(data))

    until_done_or_stopped(work())
    typer.echo(f"{tally.signed_in:,} buyers made {tally.purchases:,} purchases: {_summary(tally)}.")


def _summary(tally: buyers.BuyersTally) -> str:
    words = [f"{tally.energy_kwh} kWh for {tally.spent_inr} INR", f"{tally.events:,} events"]
    if tally.latencies_s:
        words.append(f"{1000 * median(tally.latencies_s):.0f} ms from order to event")
    if tally.no_listing:
        words.append(f"{tally.no_listing:,} times no listing")
    words += [f"{count:,} {code}" for code, count in sorted(tally.refused.items())]
    return ", ".join(words)


def _dialects(text: str, *, lossless: bool) -> Sequence[Dialect]:
    """Return the dialects of new homes; past and faulty readings need one that loses nothing."""
    allowed = [one for one in Dialect if ENCODERS[one].lossless or not lossless]
    if text == "mixed":
        return allowed
    if text not in allowed:
        raise typer.BadParameter(f"--dialect must be mixed or one of {', '.join(allowed)} here")
    return (Dialect(text),)


def _faults(seed: int | None, kinds: str, calm: int) -> FaultPlan | None:
    if seed is None:
        return None
    if kinds in ("all", "each"):
        return FaultPlan(seed, calm_readings=calm, one_each=kinds == "each")
    names = kinds.split(",")
    if not set(names) <= set(Fault):
        raise typer.BadParameter(f"--kinds must be all, each, or some of {', '.join(Fault)}")
    return FaultPlan(seed, [Fault(name) for name in names], calm)


def _sun_hour(text: str) -> float | None:
    if text == "now":
        return None
    if text == "noon":
        return 12.0
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise typer.BadParameter("--sun must be now, noon or HH:MM")
    return int(match[1]) + int(match[2]) / 60
