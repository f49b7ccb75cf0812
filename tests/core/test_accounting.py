"""Interval accounting: the energy per slot, and properties of every history."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.accounting import Accounted, advance
from core.intervals import Interval, Quality, Reason
from core.readings import Reading
from core.units import SLOT, slot_of
from tests.support.accounting import (
    assert_a_checkpoint_gives_the_rest,
    fold,
    generated_wh,
    intervals_of,
)
from tests.support.meters import CAPACITY_W, histories, honest_counters, reading


def test_the_first_reading_credits_nothing() -> None:
    assert intervals_of(reading(1, 18_000_000)) == {}


def test_a_rise_credits_the_difference() -> None:
    assert intervals_of(reading(1, 1000), reading(6, 1250.5)) == {
        0: Interval(250_500, 250_500, Quality.MEASURED)
    }


def test_a_rise_is_spread_over_its_slots_by_time() -> None:
    assert intervals_of(reading(10, 1000), reading(25, 1300)) == {
        0: Interval(100_000, 100_000, Quality.MEASURED),
        15: Interval(200_000, 200_000, Quality.MEASURED),
    }


def test_a_reading_on_the_border_of_slots_belongs_to_the_earlier_slot() -> None:
    assert set(intervals_of(reading(0, 1000), reading(15, 1300))) == {0}


def test_surplus_is_the_export_if_the_device_counts_it() -> None:
    intervals = intervals_of(reading(1, 1000, export_wh=500), reading(6, 1200, export_wh=530))
    assert intervals == {0: Interval(200_000, 30_000, Quality.MEASURED)}


def test_generation_and_export_are_reset_independently() -> None:
    intervals = intervals_of(
        reading(0, 50_000, export_wh=20_000),
        reading(5, 50_100, export_wh=10),
        reading(10, 30, export_wh=25),
    )
    assert intervals == {0: Interval(130_000, 25_000, Quality.MEASURED, frozenset({Reason.RESET}))}


def test_power_credits_nothing_while_the_counter_is_not_reported() -> None:
    silent = [reading(minute, power_w=3000) for minute in (5, 10)]
    assert generated_wh(reading(0, 1000, power_w=3000), *silent, reading(15, 1750)) == 750


def test_power_is_not_counted_beside_a_counter() -> None:
    assert generated_wh(reading(0, 1000, power_w=1200), reading(5, 1090, power_w=2400)) == 90


def test_power_alone_is_an_estimate_that_is_not_for_sale() -> None:
    intervals = intervals_of(reading(0, power_w=1200), reading(5, power_w=2400))
    assert intervals == {
        0: Interval(150_000, 150_000, Quality.ESTIMATED, frozenset({Reason.POWER_ONLY}))
    }
    assert intervals[0].sellable_wh == 0


def test_power_alone_too_far_apart_is_missing() -> None:
    assert intervals_of(reading(0, power_w=1200), reading(6, power_w=2400)) == {
        0: Interval(0, 0, Quality.MISSING, frozenset({Reason.GAP}))
    }


def test_energy_over_a_gap_is_spread_evenly_as_interpolated() -> None:
    intervals = intervals_of(reading(0, 1000), reading(60, 2000))
    assert intervals == {
        slot: Interval(250_000, 250_000, Quality.INTERPOLATED, frozenset({Reason.GAP}))
        for slot in (0, 15, 30, 45)
    }


def test_no_readings_yield_no_result() -> None:
    assert advance(None, [], CAPACITY_W) is None


@pytest.mark.parametrize("minutes", [1, 15, 16, 31, 1000])
def test_energy_is_spread_to_the_last_milliwatt_hour(minutes: int) -> None:
    accounted = advance(None, [reading(0.1, 0.001), reading(minutes, 7.778)], CAPACITY_W)
    assert isinstance(accounted, Accounted)
    assert sum(i.generated_mwh for i in accounted.intervals.values()) == 7777


# Properties of every history -------------------------------------------------------------------


@given(histories(), st.lists(st.integers(0, 40), max_size=5))
def test_batches_may_be_cut_anywhere(history: list[Reading], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(history)]
    parts = [history[a:b] for a, b in pairwise(edges)]
    assert fold(None, parts) == fold(None, [history])


@given(histories(), st.data())
def test_folding_from_a_checkpoint_yields_every_later_slot_whole(
    history: list[Reading], data: st.DataObject
) -> None:
    assert_a_checkpoint_gives_the_rest(history, data)


@given(histories(), st.data())
def test_settled_slots_do_not_change_again(history: list[Reading], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(history)))
    account = fold(None, [history[:cut]]).account
    later = fold(account, [history[cut:]])
    assert all(slot + SLOT > account.settled_until for slot in later.intervals)


@given(histories())
def test_credits_never_exceed_the_capacity(history: list[Reading]) -> None:
    accounted = advance(None, history, CAPACITY_W)
    assert accounted is not None
    total_mwh = sum(i.generated_mwh for i in accounted.intervals.values())
    hours = (history[-1].time - history[0].time) / timedelta(hours=1)
    one_count_mwh = 1_000_000
    assert total_mwh <= 1.25 * CAPACITY_W * hours * 1000 + one_count_mwh


@given(histories())
def test_every_slot_between_the_first_and_the_last_counter_value_has_an_interval(
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
def test_an_honest_counter_is_credited_completely(history: list[Reading]) -> None:
    rose_wh = history[-1].energy_wh - history[0].energy_wh
    assert generated_wh(*history) == pytest.approx(rose_wh, abs=0.001)
