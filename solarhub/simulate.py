"""`solarhub simulate …`: devices, recordings and people, as the outside world would be."""

import re
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from threading import Thread
from typing import Annotated

import typer

from simulators import buyers, fleet
from simulators.progress import shown
from solarhub import simulate_replay
from solarhub.errors import HubError
from solarhub.options import DATA, Data, Seconds
from solarhub.simulating import (
    ApiUrl,
    MqttUrl,
    Seed,
    Wait,
    allow_connections,
    hub_at,
    told,
    until_done_or_stopped,
    wait_for_hub,
)

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
        float, typer.Option(min=0, help="Simulated seconds of sun per second; 0: it stands still.")
    ] = 1.0,
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
        raise HubError("the simulated sun needs pvlib: pip install 'solarhub[simulators]'")
    allow_connections(count)
    # It takes seconds to load: they pass while the hub comes up and homes are settled.
    Thread(target=import_module, args=("pvlib",), daemon=True).start()
    wait_for_hub(data, wait)
    plan = fleet.FleetPlan(count, rate, duration, _sun_hour(sun), sun_speed, seed)
    tally = fleet.FleetTally()
    hub = hub_at(data, api_url=api_url, mqtt_url=mqtt_url)

    async def work() -> None:
        async with shown("Readings", None, lambda: tally.readings, lambda: told(tally.links)):
            await fleet.run(plan, hub, data / "fleet.json", tally)

    until_done_or_stopped(work())
    typer.echo(
        f"{tally.registered:,} devices sent {tally.readings:,} readings;"
        f" {tally.links.lost:,} connections were lost."
    )


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


def _sun_hour(text: str) -> float | None:
    if text == "now":
        return None
    if text == "noon":
        return 12.0
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise typer.BadParameter("--sun must be now, noon or HH:MM")
    return int(match[1]) + int(match[2]) / 60
