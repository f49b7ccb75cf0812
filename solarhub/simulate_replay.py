"""`solarhub simulate replay`: its options say what the columns of a recording mean."""

import math
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from simulators import replay, selection
from simulators.progress import shown
from simulators.recording import Layout, NothingToReplay, Recording, read
from simulators.series import older_than
from solarhub.errors import CommandError
from solarhub.options import DATA, Data
from solarhub.simulate_common import (
    ApiUrl,
    MqttUrl,
    Seed,
    allow_connections,
    hub_at,
    told,
    until_done_or_stopped,
    with_administrator,
)

_LATE_HORIZON = timedelta(days=7)
_PROBLEMS_TOLD = 10
_BATCH_MAX = 1000

_column = partial(typer.Option, rich_help_panel="Columns", metavar="NAME")
_time = partial(typer.Option, rich_help_panel="Times")
_sending = partial(typer.Option, rich_help_panel="Sending")
_ISO = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class PowerUnit(StrEnum):
    W = "W"
    KW = "kW"
    MW = "MW"


class EnergyUnit(StrEnum):
    WH = "Wh"
    KWH = "kWh"
    MWH = "MWh"


def command(
    file: Annotated[Path, typer.Argument(help="A CSV with a line of column names, or its .gz.")],
    device_column: Annotated[str, _column(help="Which device; each becomes one at the hub.")],
    time_column: Annotated[str, _column(help="When; of an interval, when it began.")],
    power_column: Annotated[str | None, _column(help="Power, produced.")] = None,
    load_column: Annotated[str | None, _column(help="Power, consumed.")] = None,
    power_unit: Annotated[PowerUnit, _column(help="Of both.", metavar=None)] = PowerUnit.W,
    energy_column: Annotated[str | None, _column(help="Counter: generated in total.")] = None,
    export_column: Annotated[str | None, _column(help="Counter: fed into the grid.")] = None,
    import_column: Annotated[str | None, _column(help="Counter: taken from the grid.")] = None,
    generated_interval_column: Annotated[
        str | None,
        _column(
            help="Energy generated in each interval, instead of counters: they are made of it."
        ),
    ] = None,
    load_interval_column: Annotated[
        str | None, _column(help="Energy consumed in each interval; surplus is what is left.")
    ] = None,
    energy_unit: Annotated[EnergyUnit, _column(help="Of all.", metavar=None)] = EnergyUnit.WH,
    interval_column: Annotated[str | None, _column(help="Minutes that an interval lasts.")] = None,
    interval_min: Annotated[
        float | None, _column(help="The same, if all last as long.", metavar="MINUTES", min=0)
    ] = None,
    time_format: Annotated[
        str, _time(help="iso, unix, unix_ms, or a strptime format such as '%d-%m-%Y %H:%M'.")
    ] = "iso",
    time_zone: Annotated[
        str | None, _time(help="IANA zone of times without an offset, such as Asia/Kolkata.")
    ] = None,
    time_zone_column: Annotated[str | None, _time(help="Column with each row's zone.")] = None,
    date: Annotated[
        str | None, _time(help="Only this day: YYYY-MM-DD, or MM-DD of any year.")
    ] = None,
    from_: Annotated[
        datetime | None, _time("--from", help="Only from this local time on.", formats=_ISO)
    ] = None,
    to: Annotated[datetime | None, _time(help="Only before this one.", formats=_ISO)] = None,
    keep_times: Annotated[
        bool, _time("--keep-times", help="Send times as recorded: the hub takes seven days.")
    ] = False,
    align: Annotated[
        bool, _time("--align", help="End each device now, whatever its years and zone.")
    ] = False,
    speed: Annotated[
        str, _sending(help="Recorded seconds per second; 0 or max: as fast as the broker takes it.")
    ] = "60",
    batch: Annotated[
        int,
        _sending(help="Readings per message at most, if so many are due.", min=1, max=_BATCH_MAX),
    ] = 1,
    capacity_w: Annotated[
        str, _sending(help="What each device can at most, or auto: what the recording shows.")
    ] = "auto",
    seed: Seed = 1,
    data: Data = DATA,
    api_url: ApiUrl = None,
    mqtt_url: MqttUrl = None,
) -> None:
    """Send recorded telemetry again, through MQTT, by devices registered for it.

    Times are shifted by whole quarters of an hour so that the recording ends now. Where clocks were
    set back, an hour shows twice: its second coming is the later one. Where they were set forward,
    times that never showed are left out, and told; a recorder that ignores summer time needs a zone
    without one, such as Etc/GMT+8. DATA/replay.json says which device played which.
    """
    layout = Layout(
        device=device_column,
        time=time_column,
        time_form=time_format,
        zone=time_zone,
        time_zone=time_zone_column,
        power=power_column,
        load=load_column,
        power_unit=power_unit,
        energy=energy_column,
        export=export_column,
        imported=import_column,
        generated=generated_interval_column,
        drawn=load_interval_column,
        energy_unit=energy_unit,
        interval=None if interval_min is None else timedelta(minutes=interval_min),
        interval_min=interval_column,
    )
    _check(layout)
    plan = replay.ReplayPlan(_speed(speed), batch, keep_times, align, _capacity(capacity_w), seed)
    recording = _read(file, layout, _chosen(date, from_, to), plan)
    _send(plan, recording, data, api_url, mqtt_url)


def _check(layout: Layout) -> None:
    counters = (layout.power, layout.energy, layout.export)
    if (layout.generated is None) == (not any(counters)):
        raise typer.BadParameter(
            "name --power-column, --energy-column or --export-column,"
            " or else --generated-interval-column"
        )
    if layout.generated and layout.interval is None and layout.interval_min is None:
        raise typer.BadParameter("name --interval-column or give --interval-min")


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    speed = _positive_or_zero(text, "--speed", "max")
    return speed or math.inf


def _capacity(text: str) -> float | None:
    if text == "auto":
        return None
    return _positive_or_zero(text, "--capacity-w", "auto") or None


def _positive_or_zero(text: str, name: str, word: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"{name} must be a number or {word}")
    return number


def _chosen(day: str | None, begins: datetime | None, ends: datetime | None) -> selection.Chosen:
    if day is None:
        return selection.between(begins, ends)
    if begins or ends:
        raise typer.BadParameter("--date goes without --from and --to")
    try:
        return selection.day(day)
    except ValueError:
        raise typer.BadParameter("--date must be YYYY-MM-DD or MM-DD") from None


def _read(
    file: Path, layout: Layout, chosen: selection.Chosen, plan: replay.ReplayPlan
) -> Recording:
    try:
        recording = read(file, layout, chosen)
    except NothingToReplay as nothing:
        raise CommandError(str(nothing)) from nothing
    for problem in recording.problems[:_PROBLEMS_TOLD]:
        typer.echo(f"{file.name}, {problem}", err=True)
    if len(recording.problems) > _PROBLEMS_TOLD:
        typer.echo(f"{len(recording.problems):,} rows were left out in all.", err=True)
    if recording.repeated:
        typer.echo(f"{recording.repeated:,} rows repeat a device's time.", err=True)
    return recording


def _send(
    plan: replay.ReplayPlan,
    recording: Recording,
    data: Path,
    api_url: str | None,
    mqtt_url: str | None,
) -> None:
    allow_connections(len(recording.series))
    now = datetime.now(UTC)
    series = replay.timed(plan, recording.series, now)
    late = older_than(series, now - _LATE_HORIZON)
    if late:
        typer.echo(
            f"{late:,} of {recording.readings:,} readings are older than seven days, which is more"
            " than hubs take unless they are told so: choose a part by --date, or --from and --to.",
            err=True,
        )
    hub = hub_at(data, api_url=api_url, mqtt_url=mqtt_url)
    written_to, tally = data / "replay.json", replay.ReplayTally()

    async def work() -> None:
        async with shown(
            "Replay", recording.readings, lambda: tally.readings, lambda: told(tally.links)
        ):
            there = await with_administrator(data, hub)
            await replay.run(plan, series, there, written_to, tally, now=now)

    until_done_or_stopped(work())
    typer.echo(f"{tally.devices:,} devices sent {tally.readings:,} readings; see {written_to}.")
