"""Readings to put a load on a hub with: of real inverters where there are, of faulty meters."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from msgspec.structs import replace

from core.readings import Reading
from simulators.recorded_time import between
from simulators.recording import Layout, read
from simulators.series import peak_w, shifted

RECORDING = (
    Path(__file__).parents[3]
    / "shared/data/india_solar_plants/Plant_1_Generation_Data.csv.gz"
)  # fmt: skip
LAYOUT = Layout(
    device="SOURCE_KEY", time="DATE_TIME", time_format="%d-%m-%Y %H:%M", zone="Asia/Kolkata",
    power="AC_POWER", power_unit="kW", energy="TOTAL_YIELD", energy_unit="kWh",
)  # fmt: skip
FIRST_DAY = datetime(2020, 6, 1)  # noqa: DTZ001 - as the recording's clocks showed it
CAPACITY_W = 5000.0
EVERY = timedelta(seconds=20)
_METER_DOES = ("rise",) * 30 + ("dip", "reset", "zero", "spike", "silence", "silence")


@dataclass(frozen=True, slots=True)
class Meter:
    """A device's readings as it sends them: not always in order, some of them twice."""

    capacity_w: float
    readings: list[Reading]

    @property
    def distinct(self) -> int:
        return len({reading.time for reading in self.readings})


def recorded(days: int, until: datetime) -> list[Meter]:
    """So many days of real inverters, the last of them ending now; none where there are none."""
    if not RECORDING.exists():
        return []
    chosen = between(FIRST_DAY, FIRST_DAY + timedelta(days=days))
    series = shifted(read(RECORDING, LAYOUT, chosen).series, until, align=False)
    return [Meter(peak_w(readings), readings) for readings in series.values()]


def faulty(count: int, readings_each: int, until: datetime, chance: Random) -> list[Meter]:
    """Meters that dip, restart, drop to zero, jump and fall silent, each in its own way."""
    meters = []
    for _ in range(count):
        history = list(_history(readings_each, chance))
        ends = until - max(elapsed for elapsed, _ in history)
        readings = [replace(reading, time=ends + elapsed) for elapsed, reading in history]
        meters.append(Meter(CAPACITY_W, _as_sent(readings, chance)))
    return meters


def _history(count: int, chance: Random) -> Iterator[tuple[timedelta, Reading]]:
    """Readings by how long after the first. While a meter is silent its counters go on."""
    level_wh, elapsed = chance.uniform(0, 1e7), timedelta()
    for _ in range(count):
        took, shown_wh = EVERY, level_wh
        match chance.choice(_METER_DOES):
            case "dip":
                shown_wh = level_wh * 0.97
            case "reset":
                shown_wh = level_wh = chance.uniform(0, 20)
            case "zero":
                shown_wh = 0.0
            case "spike":
                shown_wh = 4_294_967_295.0
            case "silence":
                took = chance.randint(2, 200) * EVERY
        yield elapsed, Reading(energy_wh=round(shown_wh, 3), export_wh=round(level_wh / 2, 3))
        elapsed += took
        level_wh += CAPACITY_W * chance.random() * (took / timedelta(hours=1))


def _as_sent(readings: list[Reading], chance: Random) -> list[Reading]:
    """Some are late by a few, some are sent twice."""
    places = [(n + chance.choice((0, 0, 0, 7.5)), reading) for n, reading in enumerate(readings)]
    again = [(n + chance.uniform(0, 20), readings[n]) for n in range(0, len(readings), 25)]
    return [reading for _, reading in sorted([*places, *again], key=lambda place: place[0])]
