"""The energy that a device's capacity allows, and the advance on it."""

import pytest

from tests.support.accounting import generated_wh, intervals_of
from tests.support.meters import CAPACITY_W, reading


def test_a_rise_by_the_energy_of_the_capacity_plus_ten_watt_hours_is_measured() -> None:
    def credited_wh(rise_wh: float) -> float:
        intervals = intervals_of(
            reading(0, 1000.001), reading(1, 1000.001 + rise_wh), capacity_w=4800
        )
        return intervals[0].generated_mwh / 1000

    assert credited_wh(1.25 * 4800 / 60 + 10) == 110
    assert credited_wh(1.25 * 4800 / 60 + 10.001) == 0


@pytest.mark.parametrize("constant_wh", [0, 49_000, 50_000.5])
def test_a_night_without_a_rise_allows_the_energy_of_half_an_hour_before_its_last_reading(
    constant_wh: float,
) -> None:
    night = [reading(minute, constant_wh, power_w=0) for minute in range(5, 600, 5)]
    possible_wh = 1.25 * CAPACITY_W * 35 / 60 + 10
    for rise_wh, credited_wh in ((62_000, 0), (possible_wh + 1, 0), (possible_wh, possible_wh)):
        morning = reading(600, 50_000.5 + rise_wh)
        assert generated_wh(reading(0, 50_000.5), *night, morning) == pytest.approx(
            credited_wh, abs=0.001
        )


def test_readings_without_the_counter_allow_no_more_either() -> None:
    silent = [reading(minute, power_w=0) for minute in range(5, 600, 5)]
    assert generated_wh(reading(0, 50_000), *silent, reading(600, 112_000)) == 0
    assert generated_wh(reading(0, 50_000), *silent, reading(600, 53_000)) == 3000


def test_a_gap_allows_its_own_energy_and_that_of_half_an_hour_before() -> None:
    night = [reading(minute, 0, power_w=0) for minute in range(5, 600, 5)]
    # From minute 595 to 1195, and half an hour.
    assert generated_wh(reading(0, 50_000), *night, reading(1195, 115_000)) == 65_000
    assert generated_wh(reading(0, 50_000), *night, reading(1195, 117_000)) == 0


@pytest.mark.parametrize("step_wh", [100, 200, 250, 1000])
def test_one_resolution_step_of_a_coarse_counter_is_no_spike_at_any_time(step_wh: int) -> None:
    level_wh = 18_000_000
    assert generated_wh(reading(0, level_wh), reading(0.1, level_wh + step_wh)) == step_wh


def test_a_fine_counter_gets_no_advance_of_a_coarse_step() -> None:
    assert generated_wh(reading(0, 18_000_123), reading(0.1, 18_000_223)) == 0


def test_a_counter_that_updates_slowly_is_no_spike() -> None:
    # Readings every ten seconds, a new counter value every five minutes.
    shown = [
        reading(second / 60, 50_000.5 + 400 * (second // 300)) for second in range(0, 3601, 10)
    ]
    assert generated_wh(*shown) == 4800


def test_a_night_without_a_rise_allows_no_jump_at_dawn() -> None:
    night = [reading(minute, 50_000.5) for minute in range(0, 600, 5)]
    assert generated_wh(*night, reading(600, 60_000.5), reading(605, 50_001.5)) == 1


def test_ten_watt_hours_are_advanced_once_and_not_per_reading() -> None:
    greedy = [reading(second / 60, 50_000.5 + 9.5 * second) for second in range(0, 601)]
    assert generated_wh(*greedy) <= 1.25 * CAPACITY_W / 6 + 10


def test_steps_get_no_second_advance() -> None:
    greedy = [
        reading(2 * n, 100_000.001 - 2000 * (n // 17) + (n % 17 and 9 + 4.16 * (n % 17)))
        for n in range(170)
    ]
    total_mwh = sum(i.generated_mwh for i in intervals_of(*greedy, capacity_w=100).values())
    assert 500_000 < total_mwh <= 1.25 * 100 * 340 / 60 * 1000 + 10_000


def test_resets_get_no_second_advance() -> None:
    greedy = [reading(second / 60, 9.5 if second % 2 else 1.5) for second in range(0, 601)]
    assert generated_wh(*greedy) <= 1.25 * CAPACITY_W / 6 + 10


@pytest.mark.parametrize("capacity_w", [5e-324, 1e-9, 1e9])
def test_every_capacity_can_be_accounted(capacity_w: float) -> None:
    assert intervals_of(reading(0, 100), reading(1, 105), reading(2, 110), capacity_w=capacity_w)
