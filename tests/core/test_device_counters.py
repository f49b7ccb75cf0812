"""Devices with several counters: each by itself, two directions, one capacity."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.accounting import Accounted, advance, reported_counters
from core.device_counters import COUNTERS_MAX
from core.intervals import Quality, Reason
from core.readings import DetailedReading, Reading
from tests.support.accounting import assert_a_checkpoint_gives_the_rest, fold
from tests.support.meters import CAPACITY_W, NOON, histories_in_parts, parted, reading


def phases(minutes: float, *totals: float | None, quantity: str = "export") -> Reading:
    return parted(minutes, **{f"{quantity}__{n}": wh for n, wh in enumerate(totals)})


def both(minutes: float, total: float | None, returned: float | None) -> Reading:
    """A counter of both directions."""
    return parted(minutes, energy__0=total, energy__0_back=returned)


def account(*readings: Reading, capacity_w: float = CAPACITY_W) -> Accounted:
    accounted = advance(None, readings, capacity_w)
    assert accounted is not None
    return accounted


def generated_wh(*readings: Reading) -> float:
    return sum(i.generated_mwh for i in account(*readings).intervals.values()) / 1000


def surplus_wh(*readings: Reading) -> float:
    return sum(i.surplus_mwh for i in account(*readings).intervals.values()) / 1000


def reasons(*readings: Reading) -> set[Reason]:
    return {r for i in account(*readings).intervals.values() for r in i.reasons}


# Each counter by itself ------------------------------------------------------------------------


def test_a_phase_that_tells_nothing_for_a_while_is_no_reset_of_the_others() -> None:
    history = [
        phases(0, 20_000, 20_000, 20_000),
        phases(5, 20_000, 20_100, 20_000),
        phases(10, 20_000, 20_100, None),
        phases(240, 20_000, 20_100, 20_100),
        phases(245, 20_100, 20_100, 20_100),
    ]
    assert surplus_wh(*history) == 300
    assert Reason.RESET not in reasons(*history)


@pytest.mark.parametrize(("reads", "reason"), [(0, Reason.ZERO), (19_000, Reason.DIP)])
def test_a_phase_that_reads_0_or_dips_takes_nothing_from_the_others(
    reads: float, reason: Reason
) -> None:
    history = [
        phases(0, 20_000, 500_000),
        phases(5, reads, 500_100),
        phases(10, 20_050, 500_200),
    ]
    assert surplus_wh(*history) == 250
    assert reason in reasons(*history)


def test_a_phase_that_is_reset_counts_from_there_and_is_no_dip_of_the_sum() -> None:
    assert surplus_wh(phases(0, 20_000, 500_000), phases(5, 40, 500_100)) == 140


def test_a_phase_that_is_first_told_later_begins_there() -> None:
    history = [phases(0, 20_000), phases(5, 20_100, 900_000), phases(10, 20_150, 900_030)]
    assert surplus_wh(*history) == 180


def test_what_a_device_generates_and_exports_in_parts_is_both() -> None:
    history = [
        parted(0, energy__a=1000, energy__b=2000, export__0=100),
        parted(5, energy__a=1050, energy__b=2100, export__0=130),
    ]
    assert (generated_wh(*history), surplus_wh(*history)) == (150, 30)


def test_parts_beside_one_counter_of_another_kind_are_accounted_too() -> None:
    history = [
        DetailedReading(NOON, energy_wh=1000, parts={"export_wh:0": 10.0}),
        DetailedReading(NOON + timedelta(minutes=5), energy_wh=1100, parts={"export_wh:0": 15.0}),
    ]
    assert (generated_wh(*history), surplus_wh(*history)) == (100, 5)


def test_a_sum_beside_its_parts_is_only_for_show() -> None:
    history = [
        DetailedReading(NOON, energy_wh=300, parts={"energy_wh:0": 100, "energy_wh:1": 200}),
        DetailedReading(
            NOON + timedelta(minutes=5),
            energy_wh=330,
            parts={"energy_wh:0": 110, "energy_wh:1": 220},
        ),
    ]
    assert generated_wh(*history) == 30


def test_a_device_that_changes_from_a_sum_to_parts_and_back_begins_anew() -> None:
    sums = [reading(0, 30_000), reading(5, 30_100)]
    parts = [
        phases(minute, 10_000 + minute, 20_100 + minute, quantity="energy") for minute in (6, 8)
    ]
    back = [reading(10, 30_200), reading(12, 30_260)]
    assert generated_wh(*sums, *parts) == 104
    assert generated_wh(*sums, *parts, *back) == 164


def test_a_phase_that_stands_still_while_another_counts_is_no_gap() -> None:
    history = [
        parted(minute, power_w=2000, energy__0=50_000.5, energy__1=1000 + 30 * minute)
        for minute in range(0, 120, 5)
    ]
    assert {i.quality for i in account(*history).intervals.values()} == {Quality.MEASURED}


def test_phases_that_all_stand_still_while_power_flows_are_a_gap() -> None:
    stood = [
        parted(minute, power_w=4000, energy__0=50_000.5, energy__1=60_000.5)
        for minute in range(0, 120, 5)
    ]
    caught_up = parted(120, power_w=4000, energy__0=51_500.5, energy__1=61_500.5)
    assert {i.quality for i in account(*stood).intervals.values()} == {Quality.MISSING}
    assert generated_wh(*stood, caught_up) == 3000


def test_counters_that_are_made_up_are_not_kept_without_end() -> None:
    told = [parted(n, **{f"energy__{n}": 1000.5, "energy__real": 500.5 + n}) for n in range(300)]
    accounted = account(*told)
    assert len(accounted.account.counters) == COUNTERS_MAX
    assert "energy_wh:real" in accounted.account.counters
    assert generated_wh(*told) == 299


# One capacity ----------------------------------------------------------------------------------


def test_several_counters_have_one_capacity_together() -> None:
    made_up = [
        parted(minute, **{f"energy__{n}": 1000.5 + 100 * minute for n in range(20)})
        for minute in range(0, 61, 5)
    ]
    assert 6250 <= generated_wh(*made_up) <= 6250 + 20 * 10 + 0.01
    assert Reason.SPIKE in reasons(*made_up)


def test_inverters_that_tell_their_share_in_turn_are_credited_whole() -> None:
    in_turn = [
        parted(minute, **{f"energy__{minute % 3}": 1000.5 + 2000 / 60 * minute})
        for minute in range(0, 120)
    ]
    assert generated_wh(*in_turn) == pytest.approx(3 * 2000 / 60 * 117, abs=0.01)


@pytest.mark.parametrize("capacity_w", [5e-324, 1e-9, 1e9])
def test_any_capacity_can_be_accounted_with(capacity_w: float) -> None:
    assert account(phases(0, 1.5, 3), phases(1, 4.5, 7), capacity_w=capacity_w)


# Two directions --------------------------------------------------------------------------------


def test_what_flows_back_at_night_is_no_generation() -> None:
    history = [both(0, 10_000, 500), both(30, 10_024, 524), both(60, 10_048, 548)]
    assert generated_wh(*history) == 0


def test_generation_is_what_a_counter_of_both_directions_counts_beyond_what_flowed_back() -> None:
    assert generated_wh(both(0, 10_000, 500), both(5, 10_100, 503)) == 97


@pytest.mark.parametrize(
    "between",
    [
        [both(5, 10_024, None)],
        [both(5, None, 524)],
        [both(5, 10_024, None), both(10, None, 530)],
        [both(5, 10_024, 0)],
        [both(5, 0, 524)],
        [both(5, 10_024, 4e9)],
        [both(5, 4e9, 524)],
        [both(5, 4e9, None), both(10, 10_024, 4e9)],
    ],
)
def test_one_of_two_directions_that_is_missing_0_or_garbage_makes_no_energy(
    between: list[Reading],
) -> None:
    night = [both(0, 10_000, 500), *between]
    assert generated_wh(*night) == 0
    assert generated_wh(*night, both(20, 10_048, 548)) == 0
    assert generated_wh(*night, both(20, 10_048, 548), both(25, 10_148, 550)) == 98
    assert generated_wh(*night, both(20, 10_148, 550)) == 98


def test_what_was_counted_before_the_other_direction_was_first_told_is_not_known() -> None:
    history = [both(0, 10_000, None), both(5, 10_100, None), both(10, 10_200, 50)]
    assert generated_wh(*history[:2]) == 100  # A device that tells no directions.
    assert generated_wh(*history) == 100
    assert generated_wh(*history, both(15, 10_310, 55)) == 205


def test_a_direction_that_is_never_told_again_holds_the_other_up_for_a_day_at_most() -> None:
    day = [both(hour * 60, 10_000 + 100 * hour, None) for hour in range(1, 25)]
    assert generated_wh(both(0, 10_000, 500), *day[:-1]) == 0
    assert generated_wh(both(0, 10_000, 500), *day) == 2400
    assert generated_wh(both(0, 10_000, 500), *day, both(1441, 12_410, 560)) == 2400
    assert generated_wh(both(0, 10_000, 500), *day, both(1441, 12_470, 560)) == 2410


def test_a_counter_of_both_directions_that_is_reset_counts_from_there() -> None:
    assert generated_wh(both(0, 10_000, 500), both(5, 60, 20)) == 40


def test_what_was_generated_while_the_other_direction_was_garbage_for_good_is_not_known() -> None:
    garbage = [both(minute, 10_000 + 10 * minute, 4e9) for minute in (5, 10, 15)]
    assert generated_wh(both(0, 10_000, 500), *garbage, both(20, 10_200, 4e9 + 10)) == 40


# What must hold for every history --------------------------------------------------------------


@given(histories_in_parts(), st.lists(st.integers(0, 30), max_size=4))
def test_batches_may_be_cut_anywhere(history: list[Reading], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(history)]
    assert fold(None, [history[a:b] for a, b in pairwise(edges)]) == fold(None, [history])


@given(histories_in_parts(), st.data())
def test_folding_from_a_checkpoint_gives_every_slot_from_there_on_whole(
    history: list[Reading], data: st.DataObject
) -> None:
    assert_a_checkpoint_gives_the_rest(history, data)


@given(histories_in_parts(), st.data())
def test_what_is_settled_is_not_touched_again(history: list[Reading], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(history)))
    account = fold(None, [history[:cut]]).account
    later = fold(account, [history[cut:]])
    assert all(
        slot + timedelta(minutes=15) > account.settled_for(reported_counters(history[cut:]))
        for slot in later.intervals
    )


@given(histories_in_parts())
def test_never_more_than_the_capacity_allows_nor_less_than_nothing(history: list[Reading]) -> None:
    intervals = account(*history).intervals.values()
    hours = (history[-1].time - history[0].time) / timedelta(hours=1)
    most_mwh = 1.25 * CAPACITY_W * hours * 1000 + 3_000_000  # A count of each of three counters.
    assert sum(i.generated_mwh for i in intervals) <= most_mwh
    assert sum(i.surplus_mwh for i in intervals) <= most_mwh
    assert all(i.generated_mwh >= 0 and i.surplus_mwh >= 0 for i in intervals)


# What a plug measures between two readings: what is generated and drawn, and what arrives of it.
minutes_of_a_plug = st.lists(
    st.tuples(
        st.integers(0, 80_000),
        st.integers(0, 40_000),
        st.sampled_from(["both", "total", "back", ""]),
    ),
    min_size=1,
    max_size=40,
)


@given(minutes_of_a_plug)
def test_whatever_is_missing_the_credit_never_passes_generation_and_reaches_it(
    history: list[tuple[int, int, str]],
) -> None:
    total = returned = 100_000_000
    readings, generated_mwh, at = [both(0, total / 1000, returned / 1000)], 0, 0.0
    for forth_mwh, back_mwh, told in history:
        at += 1
        total, returned = total + forth_mwh + back_mwh, returned + back_mwh
        generated_mwh += forth_mwh
        if told:
            readings.append(
                both(
                    at,
                    total / 1000 if told != "back" else None,
                    returned / 1000 if told != "total" else None,
                )
            )
        assert generated_wh(*readings) * 1000 <= generated_mwh + 0.5
    whole = generated_wh(*readings, both(at + 1, total / 1000, returned / 1000))
    assert whole * 1000 == pytest.approx(generated_mwh, abs=0.5)
