"""Credits of a device with several counters, in one or two directions."""

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
    """Return a reading of a counter and of its return."""
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


def test_a_phase_that_is_not_reported_does_not_reset_the_others() -> None:
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
def test_a_phase_that_reads_0_or_dips_does_not_reduce_the_others(
    reads: float, reason: Reason
) -> None:
    history = [
        phases(0, 20_000, 500_000),
        phases(5, reads, 500_100),
        phases(10, 20_050, 500_200),
    ]
    assert surplus_wh(*history) == 250
    assert reason in reasons(*history)


def test_a_phase_that_is_reset_is_credited_and_is_no_dip_of_the_sum() -> None:
    assert surplus_wh(phases(0, 20_000, 500_000), phases(5, 40, 500_100)) == 140


def test_a_phase_that_is_first_reported_later_begins_there() -> None:
    history = [phases(0, 20_000), phases(5, 20_100, 900_000), phases(10, 20_150, 900_030)]
    assert surplus_wh(*history) == 180


def test_generation_and_export_in_parts_are_both_accounted() -> None:
    history = [
        parted(0, energy__a=1000, energy__b=2000, export__0=100),
        parted(5, energy__a=1050, energy__b=2100, export__0=130),
    ]
    assert (generated_wh(*history), surplus_wh(*history)) == (150, 30)


def test_parts_of_export_are_accounted_beside_one_counter_of_generation() -> None:
    history = [
        DetailedReading(NOON, energy_wh=1000, parts={"export_wh:0": 10.0}),
        DetailedReading(NOON + timedelta(minutes=5), energy_wh=1100, parts={"export_wh:0": 15.0}),
    ]
    assert (generated_wh(*history), surplus_wh(*history)) == (100, 5)


def test_a_sum_beside_its_parts_is_not_accounted() -> None:
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


def test_an_unchanged_phase_is_no_gap_while_another_rises() -> None:
    history = [
        parted(minute, power_w=2000, energy__0=50_000.5, energy__1=1000 + 30 * minute)
        for minute in range(0, 120, 5)
    ]
    assert {i.quality for i in account(*history).intervals.values()} == {Quality.MEASURED}


def test_phases_that_all_stall_while_power_flows_are_a_gap() -> None:
    stood = [
        parted(minute, power_w=4000, energy__0=50_000.5, energy__1=60_000.5)
        for minute in range(0, 120, 5)
    ]
    caught_up = parted(120, power_w=4000, energy__0=51_500.5, energy__1=61_500.5)
    assert {i.quality for i in account(*stood).intervals.values()} == {Quality.MISSING}
    assert generated_wh(*stood, caught_up) == 3000


def test_the_number_of_counters_is_limited() -> None:
    invented = [
        parted(n, **{f"energy__{n}": 1000.5, "energy__real": 500.5 + n}) for n in range(300)
    ]
    accounted = account(*invented)
    assert len(accounted.account.counters) == COUNTERS_MAX
    assert "energy_wh:real" in accounted.account.counters
    assert generated_wh(*invented) == 299


# One capacity ----------------------------------------------------------------------------------


def test_several_counters_share_one_capacity() -> None:
    invented = [
        parted(minute, **{f"energy__{n}": 1000.5 + 100 * minute for n in range(20)})
        for minute in range(0, 61, 5)
    ]
    assert 6250 <= generated_wh(*invented) <= 6250 + 20 * 10 + 0.01
    assert Reason.SPIKE in reasons(*invented)


def test_inverters_that_report_in_turn_are_credited_completely() -> None:
    in_turn = [
        parted(minute, **{f"energy__{minute % 3}": 1000.5 + 2000 / 60 * minute})
        for minute in range(0, 120)
    ]
    assert generated_wh(*in_turn) == pytest.approx(3 * 2000 / 60 * 117, abs=0.01)


@pytest.mark.parametrize("capacity_w", [5e-324, 1e-9, 1e9])
def test_every_capacity_can_be_accounted(capacity_w: float) -> None:
    assert account(phases(0, 1.5, 3), phases(1, 4.5, 7), capacity_w=capacity_w)


# Two directions --------------------------------------------------------------------------------


def test_energy_that_flows_back_at_night_is_no_generation() -> None:
    history = [both(0, 10_000, 500), both(30, 10_024, 524), both(60, 10_048, 548)]
    assert generated_wh(*history) == 0


def test_generation_is_the_rise_of_a_counter_less_its_return() -> None:
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
def test_a_direction_that_is_missing_0_or_garbage_credits_no_energy(
    between: list[Reading],
) -> None:
    night = [both(0, 10_000, 500), *between]
    assert generated_wh(*night) == 0
    assert generated_wh(*night, both(20, 10_048, 548)) == 0
    assert generated_wh(*night, both(20, 10_048, 548), both(25, 10_148, 550)) == 98
    assert generated_wh(*night, both(20, 10_148, 550)) == 98


def test_energy_before_the_first_report_of_the_return_is_unknown() -> None:
    history = [both(0, 10_000, None), both(5, 10_100, None), both(10, 10_200, 50)]
    # Until then the device seems to have one direction.
    assert generated_wh(*history[:2]) == 100
    assert generated_wh(*history) == 100
    assert generated_wh(*history, both(15, 10_310, 55)) == 205


def test_a_direction_that_is_no_longer_reported_delays_the_other_for_a_day_at_most() -> None:
    day = [both(hour * 60, 10_000 + 100 * hour, None) for hour in range(1, 25)]
    assert generated_wh(both(0, 10_000, 500), *day[:-1]) == 0
    assert generated_wh(both(0, 10_000, 500), *day) == 2400
    assert generated_wh(both(0, 10_000, 500), *day, both(1441, 12_410, 560)) == 2400
    assert generated_wh(both(0, 10_000, 500), *day, both(1441, 12_470, 560)) == 2410


def test_a_counter_with_a_return_that_is_reset_is_credited_from_there() -> None:
    assert generated_wh(both(0, 10_000, 500), both(5, 60, 20)) == 40


def test_energy_while_the_return_is_garbage_is_unknown() -> None:
    garbage = [both(minute, 10_000 + 10 * minute, 4e9) for minute in (5, 10, 15)]
    assert generated_wh(both(0, 10_000, 500), *garbage, both(20, 10_200, 4e9 + 10)) == 40


# Properties of every history ------------------------------------------------------------------


@given(histories_in_parts(), st.lists(st.integers(0, 30), max_size=4))
def test_batches_may_be_cut_anywhere(history: list[Reading], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(history)]
    assert fold(None, [history[a:b] for a, b in pairwise(edges)]) == fold(None, [history])


@given(histories_in_parts(), st.data())
def test_folding_from_a_checkpoint_yields_every_later_slot_whole(
    history: list[Reading], data: st.DataObject
) -> None:
    assert_a_checkpoint_gives_the_rest(history, data)


@given(histories_in_parts(), st.data())
def test_settled_slots_do_not_change_again(history: list[Reading], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(history)))
    account = fold(None, [history[:cut]]).account
    later = fold(account, [history[cut:]])
    assert all(
        slot + timedelta(minutes=15) > account.settled_for(reported_counters(history[cut:]))
        for slot in later.intervals
    )


@given(histories_in_parts())
def test_credits_never_exceed_the_capacity_or_fall_below_zero(history: list[Reading]) -> None:
    intervals = account(*history).intervals.values()
    hours = (history[-1].time - history[0].time) / timedelta(hours=1)
    # One resolution step of each of three counters.
    steps_mwh = 3_000_000
    most_mwh = 1.25 * CAPACITY_W * hours * 1000 + steps_mwh
    assert sum(i.generated_mwh for i in intervals) <= most_mwh
    assert sum(i.surplus_mwh for i in intervals) <= most_mwh
    assert all(i.generated_mwh >= 0 and i.surplus_mwh >= 0 for i in intervals)


# For each interval between two readings of a plug: generation, consumption, and the values that
# arrive.
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
def test_with_values_missing_credits_never_exceed_generation_and_reach_it(
    history: list[tuple[int, int, str]],
) -> None:
    total = returned = 100_000_000
    readings, generated_mwh, at = [both(0, total / 1000, returned / 1000)], 0, 0.0
    for forth_mwh, back_mwh, arrives in history:
        at += 1
        total, returned = total + forth_mwh + back_mwh, returned + back_mwh
        generated_mwh += forth_mwh
        if arrives:
            readings.append(
                both(
                    at,
                    total / 1000 if arrives != "back" else None,
                    returned / 1000 if arrives != "total" else None,
                )
            )
        assert generated_wh(*readings) * 1000 <= generated_mwh + 0.5
    whole = generated_wh(*readings, both(at + 1, total / 1000, returned / 1000))
    assert whole * 1000 == pytest.approx(generated_mwh, abs=0.5)
