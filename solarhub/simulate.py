"""`solarhub simulate …`: devices, recordings and people, as the outside world would be."""

import re
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Annotated

import typer

from core.dialects import Dialect
from simulators import buyers, fleet
from simulators.checking import Checked
from simulators.dialects.encoders import VOICES
from simulators.faults import CALM_READINGS, Fault, FaultPlan
from simulators.progress import shown
from solarhub import simulate_replay, simulate_report
from solarhub.errors import CommandError
from solarhub.options import DATA, Data, Seconds
from solarhub.simulate_common import (
    ApiUrl,
    MqttUrl,
    Seed,
    Wait,
    allow_connections,
    hub_at,
    told,
    until_done_or_stopped,
    wait_for_hub,
    with_administrator,
)

_PAST_MAX = timedelta(hours=160)

app = typer.Typer(no_args_is_help=True, help="Devices, recordings and people.")
app.command(name="replay")(simulate_replay.command)


@app.command()
def devices(
    count: Annotated[int, typer.Option(min=1, help="How many homes.")] = 20,
    rate: Annotated[float, typer.Option(min=0.001, help="Readings per second and home.")] = 1.0,
    duration: Seconds = None,
    sun: Annotated[
        str, typer.Option(help="Where the simulated sun starts: now, noon, or HH:MM local time.")
    ] = "now",
    sun_speed: Annotated[
        float,
        typer.Option(min=0, help="Seconds of sun per second of the clock; 0: it stands still."),
    ] = 1.0,
    speed: Annotated[
        float,
        typer.Option(
            min=1,
            help="With --duration: the clocks of new homes run so fast, and are right at last.",
        ),
    ] = 1.0,
    dialect: Annotated[
        str, typer.Option(help="What devices speak: native, opendtu, …, or mixed: one of each.")
    ] = "native",
    faults: Annotated[
        int | None,
        typer.Option(help="Meters and lines go wrong; the same seed makes the same faults."),
    ] = None,
    kinds: Annotated[
        str,
        typer.Option(
            help="With --faults: which; all, each (one kind a home), or some, as in dip,gap."
        ),
    ] = "all",
    calm: Annotated[
        int, typer.Option(min=1, help="With --faults: readings between troubles, on average.")
    ] = CALM_READINGS,
    truth: Annotated[
        Path | None, typer.Option(help="With --faults: a file for what was truly generated.")
    ] = None,
    check: Annotated[
        bool, typer.Option(help="With --faults: hold the hub's energy against the truth.")
    ] = False,
    backfill: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=_PAST_MAX / timedelta(hours=1),
            help="New homes tell of so many hours before now, as fast as it goes.",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1000, help="With --backfill: readings per message, at most.")
    ] = 50,
    seed: Seed = 1,
    data: Data = DATA,
    wait: Wait = 0,
    api_url: ApiUrl = None,
    mqtt_url: MqttUrl = None,
) -> None:
    """Homes around Bangalore with panels, loads and batteries, publishing over MQTT.

    Readings carry the real time, also when the simulated sun stands elsewhere.
    """
    if find_spec("pvlib") is None:
        raise CommandError("the simulated sun needs pvlib: pip install 'solarhub[simulators]'")
    if faults is None and (truth is not None or check):
        raise typer.BadParameter("--truth and --check need --faults")
    if speed != 1 and (duration is None or backfill is not None):
        raise typer.BadParameter("--speed needs --duration, and no --backfill")
    past = None if backfill is None else timedelta(hours=backfill)
    plan = fleet.FleetPlan(
        count, rate, duration, _sun_hour(sun), sun_speed, seed, _faults(faults, kinds, calm), past,
        batch, _dialects(dialect, tells_all=bool(faults is not None or past or speed != 1)), speed,
    )  # fmt: skip
    if plan.past > _PAST_MAX:
        raise typer.BadParameter(f"--speed: {plan.past} is too long ago for the hub")
    allow_connections(count)
    # It takes seconds to load: they pass while the hub comes up and homes are settled.
    Thread(target=import_module, args=("pvlib",), daemon=True).start()
    wait_for_hub(data, wait)
    tally = fleet.FleetTally()
    hub = hub_at(data, api_url=api_url, mqtt_url=mqtt_url)
    # What homes have told of already they can't tell again, nor hold against the truth.
    remembered_in = None if plan.past or plan.faults else data / "fleet.json"
    checked: list[Checked] = []

    async def work() -> None:
        async with shown("Readings", None, lambda: tally.readings, lambda: told(tally.links)):
            there = await with_administrator(data, hub) if plan.past else hub
            await fleet.run(plan, there, remembered_in, tally)
            if check:
                checked.extend(await simulate_report.check(hub, tally))

    until_done_or_stopped(work())
    typer.echo(
        f"{tally.registered:,} devices sent {tally.readings:,} readings;"
        f" {tally.links.lost:,} connections were lost."
    )
    if faults is not None:
        simulate_report.tell(tally, faults, truth)
    if checked:
        raise typer.Exit(simulate_report.verdict(checked))


@app.command(name="buyers")
def buyers_(
    count: Annotated[int, typer.Option(min=1, help="How many people.")] = 10,
    rate: Annotated[
        float, typer.Option(min=0.001, help="Purchases per second that all of them try together.")
    ] = 1.0,
    duration: Seconds = None,
    radius_km: Annotated[
        float, typer.Option(min=0.001, max=100, help="How far from home they look.")
    ] = 5.0,
    seed: Seed = 1,
    data: Data = DATA,
    api_url: ApiUrl = None,
) -> None:
    """People who sign in, top up, listen on the feed, and buy from neighbours."""
    plan = buyers.BuyersPlan(count, rate, duration, radius_km, seed)
    tally = buyers.BuyersTally()
    hub = hub_at(data, api_url=api_url)

    async def work() -> None:
        async with shown("Purchases", None, lambda: tally.purchases, lambda: _bought(tally)):
            await buyers.run(plan, hub, data / "buyers.json", tally)

    until_done_or_stopped(work())
    typer.echo(f"{tally.signed_in:,} buyers made {tally.purchases:,} purchases: {_bought(tally)}.")


def _bought(tally: buyers.BuyersTally) -> str:
    words = [f"{tally.energy_kwh} kWh for {tally.spent_inr} INR", f"{tally.events:,} events"]
    if tally.latencies_s:
        words.append(f"{1000 * median(tally.latencies_s):.0f} ms from order to event")
    if tally.nothing_on_offer:
        words.append(f"{tally.nothing_on_offer:,} times nothing on offer")
    words += [f"{count:,} {code}" for code, count in sorted(tally.refused.items())]
    return ", ".join(words)


def _dialects(text: str, *, tells_all: bool) -> Sequence[Dialect]:
    known = [one for one in Dialect if VOICES[one].tells_all or not tells_all]
    if text == "mixed":
        return known
    if text not in known:
        raise typer.BadParameter(f"--dialect must here be mixed or one of {', '.join(known)}")
    return (Dialect(text),)


def _faults(seed: int | None, kinds: str, calm: int) -> FaultPlan | None:
    if seed is None:
        return None
    if kinds in ("all", "each"):
        return FaultPlan(seed, calm=calm, one_each=kinds == "each")
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
