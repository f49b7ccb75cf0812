"""Stalls: a counter that does not change while power flows."""

import pytest

from core.intervals import Interval, Quality, Reason
from core.readings import Reading
from tests.support.accounting import generated_wh, intervals_of
from tests.support.meters import reading


def stalled(minutes: int, level_wh: float = 50_000.5, **fields: float) -> list[Reading]:
    """Return readings from noon on of an unchanged counter while power flows."""
    return [reading(minute, level_wh, power_w=4000, **fields) for minute in range(0, minutes, 5)]


def test_a_counter_that_catches_up_is_credited_over_its_stall() -> None:
    intervals = intervals_of(*stalled(60), reading(60, 53_000.5, power_w=4000))
    assert intervals == {
        slot: Interval(750_000, 750_000, Quality.INTERPOLATED, frozenset({Reason.GAP}))
        for slot in range(0, 60, 15)
    }


def test_a_stalled_counter_catches_up_with_at_most_half_an_hour() -> None:
    assert generated_wh(*stalled(240), reading(240, 53_600.5, power_w=4000)) == 3600
    assert generated_wh(*stalled(240), reading(240, 66_000.5, power_w=4000)) == 0


def test_slots_of_a_stall_have_a_reason_in_every_case() -> None:
    gap = Interval(0, 0, Quality.MISSING, frozenset({Reason.GAP}))
    stall = stalled(95)
    assert intervals_of(*stall) == dict.fromkeys(range(0, 90, 15), gap)
    refused = intervals_of(*stall, reading(95, 90_000.5, power_w=4000))
    assert all(Reason.SPIKE in interval.reasons for interval in refused.values())
    lost = intervals_of(*stall, reading(95, 50_100.5, power_w=4000))
    assert generated_wh(*stall, reading(95, 50_100.5, power_w=4000)) == 100
    assert all(i.reasons == {Reason.GAP} for i in lost.values())


def test_a_counter_that_stalled_in_the_afternoon_catches_up_at_dawn() -> None:
    night = [reading(minute, 50_000.5, power_w=0) for minute in range(240, 960, 5)]
    assert generated_wh(*stalled(240), *night, reading(960, 53_500.5, power_w=50)) == 3500


def test_a_counter_that_has_only_shown_zero_is_not_credited_its_total_while_power_flows() -> None:
    asleep = [reading(minute, 0, power_w=4000) for minute in range(0, 240, 5)]
    awake = [reading(240, 9000, power_w=4000), reading(245, 9300, power_w=4000)]
    assert generated_wh(*asleep, *awake) == 300


def test_an_inverters_own_consumption_at_night_allows_no_jump_at_dawn() -> None:
    night = [reading(minute, 50_000.5, power_w=20) for minute in range(0, 600, 5)]
    assert generated_wh(*night, reading(600, 60_000.5), reading(605, 50_001.5)) == 1
    assert {i.quality for i in intervals_of(*night).values()} == {Quality.MEASURED}


def test_unchanged_export_is_no_gap_unless_generation_stalls_too() -> None:
    at_home = [
        reading(minute, 50_000.5 + 30 * minute, export_wh=700.5, power_w=2000)
        for minute in range(0, 180, 5)
    ]
    assert {(i.quality, i.reasons) for i in intervals_of(*at_home).values()} == {
        (Quality.MEASURED, frozenset())
    }
    caught_up = reading(120, 53_000.5, export_wh=3200.5, power_w=4000)
    intervals = intervals_of(*stalled(120, export_wh=700.5), caught_up)
    assert sum(i.surplus_mwh for i in intervals.values()) == 2_500_000
    assert {(i.quality, i.reasons) for i in intervals.values()} == {
        (Quality.INTERPOLATED, frozenset({Reason.GAP}))
    }


@pytest.mark.parametrize("step_wh", [100, 1000])
def test_a_coarse_counter_that_shows_its_energy_late_is_measured(
    step_wh: int,
) -> None:
    power_w = 150
    shown = [
        reading(minute, step_wh * (5000 + int(power_w * minute / 60 / step_wh)), power_w=power_w)
        for minute in range(0, 1200, 5)
    ]
    intervals = intervals_of(*shown)
    assert {i.quality for i in intervals.values()} == {Quality.MEASURED}
    assert generated_wh(*shown) == power_w * 1195 / 60 // step_wh * step_wh
