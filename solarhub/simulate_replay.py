"""The command `simulate replay`, whose options describe the columns of a recording."""

import math
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.clock import real_now
from simulators import replay
from simulators.progress import show_progress
from simulators.recorded_time import TimeFilter, between, on_day
from simulators.recording import Layout, NothingToReplay, Recording, read
from simulators.series import older_than
from solarhub.errors import CommandError
from solarhub.options import DATA, Data
from solarhub.simulate_common import (
    ApiUrl,
    MqttUrl,
    Seed,
    allow_connections,
    describe,
    hub_at,
    until_done_or_stopped,
    with_administrator,
)

# How far back a hub accepts readings with default settings.
_LATE_HORIZON = timedelta(days=7)
_PROBLEMS_SHOWN_MAX = 10
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
    file: Annotated[
        Path, typer.Argument(help="CSV file with a header line; may be compressed (.gz).")
    ],
    device_column: Annotated[str, _column(help="Device name; each is registered at the hub.")],
    time_column: Annotated[str, _column(help="Time of the reading, or start of the interval.")],
    power_column: Annotated[str | None, _column(help="Generated power.")] = None,
    load_column: Annotated[str | None, _column(help="Consumed power.")] = None,
    power_unit: Annotated[
        PowerUnit, _column(help="Unit of both powers.", metavar=None)
    ] = PowerUnit.W,
    energy_column: Annotated[str | None, _column(help="Counter of generated energy.")] = None,
    export_column: Annotated[
        str | None, _column(help="Counter of energy fed into the grid.")
    ] = None,
    import_column: Annotated[
        str | None, _column(help="Counter of energy taken from the grid.")
    ] = None,
    generated_interval_column: Annotated[
        str | None,
        _column(help="Energy generated per interval, instead of counters."),
    ] = None,
    load_interval_column: Annotated[
        str | None, _column(help="Energy consumed per interval; the rest is surplus.")
    ] = None,
    energy_unit: Annotated[
        EnergyUnit, _column(help="Unit of all energies.", metavar=None)
    ] = EnergyUnit.WH,
    interval_column: Annotated[
        str | None, _column(help="Length of each interval in minutes.")
    ] = None,
    interval_min: Annotated[
        float | None, _column(help="Length of all intervals.", metavar="MINUTES", min=0)
    ] = None,
    time_format: Annotated[
        str, _time(help="iso, unix, unix_ms, or a strptime format such as '%d-%m-%Y %H:%M'.")
    ] = "iso",
    time_zone: Annotated[
        str | None, _time(help="IANA time zone of times without an offset, such as Asia/Kolkata.")
    ] = None,
    time_zone_column: Annotated[
        str | None, _time(help="Column with the time zone of each row.")
    ] = None,
    date: Annotated[
        str | None, _time(help="Replay one day: YYYY-MM-DD, or MM-DD of any year.")
    ] = None,
    from_: Annotated[
        datetime | None, _time("--from", help="Replay from this local time on.", formats=_ISO)
    ] = None,
    to: Annotated[
        datetime | None, _time(help="Replay until before this local time.", formats=_ISO)
    ] = None,
    keep_times: Annotated[
        bool,
        _time("--keep-times", help="Send times as recorded; the hub accepts the last seven days."),
    ] = False,
    align: Annotated[
        bool,
        _time(
            "--align", help="Let the recording of every device end now, whatever its year and zone."
        ),
    ] = False,
    speed: Annotated[
        str, _sending(help="Recorded seconds per second; 0 or max: as fast as the broker accepts.")
    ] = "60",
    batch: Annotated[
        int,
        _sending(help="Readings per message, at most.", min=1, max=_BATCH_MAX),
    ] = 1,
    capacity_w: Annotated[
        str, _sending(help="Capacity of each device, or auto: the peak of its recording.")
    ] = "auto",
    seed: Seed = 1,
    data: Data = DATA,
    api_url: ApiUrl = None,
    mqtt_url: MqttUrl = None,
) -> None:
    """Replay recorded telemetry over MQTT, by devices that are registered for it.

    Times are shifted by whole quarters of an hour so that the recording ends now. Where clocks were
    set back, an hour occurs twice, and the second row with such a time is the later one. Where they
    were set forward, times that did not occur are left out and reported. A recorder that ignores
    summer time needs a zone without it, such as Etc/GMT+8. DATA/replay.json lists the devices.
    """
    layout = Layout(
        device=device_column,
        time=time_column,
        time_format=time_format,
        zone=time_zone,
        time_zone=time_zone_column,
        power=power_column,
        load=load_column,
        power_unit=power_unit,
        energy=energy_column,
        export=export_column,
        imported=import_column,
        generated=generated_interval_column,
        consumed=load_interval_column,
        energy_unit=energy_unit,
        interval=None if interval_min is None else timedelta(minutes=interval_min),
        interval_min=interval_column,
    )
    _check(layout)
    plan = replay.ReplayPlan(_speed(speed), batch, keep_times, align, _capacity(capacity_w), seed)
    recording = _read(file, layout, _time_filter(date, from_, to))
    _send(plan, recording, data, api_url, mqtt_url)


def _check(layout: Layout) -> None:
    counters = (layout.power, layout.energy, layout.export)
    if (layout.generated is None) == (not any(counters)):
        raise typer.BadParameter(
            "give --power-column, --energy-column or --export-column,"
            " or else --generated-interval-column"
        )
    if layout.generated and layout.interval is None and layout.interval_min is None:
        raise typer.BadParameter("give --interval-column or --interval-min")


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    speed = _positive_or_zero(text, "--speed", "max")
    return speed or math.inf


def _capacity(text: str) -> float | None:
    if text == "auto":
        return None
    return _positive_or_zero(text, "--capacity-w", "auto") or None


def _positive_or_zero(text: str, name: str, keyword: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise typer.BadParameter(f"{name} must be a number of at least 0, or {keyword}")
    return number


def _time_filter(day: str | None, begins: datetime | None, ends: datetime | None) -> TimeFilter:
    if day is None:
        return between(begins, ends)
    if begins or ends:
        raise typer.BadParameter("--date cannot be combined with --from or --to")
    try:
        return on_day(day)
    except ValueError:
        raise typer.BadParameter("--date must be YYYY-MM-DD or MM-DD") from None


def _read(file: Path, layout: Layout, time_filter: TimeFilter) -> Recording:
    """Read the file, and print its problems. Raises CommandError."""
    try:
        recording = read(file, layout, time_filter)
    except NothingToReplay as nothing:
        raise CommandError(str(nothing)) from nothing
    for problem in recording.problems[:_PROBLEMS_SHOWN_MAX]:
        typer.echo(f"{file.name}, {problem}", err=True)
    if len(recording.problems) > _PROBLEMS_SHOWN_MAX:
        typer.echo(f"{len(recording.problems):,} rows were left out in total.", err=True)
    if recording.repeated:
        typer.echo(
            f"{recording.repeated:,} rows repeat the time of another row of their device.", err=True
        )
    return recording


def _send(
    plan: replay.ReplayPlan,
    recording: Recording,
    data: Path,
    api_url: str | None,
    mqtt_url: str | None,
) -> None:
    allow_connections(len(recording.series))
    now = real_now()
    series = replay.with_times(plan, recording.series, now)
    late = older_than(series, now - _LATE_HORIZON)
    if late:
        typer.echo(
            f"{late:,} of {recording.readings:,} readings are older than seven days. A hub rejects"
            " them by default: select a part of the recording with --date, or --from and --to.",
            err=True,
        )
    hub = hub_at(data, api_url=api_url, mqtt_url=mqtt_url)
    outcome_file, tally = data / "replay.json", replay.ReplayTally()

    async def work() -> None:
        async with show_progress(
            "Replay",
            recording.readings,
            lambda: tally.readings,
            lambda: describe(tally.connections),
        ):
            target = await with_administrator(data, hub)
            await replay.run(plan, series, target, outcome_file, tally, now=now)

    until_done_or_stopped(work())
    typer.echo(f"{tally.devices:,} devices sent {tally.readings:,} readings; see {outcome_file}.")
