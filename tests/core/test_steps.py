"""A counter that steps down: the run of low readings that proves it, and its energy."""

import pytest

from core.intervals import Quality, Reason
from core.readings import Reading
from tests.support.accounting import generated_wh, intervals_of
from tests.support.meters import reading


def inverter(minutes: range, level_wh: float, per_minute_wh: float = 4) -> list[Reading]:
    """Return readings at given minutes of a counter that rises evenly."""
    return [reading(m, level_wh + per_minute_wh * (m - minutes.start)) for m in minutes]


def test_a_counter_that_steps_down_is_credited_from_its_first_low_reading_on() -> None:
    before, after = inverter(range(0, 31, 5), 19_100_000), inverter(range(35, 120, 5), 17_900_000)
    intervals = intervals_of(*before, *after)
    assert sum(i.generated_mwh for i in intervals.values()) == 120_000 + 320_000
    # Each rise is credited in its own slot.
    assert [i.generated_mwh for i in intervals.values()] == [
        *[60_000] * 2, 40_000, *[60_000] * 4, 40_000,
    ]  # fmt: skip
    assert {i.quality for i in intervals.values()} == {Quality.MEASURED}
    assert intervals[45].reasons == {Reason.DIP, Reason.STEP}
    assert intervals[75].reasons == frozenset()


def test_a_step_takes_three_readings_that_rise_over_half_an_hour() -> None:
    high = reading(0, 19_100_000)
    lows = inverter(range(5, 70, 15), 17_900_000)
    assert [generated_wh(high, *lows[:n]) for n in range(1, 6)] == [0, 0, 120, 180, 240]
    soon = inverter(range(5, 34), 17_900_000)
    assert generated_wh(high, *soon) == 0
    assert generated_wh(high, *soon, reading(35, 17_900_120)) == 120
    stuck = [reading(minute, 17_900_000) for minute in range(5, 200, 5)]
    assert generated_wh(high, *stuck, reading(200, 17_900_020)) == 0
    assert generated_wh(high, *stuck, reading(200, 17_900_020), reading(205, 17_900_040)) == 40


@pytest.mark.parametrize(("mark_wh", "fall_wh"), [(19_100_000, 5000), (100_000, 1000.001)])
def test_a_fall_by_less_than_an_hour_of_the_capacity_or_a_kilowatt_hour_is_a_dip(
    mark_wh: float, fall_wh: float
) -> None:
    capacity_w = 5000 if fall_wh == 5000 else 100
    high, low = reading(0, mark_wh), mark_wh - fall_wh
    steps = [reading(5 + 15 * n, low - 0.001 + n) for n in range(4)]
    dips = [reading(5 + 15 * n, low + 0.001 + n) for n in range(4)]
    stepped = intervals_of(high, *steps, capacity_w=capacity_w)
    assert sum(i.generated_mwh for i in stepped.values()) == 3000
    assert (
        sum(i.generated_mwh for i in intervals_of(high, *dips, capacity_w=capacity_w).values()) == 0
    )


def test_low_readings_with_impossible_rises_are_no_step() -> None:
    lows = [reading(5 + 15 * n, 17_900_000 + 3000 * n) for n in range(8)]
    assert generated_wh(reading(0, 19_100_000), *lows) == 0


def test_zeros_a_spike_and_a_small_dip_do_not_interrupt_a_step() -> None:
    low = inverter(range(5, 125, 10), 17_900_000)
    noise = [reading(8, 0), reading(18, 4_294_967_295), reading(28, 17_899_990), reading(38, 0)]
    assert generated_wh(reading(0, 19_100_000), *low, *noise) == 440


def test_a_step_over_a_night_of_zeros_loses_only_the_unread_energy() -> None:
    evening = inverter(range(0, 31, 5), 19_100_000)
    zeros = [reading(minute, 0) for minute in range(35, 600, 5)]
    assert generated_wh(*evening, *zeros, *inverter(range(600, 700, 5), 17_900_000)) == 120 + 380


def test_a_counter_that_steps_down_repeatedly_is_still_credited() -> None:
    days = [
        reading(1440 * day + 5 * n, 19_100_000 - 1_200_000 * day + 20 * n)
        for day in range(10)
        for n in range(100)
    ]
    assert generated_wh(*days) == 10 * 99 * 20


def test_a_meter_that_started_at_zero_steps_down_and_back_without_loss() -> None:
    woken = [reading(0, 0), reading(5, 19_100_000), reading(10, 19_100_050)]
    low = [reading(minute, 17_900_000 + minute) for minute in range(15, 60, 5)]
    assert generated_wh(*woken, *low) == 90
    assert generated_wh(*woken, *low, reading(65, 19_100_100)) == 100


def test_a_jump_back_up_from_a_step_credits_only_the_energy_above_all_credits() -> None:
    low = inverter(range(5, 125, 10), 17_900_000)
    stepped = [reading(0, 19_100_000), *low]
    assert generated_wh(*stepped) == 440
    assert generated_wh(*stepped, reading(125, 19_100_500), reading(130, 19_100_510)) == 510
    # The upper level does not include the energy counted at the lower one.
    behind = [reading(125 + n, 19_100_000 + 20 * n) for n in range(30)]
    assert generated_wh(*stepped, *behind) == 580
    assert generated_wh(*stepped, reading(125, 19_200_000)) == 440


def test_a_jump_back_up_is_not_credited_twice_after_a_gap_that_makes_it_possible() -> None:
    stepped = [reading(0, 100_000), *inverter(range(5, 65, 10), 94_000)]
    assert generated_wh(*stepped) == 200
    assert generated_wh(*stepped, reading(600, 100_700)) == 700
    # Without the step, this rise would be possible.
    assert generated_wh(reading(55, 94_200), reading(600, 100_700)) == 6500


def test_a_counter_that_rises_past_the_mark_it_stepped_down_from_is_still_credited() -> None:
    up = inverter(range(5, 805, 5), 94_000, 10)
    assert up[-1].energy_wh > 100_000
    assert generated_wh(reading(0, 100_000), *up, reading(1200, 111_940)) == 17_940
