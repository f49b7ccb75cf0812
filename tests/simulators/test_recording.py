"""Recordings: columns, units, clocks, and rows that cannot be read."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.units import slot_of
from simulators.recording import Layout, NothingToReplay, Recording, read
from simulators.series import IntervalEnergy, counters_of, peak_w, shifted, time_of

PLANT = Layout(
    device="inverter",
    time="when",
    time_format="%d-%m-%Y %H:%M",
    zone="Asia/Kolkata",
    power="ac",
    power_unit="kW",
    energy="total",
    energy_unit="kWh",
)
HOMES = Layout(
    device="home",
    time="start",
    time_zone="tz",
    generated="pv",
    consumed="load",
    interval_min="minutes",
)


def recorded(directory: Path, layout: Layout, text: str) -> Recording:
    path = directory / "recording.csv"
    path.write_text(text, encoding="utf-8")
    return read(path, layout)


def test_units_and_the_zone_are_applied(tmp_path: Path) -> None:
    recording = recorded(
        tmp_path, PLANT, "when,inverter,ac,total\n15-05-2020 06:15,A,1.5,6259559.125\n"
    )
    (reading,) = recording.series["A"]
    assert reading.time == datetime(2020, 5, 15, 0, 45, tzinfo=UTC)
    assert reading.power_w == 1500.0
    assert reading.energy_wh == 6259559125.0
    assert reading.export_wh is None


def test_an_empty_value_is_absent_and_not_zero(tmp_path: Path) -> None:
    text = "when,inverter,ac,total\n15-05-2020 06:15,A,,10\n15-05-2020 06:30,A,1,NaN\n"
    first, second = recorded(tmp_path, PLANT, text).series["A"]
    assert (first.power_w, first.energy_wh) == (None, 10_000.0)
    assert (second.power_w, second.energy_wh) == (1000.0, None)


def test_unreadable_rows_are_reported_by_line_and_the_others_are_kept(
    tmp_path: Path,
) -> None:
    text = (
        "when,inverter,ac,total\n"
        "15-05-2020 06:15,A,1,10\n"
        "yesterday,A,1,10\n"
        "15-05-2020 06:30,,1,10\n"
        "15-05-2020 06:45,A,much,10\n"
        "15-05-2020 07:00,A,inf,10\n"
        "15-05-2020 07:15,A,,\n"
        "15-05-2020\n"
        "15-05-2020 07:30,A,1,11\n"
    )
    recording = recorded(tmp_path, PLANT, text)
    assert recording.readings == 2
    assert [problem.line for problem in recording.problems] == [3, 4, 5, 6, 7, 8]
    assert str(recording.problems[2]) == "line 5: ac 'much' is not a number"


def test_a_missing_column_is_reported_with_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(NothingToReplay, match="total; its columns are when, inverter, ac"):
        recorded(tmp_path, PLANT, "when,inverter,ac\n")


@pytest.mark.parametrize(
    "text", ["", "when,inverter,ac,total\n", "when,inverter,ac,total\nx,A,1,2"]
)
def test_a_file_without_a_reading_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(NothingToReplay):
        recorded(tmp_path, PLANT, text)


def test_a_missing_or_truncated_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingToReplay, match="cannot be read"):
        read(tmp_path / "none.csv", PLANT)
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(gzip.compress(b"when,inverter,ac,total\n" + b"x" * 999)[:40])
    with pytest.raises(NothingToReplay, match="cannot be read"):
        read(truncated, PLANT)


def test_a_compressed_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recording.csv.gz"
    path.write_bytes(
        gzip.compress("\ufeffwhen,inverter,ac,total\n15-05-2020 06:15,A,1,2\n".encode())
    )
    assert read(path, PLANT).readings == 1


def test_rows_are_sorted_by_time_and_repeated_ones_are_kept(tmp_path: Path) -> None:
    text = (
        "when,inverter,ac,total\n"
        "15-05-2020 06:30,A,1,11\n15-05-2020 06:15,A,1,10\n15-05-2020 06:15,A,1,10\n"
    )
    recording = recorded(tmp_path, PLANT, text)
    assert [reading.energy_wh for reading in recording.series["A"]] == [10_000, 10_000, 11_000]
    assert recording.repeated == 1


def test_only_selected_times_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recording.csv"
    path.write_text("when,inverter,ac,total\n15-05-2020 23:45,A,1,1\n16-05-2020 00:00,A,1,2\n")
    recording = read(path, PLANT, lambda shown: shown.day == 15)
    assert [reading.energy_wh for reading in recording.series["A"]] == [1000]


@pytest.mark.parametrize(
    ("time_format", "text"),
    [
        ("iso", "2026-03-01T12:00:00+05:30"),
        ("iso", "2026-03-01T06:30:00Z"),
        ("iso", "2026-03-01 12:00"),
        ("unix", "1772346600"),
        ("unix_ms", "1772346600000"),
        ("%Y%m%d%H%M", "202603011200"),
        ("%Y-%m-%d %H:%M %z", "2026-03-01 06:30 +0000"),
    ],
)
def test_times_are_read_in_every_format(tmp_path: Path, time_format: str, text: str) -> None:
    layout = Layout(device="d", time="t", time_format=time_format, zone="Asia/Kolkata", power="p")
    recording = recorded(tmp_path, layout, f"d,t,p\nA,{text},1\n")
    assert time_of(recording.series["A"][0]) == datetime(2026, 3, 1, 6, 30, tzinfo=UTC)


def test_a_wall_clock_time_needs_a_zone(tmp_path: Path) -> None:
    layout = Layout(device="d", time="t", power="p")
    with pytest.raises(NothingToReplay, match="no time zone was given"):
        recorded(tmp_path, layout, "d,t,p\nA,2026-03-01 12:00,1\n")


def test_an_unknown_zone_is_reported_by_line(tmp_path: Path) -> None:
    text = (
        "home,start,tz,minutes,pv,load\n"
        "A,2026-01-01 12:00,Mars/Olympus,30,1,1\nA,2026-01-01 12:00,../etc,30,1,1\n"
        "A,2026-01-01 12:00,UTC,30,1,1\n"
    )
    problems = recorded(tmp_path, HOMES, text).problems
    assert [problem.line for problem in problems] == [2, 3]


def test_the_second_row_of_a_repeated_hour_is_the_later_one(tmp_path: Path) -> None:
    hours = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    rows = [f"{device},2016-11-06 {hour},1\n" for hour in hours for device in "AB"]
    layout = Layout(device="d", time="t", zone="America/Los_Angeles", power="p")
    recording = recorded(tmp_path, layout, "d,t,p\n" + "".join(rows))
    begins = datetime(2016, 11, 6, 7, 30, tzinfo=UTC)
    for device in "AB":
        times = [time_of(reading) for reading in recording.series[device]]
        assert times == [begins + half * timedelta(minutes=30) for half in range(6)]


def test_a_skipped_hour_is_left_out_and_reported(tmp_path: Path) -> None:
    text = (
        "home,start,tz,minutes,pv,load\n"
        "A,2012-10-07 01:00,Australia/Sydney,60,0,219\n"
        "A,2012-10-07 02:00,Australia/Sydney,60,0,0\n"
        "A,2012-10-07 03:00,Australia/Sydney,60,0,169\n"
    )
    recording = recorded(tmp_path, HOMES, text)
    assert [problem.line for problem in recording.problems] == [3]
    times = [time_of(reading) for reading in recording.series["A"]]
    assert times == [datetime(2012, 10, 6, hour, tzinfo=UTC) for hour in (15, 16, 17)]


def test_problems_outside_the_selection_are_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "recording.csv"
    path.write_text(
        "home,start,tz,minutes,pv,load\n"
        "A,2012-10-07 02:00,Australia/Sydney,60,0,0\n"
        "A,2012-10-08 02:00,Australia/Sydney,60,0,0\n"
    )
    assert not read(path, HOMES, lambda shown: shown.day == 8).problems


def test_energy_per_interval_becomes_counters(tmp_path: Path) -> None:
    text = (
        "home,start,tz,minutes,pv,load\n"
        "A,2026-06-01 10:00,UTC,30,500,200\n"
        "A,2026-06-01 10:30,UTC,30,100,400\n"
        "A,2026-06-01 12:00,UTC,60,1000.1,0.3\n"
    )
    readings = recorded(tmp_path, HOMES, text).series["A"]
    rows = [
        (time_of(r).strftime("%H:%M"), r.power_w, r.energy_wh, r.export_wh, r.import_wh)
        for r in readings
    ]
    assert rows == [
        ("10:00", None, 0.0, 0.0, 0.0),
        ("10:30", 1000.0, 500.0, 300.0, 0.0),
        ("11:00", 200.0, 600.0, 300.0, 300.0),
        ("12:00", None, 600.0, 300.0, 300.0),
        ("13:00", 1000.1, 1600.1, 1299.8, 300.0),
    ]


def test_without_load_there_is_no_export_counter(tmp_path: Path) -> None:
    text = "home,start,tz,minutes,pv,load\nA,2026-06-01 10:00,UTC,30,500,\n"
    last = recorded(tmp_path, HOMES, text).series["A"][-1]
    assert (last.energy_wh, last.export_wh, last.import_wh) == (500.0, None, None)


def test_an_interval_without_load_counts_as_generated_and_not_as_surplus(tmp_path: Path) -> None:
    text = (
        "home,start,tz,minutes,pv,load\n"
        "A,2026-06-01 10:00,UTC,30,500,\nA,2026-06-01 10:30,UTC,30,500,100\n"
    )
    last = recorded(tmp_path, HOMES, text).series["A"][-1]
    assert (last.energy_wh, last.export_wh) == (1000.0, 400.0)


def test_an_interval_without_generation_or_length_is_reported_by_line(tmp_path: Path) -> None:
    text = (
        "home,start,tz,minutes,pv,load\n"
        "A,2026-06-01 10:00,UTC,30,,1\nA,2026-06-01 10:30,UTC,,5,1\n"
        "A,2026-06-01 11:00,UTC,30,-5,1\nA,2026-06-01 11:30,UTC,30,5,1\n"
    )
    assert [p.line for p in recorded(tmp_path, HOMES, text).problems] == [2, 3, 4]


intervals = st.lists(
    st.builds(
        IntervalEnergy,
        begins=st.integers(0, 30).map(
            lambda half: datetime(2026, 6, 1, tzinfo=UTC) + half * timedelta(minutes=30)
        ),
        duration=st.just(timedelta(minutes=30)),
        generated_wh=st.decimals(0, 5000, places=1),
        consumed_wh=st.decimals(0, 5000, places=1),
    ),
    min_size=1,
)


@given(intervals)
@settings(max_examples=100)
def test_counters_contain_each_interval_once_and_never_fall(recorded: list[IntervalEnergy]) -> None:
    readings, repeated = counters_of(recorded)
    first: dict[datetime, IntervalEnergy] = {}
    for interval in recorded:
        first.setdefault(interval.begins, interval)
    assert repeated == len(recorded) - len(first)
    zero = Decimal(0)
    generated = sum((interval.generated_wh for interval in first.values()), zero)
    surplus = sum((max(zero, s.generated_wh - (s.consumed_wh or 0)) for s in first.values()), zero)
    assert readings[-1].energy_wh == float(generated)
    assert readings[-1].export_wh == float(surplus)
    times = [time_of(reading) for reading in readings]
    assert times == sorted(set(times))
    exports = [reading.export_wh or 0.0 for reading in readings]
    assert exports == sorted(exports)


def test_a_recording_is_shifted_by_whole_slots_and_ends_now(tmp_path: Path) -> None:
    text = "when,inverter,ac,total\n15-05-2020 06:15,A,1,1\n15-05-2020 06:20,A,1,2\n"
    series = recorded(tmp_path, PLANT, text).series
    now = datetime(2026, 3, 1, 10, 7, 33, tzinfo=UTC)
    moved = shifted(series, now, align=False)["A"]
    assert timedelta(0) <= now - time_of(moved[-1]) < timedelta(minutes=15)
    for before, after in zip(series["A"], moved, strict=True):
        offset = time_of(before) - slot_of(time_of(before))
        assert time_of(after) - slot_of(time_of(after)) == offset


def test_aligned_devices_end_together_whatever_year_they_were_recorded_in(tmp_path: Path) -> None:
    text = (
        "home,start,tz,minutes,pv,load\n"
        "A,2016-08-01 23:00,America/Los_Angeles,60,0,1\n"
        "B,2012-07-01 23:00,Australia/Sydney,60,0,1\n"
    )
    series = recorded(tmp_path, HOMES, text).series
    now = datetime(2026, 3, 1, 10, tzinfo=UTC)
    aligned = shifted(series, now, align=True)
    assert time_of(aligned["A"][-1]) == time_of(aligned["B"][-1]) == now
    apart = shifted(series, now, align=False)
    assert time_of(apart["A"][-1]) == now > time_of(apart["B"][-1]) + timedelta(days=1000)


def test_the_peak_is_that_of_power_or_of_a_counter_read_late(tmp_path: Path) -> None:
    rows = [(0, 1.0, 100.0), (1, 1.4, 101.0), (2, 1.0, 102.5), (3, 1.0, 150.0), (4, 1.0, 151.0)]
    text = "".join(f"15-05-2020 {hour:02}:00,A,{ac},{total}\n" for hour, ac, total in rows)
    readings = recorded(tmp_path, PLANT, "when,inverter,ac,total\n" + text).series["A"]
    assert peak_w(readings) == 1500.0


def test_the_peak_of_a_recording_without_power_is_the_fastest_rise(tmp_path: Path) -> None:
    layout = Layout(device="d", time="t", zone="UTC", energy="e")
    text = "d,t,e\nA,2026-01-01 10:00,0\nA,2026-01-01 10:15,250\nA,2026-01-01 11:15,500\n"
    assert peak_w(recorded(tmp_path, layout, text).series["A"]) == 1000.0
