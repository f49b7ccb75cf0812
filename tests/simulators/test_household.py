"""Homes: energy balances to the microwatt-hour."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.homes import home_spec, new_meters, start_home
from simulators.household import Battery, Consumption, Home, Meters

BEGIN = datetime(2026, 3, 1, 6, tzinfo=UTC)

steps = st.lists(
    st.tuples(
        st.floats(0, 3600),  # seconds since the last
        st.floats(0, 8000),  # W of sun
        st.floats(0, 23.99),  # hour of the day
    ),
    min_size=1,
    max_size=40,
)


def home(seed: int, battery_wh: int) -> Home:
    rng = Random(seed)
    battery = Battery(battery_wh * 1_000_000, battery_wh / 2)
    return Home(rng, Consumption(rng, 150, 300), battery, Meters(), BEGIN)


@given(st.integers(0, 99), st.sampled_from([0, 5000]), steps)
@settings(max_examples=60)
def test_every_step_balances_and_no_meter_falls(
    seed: int, battery_wh: int, ticks: list[tuple[float, float, float]]
) -> None:
    house, at = home(seed, battery_wh), BEGIN
    for elapsed_s, power_w, hour in ticks:
        before, at = replace(house.meters), at + timedelta(seconds=elapsed_s)
        house.measure(at, power_w=power_w, hour=hour)
        meters = house.meters
        assert (
            meters.generated_uwh + meters.imported_uwh + meters.discharged_uwh
            == meters.drawn_uwh + meters.exported_uwh + meters.charged_uwh
        )
        assert all(
            now >= then
            for now, then in zip(asdict(meters).values(), asdict(before).values(), strict=True)
        )
        assert 0 <= house.battery.stored_uwh <= house.battery.capacity_uwh


@given(st.integers(0, 99), steps)
@settings(max_examples=30)
def test_a_battery_returns_less_than_it_was_charged_with(
    seed: int, ticks: list[tuple[float, float, float]]
) -> None:
    house, at = home(seed, 5000), BEGIN
    for elapsed_s, power_w, hour in ticks:
        at += timedelta(seconds=elapsed_s)
        house.measure(at, power_w=power_w, hour=hour)
    lost_uwh = house.meters.charged_uwh - house.meters.discharged_uwh - house.battery.stored_uwh
    assert 0 <= lost_uwh <= house.meters.charged_uwh * 8 // 100 + len(ticks)


def test_a_home_exports_at_a_sunny_noon_and_imports_at_night() -> None:
    house = home(1, 0)
    noon = house.measure(BEGIN + timedelta(minutes=1), power_w=6000, hour=12)
    night = house.measure(BEGIN + timedelta(minutes=2), power_w=0, hour=22)
    assert noon.export_wh is not None
    assert noon.export_wh > 30
    assert noon.export_wh == night.export_wh
    assert night.import_wh is not None
    assert night.import_wh > 0
    assert night.energy_wh == noon.energy_wh == 100.0


def test_a_time_in_the_past_adds_no_energy() -> None:
    house = home(1, 0)
    first = house.measure(BEGIN + timedelta(minutes=1), power_w=6000, hour=12)
    again = house.measure(BEGIN, power_w=6000, hour=12)
    assert again.energy_wh == first.energy_wh
    assert again.time == first.time


def test_a_home_is_the_same_for_the_same_seed_and_its_meters_start_high() -> None:
    assert home_spec(1, 5) == home_spec(1, 5)
    assert home_spec(1, 5) != home_spec(2, 5)
    house = start_home(home_spec(1, 5), new_meters(home_spec(1, 5)), BEGIN)
    reading = house.measure(BEGIN + timedelta(seconds=1), power_w=1000, hour=12)
    assert reading.energy_wh is not None
    assert reading.energy_wh > 1_000_000


def test_a_fleet_has_homes_with_and_without_batteries() -> None:
    batteries = {home_spec(1, index).battery_wh for index in range(50)}
    assert 0 in batteries
    assert len(batteries) > 1
