"""The energy accountant: each row of its table, then what must hold for every history."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.accounting import Accounted, advance
from core.intervals import Interval, Quality, Reason
from core.readings import Reading
from core.units import SLOT, slot_of
from tests.support.accounting import assert_a_checkpoint_gives_the_rest, fold
from tests.support.meters import CAPACITY_W, NOON, histories, honest_counters, reading


def account(*readings: Reading, capacity_w: float = CAPACITY_W) -> dict[int, Interval]:
    """Intervals by the minute, counted from noon, that their slot begins at."""
    accounted = advance(None, sorted(readings, key=lambda r: r.time), capacity_w)
    assert accounted is not None
    return {(slot - NOON) // timedelta(minutes=1): i for slot, i in accounted.intervals.items()}


def generated_wh(*readings: Reading) -> float:
    return sum(i.generated_mwh for i in account(*readings).values()) / 1000


def test_the_first_reading_counts_nothing() -> None:
    assert account(reading(1, 18_000_000)) == {}


def test_a_rise_counts_the_difference() -> None:
    assert account(reading(1, 1000), reading(6, 1250.5)) == {
        0: Interval(250_500, 250_500, Quality.MEASURED)
    }


def test_a_rise_is_shared_over_the_slots_it_spans_by_time() -> None:
    assert account(reading(10, 1000), reading(25, 1300)) == {
        0: Interval(100_000, 100_000, Quality.MEASURED),
        15: Interval(200_000, 200_000, Quality.MEASURED),
    }


def test_a_reading_on_the_border_of_slots_belongs_to_the_earlier_one() -> None:
    assert set(account(reading(0, 1000), reading(15, 1300))) == {0}


def test_surplus_is_what_was_exported_where_the_device_counts_that() -> None:
    intervals = account(reading(1, 1000, export_wh=500), reading(6, 1200, export_wh=530))
    assert intervals == {0: Interval(200_000, 30_000, Quality.MEASURED)}


def test_a_dip_counts_nothing_until_the_mark_is_passed() -> None:
    intervals = account(reading(1, 1000), reading(3, 950), reading(5, 990), reading(7, 1010))
    assert intervals == {0: Interval(10_000, 10_000, Quality.MEASURED, frozenset({Reason.DIP}))}


def test_a_reset_counts_the_new_value() -> None:
    intervals = account(reading(1, 1000), reading(3, 1020), reading(5, 40), reading(7, 100))
    assert intervals == {0: Interval(120_000, 120_000, Quality.MEASURED, frozenset({Reason.RESET}))}


def test_a_reset_to_more_than_could_be_generated_counts_nothing() -> None:
    assert generated_wh(reading(1, 100_000), reading(3, 50_000), reading(5, 50_010)) == 10


def test_zero_at_night_counts_nothing_and_keeps_the_mark() -> None:
    night = account(reading(1, 1000), reading(3, 0), reading(5, 0), reading(7, 1005))
    assert night == {0: Interval(5_000, 5_000, Quality.MEASURED, frozenset({Reason.ZERO}))}


def test_a_spike_counts_nothing_and_spoils_nothing() -> None:
    intervals = account(reading(1, 1000), reading(3, 4_294_967_295), reading(5, 1050))
    assert intervals == {0: Interval(50_000, 50_000, Quality.MEASURED, frozenset({Reason.SPIKE}))}


def test_a_slot_with_nothing_but_a_spike_is_rejected() -> None:
    intervals = account(reading(1, 1000), reading(3, 4_294_967_295))
    assert intervals == {0: Interval(0, 0, Quality.REJECTED, frozenset({Reason.SPIKE}))}


def test_three_readings_in_a_row_make_a_new_level_without_credit() -> None:
    jump = [reading(3, 900_000), reading(5, 900_010), reading(7, 900_020)]
    assert generated_wh(reading(1, 1000), *jump) == 0
    assert generated_wh(reading(1, 1000), *jump, reading(9, 900_050)) == 30


def test_readings_that_disagree_with_each_other_make_no_new_level() -> None:
    jumps = [reading(3, 900_000), reading(5, 2_000_000), reading(7, 5_000_000)]
    assert generated_wh(reading(1, 1000), *jumps, reading(9, 1040)) == 40


def test_a_jump_does_not_become_possible_by_waiting_with_readings_in_between() -> None:
    # 8 kWh in one minute; two hours later 5 kW could have made them.
    waiting = [reading(minute, 9000.5) for minute in (1, 41, 81, 121)]
    assert generated_wh(reading(0, 1000), *waiting, reading(126, 9010.5)) == 10


def test_a_reading_that_is_possible_again_ends_a_spike() -> None:
    # Of a logger that is slightly late, at plate capacity: the third reading waited a little.
    levels = [100_001, 100_204, 100_561, 100_702, 100_903, 101_105]
    logged = [reading(15 * n, level) for n, level in enumerate(levels)]
    intervals = account(*logged, capacity_w=1000)
    assert sum(i.generated_mwh for i in intervals.values()) == 1_104_000
    assert all(i.quality is Quality.MEASURED for i in intervals.values())
    assert [i.generated_mwh for i in intervals.values()] == [
        203_000, 249_000, 249_000, 201_000, 202_000,
    ]  # fmt: skip


def test_two_spikes_and_a_possible_reading_between_them_make_no_new_level() -> None:
    garbage = [reading(3, 900_000), reading(5, 1020), reading(7, 900_010), reading(9, 900_020)]
    assert generated_wh(reading(1, 1000), *garbage, reading(11, 1040)) == 40


def test_a_rise_by_what_the_capacity_makes_and_ten_watt_hours_is_measured() -> None:
    def credited_wh(rise_wh: float) -> float:
        intervals = account(reading(0, 1000.001), reading(1, 1000.001 + rise_wh), capacity_w=4800)
        return intervals[0].generated_mwh / 1000

    assert credited_wh(1.25 * 4800 / 60 + 10) == 110
    assert credited_wh(1.25 * 4800 / 60 + 10.001) == 0


def test_three_garbage_readings_that_agree_cost_energy_but_invent_none() -> None:
    garbage = [reading(m, 4_294_967_295) for m in (3, 5, 7)]
    back = [reading(9, 18_000_090), reading(11, 18_000_120)]
    intervals = account(reading(1, 18_000_000), *garbage, *back)
    assert intervals == {
        0: Interval(30_000, 30_000, Quality.MEASURED, frozenset({Reason.SPIKE, Reason.RESET}))
    }


def test_a_young_counter_that_comes_back_from_garbage_is_not_credited_again() -> None:
    young = [reading(0, 18_000_000), reading(5, 30), reading(10, 300)]
    garbage = [reading(minute, 4_294_967_295) for minute in (15, 20, 25, 30)]
    assert generated_wh(*young, *garbage) == 300
    assert generated_wh(*young, *garbage, reading(50, 900)) == 900
    assert generated_wh(*young, *garbage, reading(50, 295), reading(55, 310)) == 310
    assert generated_wh(*young, *garbage, reading(50, 25), reading(55, 30)) == 330


def test_a_young_counter_that_counts_on_in_garbage_is_not_credited_again() -> None:
    young = [reading(0, 18_000_000), reading(5, 30), reading(10, 300)]
    garbage = [reading(minute, 1e9 + 10 * minute) for minute in (15, 20, 25, 30)]
    assert generated_wh(*young, *garbage) == 350
    assert generated_wh(*young, *garbage, reading(50, 400)) == 400


def test_garbage_that_stands_is_marked_up_to_where_the_counter_comes_back() -> None:
    garbage = [reading(minute, 4_294_967_295, power_w=4000) for minute in (10, 20, 30, 40, 50)]
    back = reading(60, 18_004_000, power_w=4000)
    intervals = account(reading(0, 18_000_000, power_w=4000), *garbage, back)
    assert [interval.reasons for interval in intervals.values()] == [
        {Reason.SPIKE}, {Reason.SPIKE}, {Reason.RESET}, {Reason.RESET}
    ]  # fmt: skip


def test_a_reset_right_after_a_spike_counts_the_new_value() -> None:
    assert generated_wh(reading(1, 90_000), reading(3, 9e9), reading(5, 40), reading(7, 60)) == 60


def test_a_counter_wider_than_32_bits_counts_as_any_other() -> None:
    assert generated_wh(reading(0, 7.6e9), reading(5, 7.6e9 + 123.456)) == 123.456


def test_32_bits_that_underflow_are_a_spike() -> None:
    assert generated_wh(reading(0, 200), reading(1, 4_294_967_295), reading(2, 230)) == 30


def test_a_counter_that_starts_again_at_midnight_is_counted_through() -> None:
    evening, midnight = reading(0, 21_000), reading(5, 0)
    assert generated_wh(evening, midnight, reading(10, 0), reading(15, 80), reading(20, 160)) == 160


def test_energy_made_while_the_counter_read_zero_counts_when_it_returns() -> None:
    restarted = [reading(minute, 0) for minute in range(1, 30)]
    assert generated_wh(reading(0, 50_000), *restarted, reading(30, 53_000)) == 3000


@pytest.mark.parametrize("stood_at", [0, 49_000, 50_000.5])
def test_a_night_of_whatever_excuses_no_more_than_half_an_hour_before_its_last_reading(
    stood_at: float,
) -> None:
    night = [reading(minute, stood_at, power_w=0) for minute in range(5, 600, 5)]
    possible_wh = 1.25 * CAPACITY_W * 35 / 60 + 10
    for rise_wh, counted_wh in ((62_000, 0), (possible_wh + 1, 0), (possible_wh, possible_wh)):
        morning = reading(600, 50_000.5 + rise_wh)
        assert generated_wh(reading(0, 50_000.5), *night, morning) == pytest.approx(
            counted_wh, abs=0.001
        )


def test_readings_that_do_not_tell_a_counter_excuse_no_more_either() -> None:
    silent = [reading(minute, power_w=0) for minute in range(5, 600, 5)]
    assert generated_wh(reading(0, 50_000), *silent, reading(600, 112_000)) == 0
    assert generated_wh(reading(0, 50_000), *silent, reading(600, 53_000)) == 3000


def test_a_gap_excuses_what_was_made_in_it_and_in_half_an_hour_before() -> None:
    night = [reading(minute, 0, power_w=0) for minute in range(5, 600, 5)]
    # 595 → 1195, and 30 minutes.
    assert generated_wh(reading(0, 50_000), *night, reading(1195, 115_000)) == 65_000
    assert generated_wh(reading(0, 50_000), *night, reading(1195, 117_000)) == 0


def test_a_counter_that_returns_from_zero_a_little_lower_is_a_dip() -> None:
    history = [reading(0, 50_000), reading(5, 0), reading(10, 49_990), reading(15, 50_020)]
    assert generated_wh(*history) == 20
    assert account(*history)[0].reasons == {Reason.ZERO, Reason.DIP}


def test_a_counter_that_returns_from_zero_with_more_than_possible_is_a_spike() -> None:
    assert generated_wh(reading(0, 50_000), reading(5, 0), reading(10, 90_000)) == 0


def test_a_dip_in_a_gap_counts_nothing_until_the_mark_is_passed() -> None:
    history = [reading(0, 50_000), reading(60, 49_000), reading(120, 51_000)]
    assert generated_wh(*history) == 1000
    assert account(*history)[0] == Interval(0, 0, Quality.INTERPOLATED, frozenset({Reason.DIP}))


def test_generation_and_export_are_reset_independently() -> None:
    intervals = account(
        reading(0, 50_000, export_wh=20_000),
        reading(5, 50_100, export_wh=10),
        reading(10, 30, export_wh=25),
    )
    assert intervals == {0: Interval(130_000, 25_000, Quality.MEASURED, frozenset({Reason.RESET}))}


def test_power_beside_a_counter_that_is_silent_for_a_while_counts_nothing() -> None:
    silent = [reading(minute, power_w=3000) for minute in (5, 10)]
    assert generated_wh(reading(0, 1000, power_w=3000), *silent, reading(15, 1750)) == 750


@pytest.mark.parametrize("count_wh", [100, 200, 250, 1000])
def test_one_count_of_a_coarse_counter_is_no_spike_however_soon_it_comes(count_wh: int) -> None:
    level_wh = 18_000_000
    assert generated_wh(reading(0, level_wh), reading(0.1, level_wh + count_wh)) == count_wh


def test_a_count_of_a_fine_counter_is_no_excuse() -> None:
    assert generated_wh(reading(0, 18_000_123), reading(0.1, 18_000_223)) == 0


def test_a_counter_that_is_slow_to_show_is_no_spike() -> None:
    # Power and the like every ten seconds, the counter every five minutes.
    shown = [
        reading(second / 60, 50_000.5 + 400 * (second // 300)) for second in range(0, 3601, 10)
    ]
    assert generated_wh(*shown) == 4800


def test_a_night_of_standing_still_excuses_no_jump_at_dawn() -> None:
    night = [reading(minute, 50_000.5) for minute in range(0, 600, 5)]
    assert generated_wh(*night, reading(600, 60_000.5), reading(605, 50_001.5)) == 1


def test_a_counter_that_has_only_shown_zero_begins_with_what_it_shows_next() -> None:
    night = [reading(minute, 0) for minute in (0, 5, 10)]
    morning = [reading(15, 18_000_000), reading(20, 18_000_040), reading(25, 18_000_100)]
    assert generated_wh(*night, *morning[:1]) == 0
    assert generated_wh(*night, *morning) == 100
    assert account(*night, *morning) == {
        0: Interval(0, 0, Quality.REJECTED, frozenset({Reason.SPIKE})),
        15: Interval(100_000, 100_000, Quality.MEASURED),
    }


def test_a_counter_that_begins_at_zero_is_counted_from_there() -> None:
    assert generated_wh(reading(0, 0), reading(5, 0), reading(10, 60), reading(15, 130)) == 130


def test_garbage_after_a_first_zero_spoils_nothing() -> None:
    garbage = [reading(5, 4_294_967_295)]
    assert generated_wh(reading(0, 0), *garbage, reading(10, 60), reading(15, 130)) == 130
    twice = [*garbage, reading(6, 4_294_967_295)]
    assert generated_wh(reading(0, 0), *twice, reading(15, 130), reading(20, 150)) == 150


def test_a_counter_at_zero_that_counts_on_in_garbage_is_not_credited_again() -> None:
    garbage = [reading(minute, 1e9 + wh) for minute, wh in ((5, 0), (10, 0), (15, 0), (20, 190))]
    assert generated_wh(reading(0, 0), *garbage) == 190
    assert generated_wh(reading(0, 0), *garbage, reading(25, 400), reading(30, 450)) == 450
    restarted = [reading(0, 18_000_000), reading(2, 0), *garbage, reading(25, 400)]
    assert generated_wh(*restarted, reading(30, 450)) == 450


def test_a_meter_that_woke_at_zero_steps_down_and_back_without_loss() -> None:
    woken = [reading(0, 0), reading(5, 19_100_000), reading(10, 19_100_050)]
    low = [reading(minute, 17_900_000 + minute) for minute in range(15, 60, 5)]
    assert generated_wh(*woken, *low) == 90
    assert generated_wh(*woken, *low, reading(65, 19_100_100)) == 100


def test_a_counter_that_has_only_shown_zero_is_not_billed_its_life_while_power_flows() -> None:
    asleep = [reading(minute, 0, power_w=4000) for minute in range(0, 240, 5)]
    awake = [reading(240, 9000, power_w=4000), reading(245, 9300, power_w=4000)]
    assert generated_wh(*asleep, *awake) == 300


def stands(minutes: int, level_wh: float = 50_000.5, **fields: float) -> list[Reading]:
    """A counter that stands still from noon on while power says that it should not."""
    return [reading(minute, level_wh, power_w=4000, **fields) for minute in range(0, minutes, 5)]


def test_a_counter_that_catches_up_after_standing_still_is_credited_where_it_stood() -> None:
    intervals = account(*stands(60), reading(60, 53_000.5, power_w=4000))
    assert intervals == {
        slot: Interval(750_000, 750_000, Quality.INTERPOLATED, frozenset({Reason.GAP}))
        for slot in range(0, 60, 15)
    }


def test_a_counter_that_stood_still_catches_up_with_half_an_hour_and_no_more() -> None:
    assert generated_wh(*stands(240), reading(240, 53_600.5, power_w=4000)) == 3600
    assert generated_wh(*stands(240), reading(240, 66_000.5, power_w=4000)) == 0


def test_slots_in_which_a_counter_stood_still_say_so_whatever_comes_of_it() -> None:
    gap = Interval(0, 0, Quality.MISSING, frozenset({Reason.GAP}))
    stood = stands(95)
    assert account(*stood) == dict.fromkeys(range(0, 90, 15), gap)
    refused = account(*stood, reading(95, 90_000.5, power_w=4000))
    assert all(Reason.SPIKE in interval.reasons for interval in refused.values())
    lost = account(*stood, reading(95, 50_100.5, power_w=4000))
    assert generated_wh(*stood, reading(95, 50_100.5, power_w=4000)) == 100
    assert all(i.reasons == {Reason.GAP} for i in lost.values())


def test_a_counter_that_froze_in_the_afternoon_catches_up_at_dawn() -> None:
    night = [reading(minute, 50_000.5, power_w=0) for minute in range(240, 960, 5)]
    assert generated_wh(*stands(240), *night, reading(960, 53_500.5, power_w=50)) == 3500


def test_what_an_inverter_draws_at_night_excuses_no_jump_at_dawn() -> None:
    night = [reading(minute, 50_000.5, power_w=20) for minute in range(0, 600, 5)]
    assert generated_wh(*night, reading(600, 60_000.5), reading(605, 50_001.5)) == 1
    assert {i.quality for i in account(*night).values()} == {Quality.MEASURED}


def test_export_that_stands_still_is_no_gap_unless_the_whole_meter_does() -> None:
    at_home = [
        reading(minute, 50_000.5 + 30 * minute, export_wh=700.5, power_w=2000)
        for minute in range(0, 180, 5)
    ]
    assert {(i.quality, i.reasons) for i in account(*at_home).values()} == {
        (Quality.MEASURED, frozenset())
    }
    caught_up = reading(120, 53_000.5, export_wh=3200.5, power_w=4000)
    intervals = account(*stands(120, export_wh=700.5), caught_up)
    assert sum(i.surplus_mwh for i in intervals.values()) == 2_500_000
    assert {(i.quality, i.reasons) for i in intervals.values()} == {
        (Quality.INTERPOLATED, frozenset({Reason.GAP}))
    }


@pytest.mark.parametrize("count_wh", [100, 1000])
def test_a_coarse_counter_that_shows_its_counts_late_is_measured_all_the_same(
    count_wh: int,
) -> None:
    power_w = 150
    shown = [
        reading(minute, count_wh * (5000 + int(power_w * minute / 60 / count_wh)), power_w=power_w)
        for minute in range(0, 1200, 5)
    ]
    intervals = account(*shown)
    assert {i.quality for i in intervals.values()} == {Quality.MEASURED}
    assert generated_wh(*shown) == power_w * 1195 / 60 // count_wh * count_wh


def inverter(minutes: range, level_wh: float, per_minute_wh: float = 4) -> list[Reading]:
    """A counter of the 17 MWh kind, every so many minutes."""
    return [reading(m, level_wh + per_minute_wh * (m - minutes.start)) for m in minutes]


def test_a_counter_that_steps_down_earns_from_its_first_low_reading_on() -> None:
    before, after = inverter(range(0, 31, 5), 19_100_000), inverter(range(35, 120, 5), 17_900_000)
    intervals = account(*before, *after)
    assert sum(i.generated_mwh for i in intervals.values()) == 120_000 + 320_000
    # Each in the slot that it rose in.
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
def test_what_falls_by_less_than_an_hour_of_its_capacity_or_a_kilowatt_hour_only_dips(
    mark_wh: float, fall_wh: float
) -> None:
    capacity_w = 5000 if fall_wh == 5000 else 100
    high, low = reading(0, mark_wh), mark_wh - fall_wh
    steps = [reading(5 + 15 * n, low - 0.001 + n) for n in range(4)]
    dips = [reading(5 + 15 * n, low + 0.001 + n) for n in range(4)]
    stepped = account(high, *steps, capacity_w=capacity_w)
    assert sum(i.generated_mwh for i in stepped.values()) == 3000
    assert sum(i.generated_mwh for i in account(high, *dips, capacity_w=capacity_w).values()) == 0


def test_low_readings_that_rise_by_more_than_is_possible_are_no_step() -> None:
    lows = [reading(5 + 15 * n, 17_900_000 + 3000 * n) for n in range(8)]
    assert generated_wh(reading(0, 19_100_000), *lows) == 0


def test_readings_of_zero_a_spike_and_a_little_dip_interrupt_no_step() -> None:
    low = inverter(range(5, 125, 10), 17_900_000)
    noise = [reading(8, 0), reading(18, 4_294_967_295), reading(28, 17_899_990), reading(38, 0)]
    assert generated_wh(reading(0, 19_100_000), *low, *noise) == 440


def test_a_step_over_a_night_of_zeros_costs_nothing_but_what_nobody_saw() -> None:
    evening = inverter(range(0, 31, 5), 19_100_000)
    zeros = [reading(minute, 0) for minute in range(35, 600, 5)]
    assert generated_wh(*evening, *zeros, *inverter(range(600, 700, 5), 17_900_000)) == 120 + 380


def test_a_counter_that_steps_down_again_and_again_goes_on_earning() -> None:
    days = [
        reading(1440 * day + 5 * n, 19_100_000 - 1_200_000 * day + 20 * n)
        for day in range(10)
        for n in range(100)
    ]
    assert generated_wh(*days) == 10 * 99 * 20


def test_a_jump_back_up_from_a_step_credits_only_what_exceeds_what_was_earned() -> None:
    low = inverter(range(5, 125, 10), 17_900_000)
    stepped = [reading(0, 19_100_000), *low]
    assert generated_wh(*stepped) == 440
    assert generated_wh(*stepped, reading(125, 19_100_500), reading(130, 19_100_510)) == 510
    # It did not count, up there, what it counted down here.
    behind = [reading(125 + n, 19_100_000 + 20 * n) for n in range(30)]
    assert generated_wh(*stepped, *behind) == 580
    assert generated_wh(*stepped, reading(125, 19_200_000)) == 440


def test_a_jump_back_up_is_not_credited_twice_after_a_gap_that_makes_it_possible() -> None:
    stepped = [reading(0, 100_000), *inverter(range(5, 65, 10), 94_000)]
    assert generated_wh(*stepped) == 200
    assert generated_wh(*stepped, reading(600, 100_700)) == 700
    # Without it that would have been possible.
    assert generated_wh(reading(55, 94_200), reading(600, 100_700)) == 6500


def test_a_counter_that_counts_up_past_where_it_stepped_down_from_goes_on_earning() -> None:
    up = inverter(range(5, 805, 5), 94_000, 10)
    assert up[-1].energy_wh > 100_000
    assert generated_wh(reading(0, 100_000), *up, reading(1200, 111_940)) == 17_940


def test_ten_watt_hours_are_lent_once_and_not_with_each_reading() -> None:
    greedy = [reading(second / 60, 50_000.5 + 9.5 * second) for second in range(0, 601)]
    assert generated_wh(*greedy) <= 1.25 * CAPACITY_W / 6 + 10


def test_steps_lend_nothing_twice() -> None:
    greedy = [
        reading(2 * n, 100_000.001 - 2000 * (n // 17) + (n % 17 and 9 + 4.16 * (n % 17)))
        for n in range(170)
    ]
    total_mwh = sum(i.generated_mwh for i in account(*greedy, capacity_w=100).values())
    assert 500_000 < total_mwh <= 1.25 * 100 * 340 / 60 * 1000 + 10_000


def test_resets_lend_nothing_twice() -> None:
    greedy = [reading(second / 60, 9.5 if second % 2 else 1.5) for second in range(0, 601)]
    assert generated_wh(*greedy) <= 1.25 * CAPACITY_W / 6 + 10


@pytest.mark.parametrize("capacity_w", [5e-324, 1e-9, 1e9])
def test_any_capacity_can_be_accounted_with(capacity_w: float) -> None:
    assert account(reading(0, 100), reading(1, 105), reading(2, 110), capacity_w=capacity_w)


def test_a_gap_is_spread_evenly_and_says_so() -> None:
    intervals = account(reading(0, 1000), reading(60, 2000))
    assert intervals == {
        slot: Interval(250_000, 250_000, Quality.INTERPOLATED, frozenset({Reason.GAP}))
        for slot in (0, 15, 30, 45)
    }


def test_power_alone_is_an_estimate_that_is_not_for_sale() -> None:
    intervals = account(reading(0, power_w=1200), reading(5, power_w=2400))
    assert intervals == {
        0: Interval(150_000, 150_000, Quality.ESTIMATED, frozenset({Reason.POWER_ONLY}))
    }
    assert intervals[0].sellable_wh == 0


def test_power_alone_far_apart_is_missing() -> None:
    assert account(reading(0, power_w=1200), reading(6, power_w=2400)) == {
        0: Interval(0, 0, Quality.MISSING, frozenset({Reason.GAP}))
    }


def test_power_is_not_counted_beside_a_counter() -> None:
    assert generated_wh(reading(0, 1000, power_w=1200), reading(5, 1090, power_w=2400)) == 90


# What must hold for every history --------------------------------------------------------------


@given(histories(), st.lists(st.integers(0, 40), max_size=5))
def test_batches_may_be_cut_anywhere(history: list[Reading], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(history)]
    parts = [history[a:b] for a, b in pairwise(edges)]
    assert fold(None, parts) == fold(None, [history])


@given(histories(), st.data())
def test_folding_from_a_checkpoint_gives_every_slot_from_there_on_whole(
    history: list[Reading], data: st.DataObject
) -> None:
    assert_a_checkpoint_gives_the_rest(history, data)


@given(histories(), st.data())
def test_what_is_settled_is_not_touched_again(history: list[Reading], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(history)))
    account = fold(None, [history[:cut]]).account
    later = fold(account, [history[cut:]])
    assert all(slot + SLOT > account.settled_until for slot in later.intervals)


@given(histories())
def test_never_more_than_the_capacity_allows(history: list[Reading]) -> None:
    accounted = advance(None, history, CAPACITY_W)
    assert accounted is not None
    total_mwh = sum(i.generated_mwh for i in accounted.intervals.values())
    hours = (history[-1].time - history[0].time) / timedelta(hours=1)
    one_count_mwh = 1_000_000
    assert total_mwh <= 1.25 * CAPACITY_W * hours * 1000 + one_count_mwh


@given(histories())
def test_every_slot_between_the_first_and_the_last_counter_value_is_accounted_for(
    history: list[Reading],
) -> None:
    counted = [r.time for r in history if r.energy_wh is not None]
    accounted = advance(None, history, CAPACITY_W)
    assert accounted is not None
    if len(counted) < 2:
        return
    slot = slot_of(counted[0])
    while slot < counted[-1]:
        assert slot in accounted.intervals
        slot += SLOT


@given(honest_counters())
def test_an_honest_counter_is_credited_to_its_last_count(history: list[Reading]) -> None:
    rose_wh = history[-1].energy_wh - history[0].energy_wh
    assert generated_wh(*history) == pytest.approx(rose_wh, abs=0.001)


def test_nothing_to_account_is_nothing() -> None:
    assert advance(None, [], CAPACITY_W) is None


@pytest.mark.parametrize("minutes", [1, 15, 16, 31, 1000])
def test_energy_is_shared_to_the_last_milliwatt_hour(minutes: int) -> None:
    accounted = advance(None, [reading(0.1, 0.001), reading(minutes, 7.778)], CAPACITY_W)
    assert isinstance(accounted, Accounted)
    assert sum(i.generated_mwh for i in accounted.intervals.values()) == 7777
