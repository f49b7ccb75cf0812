"""Interval accounting of recorded plants and homes: intervals add up to their counters."""

import csv
import gzip
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from pathlib import Path

import pytest

from core.accounting import advance
from core.intervals import SELLABLE, Interval, Quality
from core.readings import Reading
from simulators.recorded_time import on_day
from simulators.recording import Layout, read
from simulators.series import peak_w, time_of

DATA = Path(__file__).parents[3] / "shared/data"
PLANT = Layout(
    device="SOURCE_KEY",
    time="DATE_TIME",
    time_format="%d-%m-%Y %H:%M",
    zone="Asia/Kolkata",
    power="AC_POWER",
    power_unit="kW",
    energy="TOTAL_YIELD",
    energy_unit="kWh",
)
HOMES = Layout(
    device="home_id",
    time="local_start",
    time_zone="tz",
    generated="pv_wh",
    consumed="load_wh",
    interval_min="interval_min",
)

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the recordings are not available")


def intervals_of(readings: list[Reading]) -> list[Interval]:
    """Return the intervals of a device whose capacity is the peak of its recording."""
    distinct = list({time_of(reading): reading for reading in reversed(readings)}.values())[::-1]
    accounted = advance(None, distinct, float(max(1, ceil(peak_w(readings)))))
    assert accounted is not None
    return list(accounted.intervals.values())


def sold_wh(intervals: list[Interval]) -> float:
    return float(sum(interval.sellable_wh for interval in intervals))


def test_every_inverter_of_a_plant_sells_what_its_counter_rose_by_in_five_weeks() -> None:
    path = DATA / "india_solar_plants/Plant_1_Generation_Data.csv.gz"
    series = read(path, PLANT).series
    assert len(series) == 22
    for readings in series.values():
        first, last = readings[0].energy_wh, readings[-1].energy_wh
        assert first is not None
        assert last is not None
        assert sold_wh(intervals_of(readings)) == pytest.approx(last - first, abs=1)


@pytest.mark.parametrize("day", ["2020-05-15", "2020-05-29", "2020-06-06", "2020-06-17"])
def test_every_inverter_sells_to_the_watt_hour_on_days_with_gaps_too(day: str) -> None:
    path = DATA / "india_solar_plants/Plant_1_Generation_Data.csv.gz"
    for readings in read(path, PLANT, on_day(day)).series.values():
        rose_wh = (readings[-1].energy_wh or 0) - (readings[0].energy_wh or 0)
        assert sold_wh(intervals_of(readings)) == pytest.approx(rose_wh, abs=1)


# In Sydney clocks are set back and forward in April and October, in California in November, March.
@pytest.mark.parametrize("month", [3, 4, 10, 11])
def test_homes_sell_their_export_in_months_with_clock_changes(month: int) -> None:
    series = read(
        DATA / "homes/homes_pv_load.csv.gz", HOMES, lambda shown: shown.month == month
    ).series
    assert len(series) == 14
    for readings in series.values():
        intervals = intervals_of(readings)
        last = readings[-1]
        assert sold_wh(intervals) == pytest.approx(last.export_wh, abs=1)
        generated_wh = sum(interval.generated_mwh for interval in intervals) / 1000
        assert generated_wh == pytest.approx(last.energy_wh, abs=1)


ANOMALIES = (
    ("serf_east_15min_ac_power", "measured_on", "ac_power"),
    ("ac_power_inv_2173", "timestamp", "value_normalized"),
    ("ac_power_inv_2173_stale_data", "timestamp", "value_normalized"),
)


def powers(file: str, time: str, power: str) -> list[Reading]:
    """Read a recording of power alone, which is negative at night and has gaps."""
    with gzip.open(DATA / f"anomalies/{file}.csv.gz", "rt") as rows:
        return [
            Reading(datetime.fromisoformat(row[time]), power_w=float(row[power]))
            for row in csv.DictReader(rows)
            if row[power] not in ("", "nan")
        ]


@pytest.mark.parametrize(("file", "time", "power"), ANOMALIES)
def test_power_every_15_minutes_without_counters_is_missing_energy(
    file: str, time: str, power: str
) -> None:
    intervals = intervals_of(sorted(powers(file, time, power), key=time_of))
    assert {interval.quality for interval in intervals} == {Quality.MISSING}
    assert sum(interval.generated_mwh for interval in intervals) == sold_wh(intervals) == 0


@pytest.mark.parametrize(("file", "time", "power"), ANOMALIES)
def test_power_every_minute_without_counters_is_estimated_and_never_sold(
    file: str, time: str, power: str
) -> None:
    recorded = sorted(powers(file, time, power), key=time_of)
    begins = time_of(recorded[0])
    every_minute = [
        Reading(begins + timedelta(minutes=n), power_w=reading.power_w)
        for n, reading in enumerate(recorded)
    ]
    intervals = intervals_of(every_minute)
    assert {interval.quality for interval in intervals} == {Quality.ESTIMATED}
    above_w = [max(0.0, reading.power_w or 0.0) for reading in recorded]
    trapezoid_wh = sum((a + b) / 2 / 60 for a, b in pairwise(above_w))
    estimated_wh = sum(interval.generated_mwh for interval in intervals) / 1000
    assert estimated_wh == pytest.approx(trapezoid_wh, abs=len(recorded) * 0.0005)
    assert not any(interval.quality in SELLABLE for interval in intervals)
    assert sold_wh(intervals) == 0
