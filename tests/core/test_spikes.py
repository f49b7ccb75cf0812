"""Spikes and garbage: values of a counter that are too high to be possible."""

from core.intervals import Interval, Quality, Reason
from tests.support.accounting import generated_wh, intervals_of
from tests.support.meters import reading


def test_a_spike_credits_nothing_and_leaves_later_readings_unaffected() -> None:
    intervals = intervals_of(reading(1, 1000), reading(3, 4_294_967_295), reading(5, 1050))
    assert intervals == {0: Interval(50_000, 50_000, Quality.MEASURED, frozenset({Reason.SPIKE}))}


def test_a_slot_with_only_a_spike_is_rejected() -> None:
    intervals = intervals_of(reading(1, 1000), reading(3, 4_294_967_295))
    assert intervals == {0: Interval(0, 0, Quality.REJECTED, frozenset({Reason.SPIKE}))}


def test_a_possible_reading_ends_a_spike() -> None:
    # Readings of a slightly late logger at full capacity: the third reading is late.
    levels = [100_001, 100_204, 100_561, 100_702, 100_903, 101_105]
    logged = [reading(15 * n, level) for n, level in enumerate(levels)]
    intervals = intervals_of(*logged, capacity_w=1000)
    assert sum(i.generated_mwh for i in intervals.values()) == 1_104_000
    assert all(i.quality is Quality.MEASURED for i in intervals.values())
    assert [i.generated_mwh for i in intervals.values()] == [
        203_000, 249_000, 249_000, 201_000, 202_000,
    ]  # fmt: skip


def test_an_underflow_of_32_bits_is_a_spike() -> None:
    assert generated_wh(reading(0, 200), reading(1, 4_294_967_295), reading(2, 230)) == 30


def test_three_consecutive_readings_make_a_new_level_without_credit() -> None:
    jump = [reading(3, 900_000), reading(5, 900_010), reading(7, 900_020)]
    assert generated_wh(reading(1, 1000), *jump) == 0
    assert generated_wh(reading(1, 1000), *jump, reading(9, 900_050)) == 30


def test_readings_that_disagree_make_no_new_level() -> None:
    jumps = [reading(3, 900_000), reading(5, 2_000_000), reading(7, 5_000_000)]
    assert generated_wh(reading(1, 1000), *jumps, reading(9, 1040)) == 40


def test_spikes_interrupted_by_a_possible_reading_make_no_new_level() -> None:
    garbage = [reading(3, 900_000), reading(5, 1020), reading(7, 900_010), reading(9, 900_020)]
    assert generated_wh(reading(1, 1000), *garbage, reading(11, 1040)) == 40


def test_a_jump_does_not_become_possible_while_readings_repeat_it() -> None:
    # A jump of 8 kWh in one minute: within two hours 5 kW could generate it.
    waiting = [reading(minute, 9000.5) for minute in (1, 41, 81, 121)]
    assert generated_wh(reading(0, 1000), *waiting, reading(126, 9010.5)) == 10


def test_three_garbage_readings_that_agree_lose_energy_but_credit_none() -> None:
    garbage = [reading(m, 4_294_967_295) for m in (3, 5, 7)]
    back = [reading(9, 18_000_090), reading(11, 18_000_120)]
    intervals = intervals_of(reading(1, 18_000_000), *garbage, *back)
    assert intervals == {
        0: Interval(30_000, 30_000, Quality.MEASURED, frozenset({Reason.SPIKE, Reason.RESET}))
    }


def test_a_young_counter_that_returns_from_garbage_is_not_credited_twice() -> None:
    young = [reading(0, 18_000_000), reading(5, 30), reading(10, 300)]
    garbage = [reading(minute, 4_294_967_295) for minute in (15, 20, 25, 30)]
    assert generated_wh(*young, *garbage) == 300
    assert generated_wh(*young, *garbage, reading(50, 900)) == 900
    assert generated_wh(*young, *garbage, reading(50, 295), reading(55, 310)) == 310
    assert generated_wh(*young, *garbage, reading(50, 25), reading(55, 30)) == 330


def test_a_young_counter_that_rises_in_garbage_is_not_credited_twice() -> None:
    young = [reading(0, 18_000_000), reading(5, 30), reading(10, 300)]
    garbage = [reading(minute, 1e9 + 10 * minute) for minute in (15, 20, 25, 30)]
    assert generated_wh(*young, *garbage) == 350
    assert generated_wh(*young, *garbage, reading(50, 400)) == 400


def test_slots_with_constant_garbage_have_a_reason_until_the_counter_returns() -> None:
    garbage = [reading(minute, 4_294_967_295, power_w=4000) for minute in (10, 20, 30, 40, 50)]
    back = reading(60, 18_004_000, power_w=4000)
    intervals = intervals_of(reading(0, 18_000_000, power_w=4000), *garbage, back)
    assert [interval.reasons for interval in intervals.values()] == [
        {Reason.SPIKE}, {Reason.SPIKE}, {Reason.RESET}, {Reason.RESET}
    ]  # fmt: skip


def test_garbage_after_a_first_zero_leaves_later_readings_unaffected() -> None:
    garbage = [reading(5, 4_294_967_295)]
    assert generated_wh(reading(0, 0), *garbage, reading(10, 60), reading(15, 130)) == 130
    twice = [*garbage, reading(6, 4_294_967_295)]
    assert generated_wh(reading(0, 0), *twice, reading(15, 130), reading(20, 150)) == 150


def test_a_counter_at_zero_that_rises_in_garbage_is_not_credited_twice() -> None:
    garbage = [reading(minute, 1e9 + wh) for minute, wh in ((5, 0), (10, 0), (15, 0), (20, 190))]
    assert generated_wh(reading(0, 0), *garbage) == 190
    assert generated_wh(reading(0, 0), *garbage, reading(25, 400), reading(30, 450)) == 450
    restarted = [reading(0, 18_000_000), reading(2, 0), *garbage, reading(25, 400)]
    assert generated_wh(*restarted, reading(30, 450)) == 450
