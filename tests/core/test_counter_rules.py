"""Credits of one counter that dips, is reset or reads zero."""

from core.intervals import Interval, Quality, Reason
from tests.support.accounting import generated_wh, intervals_of
from tests.support.meters import reading


def test_a_dip_credits_nothing_until_the_counter_passes_its_mark() -> None:
    intervals = intervals_of(reading(1, 1000), reading(3, 950), reading(5, 990), reading(7, 1010))
    assert intervals == {0: Interval(10_000, 10_000, Quality.MEASURED, frozenset({Reason.DIP}))}


def test_a_dip_after_a_gap_credits_nothing_until_the_counter_passes_its_mark() -> None:
    history = [reading(0, 50_000), reading(60, 49_000), reading(120, 51_000)]
    assert generated_wh(*history) == 1000
    assert intervals_of(*history)[0] == Interval(
        0, 0, Quality.INTERPOLATED, frozenset({Reason.DIP})
    )


def test_a_reset_credits_the_new_value() -> None:
    intervals = intervals_of(reading(1, 1000), reading(3, 1020), reading(5, 40), reading(7, 100))
    assert intervals == {0: Interval(120_000, 120_000, Quality.MEASURED, frozenset({Reason.RESET}))}


def test_a_reset_to_an_impossible_value_credits_nothing() -> None:
    assert generated_wh(reading(1, 100_000), reading(3, 50_000), reading(5, 50_010)) == 10


def test_a_reset_right_after_a_spike_credits_the_new_value() -> None:
    assert generated_wh(reading(1, 90_000), reading(3, 9e9), reading(5, 40), reading(7, 60)) == 60


def test_zero_at_night_credits_nothing_and_keeps_the_mark() -> None:
    night = intervals_of(reading(1, 1000), reading(3, 0), reading(5, 0), reading(7, 1005))
    assert night == {0: Interval(5_000, 5_000, Quality.MEASURED, frozenset({Reason.ZERO}))}


def test_a_counter_that_restarts_at_midnight_is_credited_completely() -> None:
    evening, midnight = reading(0, 21_000), reading(5, 0)
    assert generated_wh(evening, midnight, reading(10, 0), reading(15, 80), reading(20, 160)) == 160


def test_energy_generated_while_the_counter_reads_zero_is_credited_at_its_return() -> None:
    restarted = [reading(minute, 0) for minute in range(1, 30)]
    assert generated_wh(reading(0, 50_000), *restarted, reading(30, 53_000)) == 3000


def test_a_counter_that_returns_from_zero_a_little_lower_is_a_dip() -> None:
    history = [reading(0, 50_000), reading(5, 0), reading(10, 49_990), reading(15, 50_020)]
    assert generated_wh(*history) == 20
    assert intervals_of(*history)[0].reasons == {Reason.ZERO, Reason.DIP}


def test_a_counter_that_returns_from_zero_with_an_impossible_value_is_a_spike() -> None:
    assert generated_wh(reading(0, 50_000), reading(5, 0), reading(10, 90_000)) == 0


def test_a_counter_that_has_only_shown_zero_begins_at_its_first_other_value() -> None:
    night = [reading(minute, 0) for minute in (0, 5, 10)]
    morning = [reading(15, 18_000_000), reading(20, 18_000_040), reading(25, 18_000_100)]
    assert generated_wh(*night, *morning[:1]) == 0
    assert generated_wh(*night, *morning) == 100
    assert intervals_of(*night, *morning) == {
        0: Interval(0, 0, Quality.REJECTED, frozenset({Reason.SPIKE})),
        15: Interval(100_000, 100_000, Quality.MEASURED),
    }


def test_a_counter_that_begins_at_zero_is_credited_from_there() -> None:
    assert generated_wh(reading(0, 0), reading(5, 0), reading(10, 60), reading(15, 130)) == 130


def test_a_counter_wider_than_32_bits_is_credited_as_any_other() -> None:
    assert generated_wh(reading(0, 7.6e9), reading(5, 7.6e9 + 123.456)) == 123.456
