"""The energy accountant: each row of its table, then what must hold for every history."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.accountant import Account, Accounted, advance
from core.intervals import Interval, Quality, Reason
from core.readings import Reading
from core.units import SLOT

CAPACITY_W = 5000.0
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def reading(minutes: float, energy_wh: float | None = None, **fields: float) -> Reading:
    return Reading(NOON + timedelta(minutes=minutes), energy_wh=energy_wh, **fields)


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


def test_a_jump_does_not_become_plausible_by_waiting() -> None:
    # 3 kWh in one minute; an hour later 5 kW could have made them.
    assert generated_wh(reading(0, 1000), reading(1, 4000), reading(61, 4010)) == 0


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

METER_DOES = st.sampled_from(["rise", "same", "dip", "reset", "zero", "spike", "leap", "absent"])


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    """Readings in order, of a meter that does whatever meters do."""
    at, level, readings = 0.0, 1_000_000.0, []
    for _ in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from([0.25, 1, 4, 5, 15, 29, 31, 75, 600]))
        does = draw(METER_DOES)
        level += {"rise": draw(st.floats(0, 400)), "leap": 1e7}.get(does, 0)
        if does == "reset":
            level = draw(st.floats(0.001, 50))
        shown = {"dip": level * 0.95, "zero": 0.0, "spike": level + 4e9, "absent": None}
        readings.append(
            reading(
                at,
                shown.get(does, level),
                power_w=draw(st.floats(-50, 5000)),
                **({"export_wh": shown.get(does, level) or 0.0} if draw(st.booleans()) else {}),
            )
        )
    return readings


def fold(account: Account | None, parts: list[list[Reading]]) -> Accounted:
    """Account part after part, as batches are."""
    whole = Accounted(account, {}, {})
    for part in parts:
        accounted = advance(whole.account, part, CAPACITY_W)
        if accounted is not None:
            whole.account = accounted.account
            whole.checkpoints |= accounted.checkpoints
            for slot, interval in accounted.intervals.items():
                known = whole.intervals.get(slot)
                whole.intervals[slot] = known + interval if known else interval
    return whole


@given(histories(), st.lists(st.integers(0, 40), max_size=5))
def test_batches_may_be_cut_anywhere(history: list[Reading], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(history)]
    parts = [history[a:b] for a, b in pairwise(edges)]
    assert fold(None, parts) == fold(None, [history])


@given(histories(), st.data())
def test_folding_from_a_checkpoint_gives_every_slot_from_there_on_whole(
    history: list[Reading], data: st.DataObject
) -> None:
    whole = fold(None, [history])
    if not whole.checkpoints:
        return
    slot = data.draw(st.sampled_from(sorted(whole.checkpoints)))
    checkpoint = whole.checkpoints[slot]
    again = fold(checkpoint, [[r for r in history if r.time > checkpoint.last_at]])
    assert again.account == whole.account
    for at, interval in whole.intervals.items():
        assert at < slot or again.intervals[at] == interval


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
    assert total_mwh <= 1.25 * CAPACITY_W * hours * 1000 + 10_000 * len(history)


@given(histories())
def test_every_slot_between_the_first_and_the_last_counter_value_is_accounted_for(
    history: list[Reading],
) -> None:
    counted = [r.time for r in history if r.energy_wh is not None]
    accounted = advance(None, history, CAPACITY_W)
    assert accounted is not None
    if len(counted) < 2:
        return
    slot = min(accounted.intervals)
    assert slot <= counted[0]
    while slot < counted[-1]:
        assert slot in accounted.intervals
        slot += SLOT


def test_nothing_to_account_is_nothing() -> None:
    assert advance(None, [], CAPACITY_W) is None


@pytest.mark.parametrize("minutes", [1, 15, 16, 31, 1000])
def test_energy_is_shared_to_the_last_milliwatt_hour(minutes: int) -> None:
    accounted = advance(None, [reading(0.1, 0.001), reading(minutes, 7.778)], CAPACITY_W)
    assert isinstance(accounted, Accounted)
    assert sum(i.generated_mwh for i in accounted.intervals.values()) == 7777
