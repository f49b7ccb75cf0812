"""Slots that share energy, while a fault hides what is counted, have their reasons together."""

from datetime import timedelta
from random import Random

import pytest

from core.accounting import advance
from core.readings import Reading
from core.units import SLOT
from simulators.comparison import Comparison, ReportedEnergy, compare
from simulators.delivery import FaultyWay, Storms
from simulators.faults import Fault, FaultyMeter, Hit, may_lose
from simulators.homes import dwelling
from simulators.shared_slots import SharedSlots, with_shared
from simulators.truth import Truth
from tests.simulators.test_faults import BEGIN, RESET, SLOTS, TOLD, TRUTH, day


def test_a_fault_reaches_from_the_reading_before_it_to_the_first_one_after() -> None:
    shared = SharedSlots()
    times = [BEGIN + timedelta(minutes=6 * n) for n in range(8)]
    for n, at in enumerate(times):
        shared.note(at, [Hit(Fault.GAP, at, 3)] if n == 2 else [])
    assert shared.spans == [(BEGIN, BEGIN + 2 * SLOT)]  # From minute 6 to minute 30.
    still_hidden = SharedSlots()
    for n, at in enumerate(times):
        still_hidden.note(at, [Hit(Fault.STALL, at, 60)] if n == 2 else [])
    assert still_hidden.spans == []
    still_hidden.end()
    assert still_hidden.spans == [(BEGIN, BEGIN + 2 * SLOT)]


def test_what_hides_nothing_shares_nothing() -> None:
    shared = SharedSlots()
    shared.note(BEGIN, [])
    shared.note(BEGIN + SLOT, [Hit(Fault.DUPLICATE, BEGIN + SLOT, 8)])
    shared.note(BEGIN + 2 * SLOT, [])
    shared.end()
    assert shared.spans == []


def test_a_reason_is_that_of_all_slots_that_shared_energy_and_of_no_others() -> None:
    reasons = [False, False, True, False, False, False]
    spans = [(SLOTS[0], SLOTS[1]), (SLOTS[1], SLOTS[2]), (SLOTS[4], SLOTS[5])]
    assert with_shared(reasons, SLOTS[:6], spans) == [True, True, True, False, False, False]


def test_energy_that_is_missing_where_a_gap_hid_it_is_explained_by_the_reason_beside_it() -> None:
    lost = {SLOTS[0]: ReportedEnergy(90.0), SLOTS[1]: ReportedEnergy(100.0, RESET)}
    assert not compare(TRUTH, TOLD | lost).is_sound
    assert compare(TRUTH, TOLD | lost, [(SLOTS[0], SLOTS[1])]).is_sound
    assert not compare(TRUTH, TOLD | lost, [(SLOTS[1], SLOTS[2])]).is_sound
    without_reason = {SLOTS[0]: ReportedEnergy(90.0)}
    assert not compare(TRUTH, TOLD | without_reason, [(SLOTS[0], SLOTS[1])]).is_sound


def checked(seed: int, every: timedelta) -> tuple[list[Comparison], bool]:
    """What is counted of a home by which anything may go wrong; whether it may lose energy."""
    truth, shared = Truth(), SharedSlots()
    meter, way = (
        FaultyMeter(Random(seed), live=False),
        FaultyWay(Random(seed + 1), Storms(Random(1))),
    )
    truly, first = day(seed, every, truth), dict[object, Reading]()
    for n, true in enumerate(truly):
        assert true.time is not None
        known = len(meter.hits), len(way.hits)
        last = n == len(truly) - 1
        sent = [*way.rest()] if last else way.send(meter.show(true))
        shared.note(true.time, [*meter.hits[known[0] :], *way.hits[known[1] :]])
        told = [reading for sending in sent for reading in sending.readings]
        for reading in [*told, meter.show_well(true)] if last else told:
            assert reading.time is not None
            if truly[0].time <= reading.time <= truly[-1].time:
                first.setdefault(reading.time, reading)
    shared.end()
    accounted = advance(None, [first[at] for at in sorted(first)], dwelling(seed, 0).capacity_w)
    assert accounted is not None
    intervals = accounted.intervals.items()
    return [
        compare(
            {at: energy.generated_uwh / 1e6 for at, energy in truth.slots.items()},
            {at: ReportedEnergy(i.generated_mwh / 1000, i.reasons) for at, i in intervals},
            shared.spans,
        ),
        compare(
            {at: energy.exported_uwh / 1e6 for at, energy in truth.slots.items()},
            {at: ReportedEnergy(float(i.sellable_wh), i.reasons) for at, i in intervals},
            shared.spans,
        ),
    ], may_lose([*meter.hits, *way.hits], truth.first_at)


@pytest.mark.parametrize("seed", [4, 6, 8, 9, 10, 11])
def test_a_stall_that_a_gap_hides_is_no_fault_of_the_hub(seed: int) -> None:
    """Readings every 20 seconds, so that stalls and gaps last less than a silence that is told."""
    counters, loses = checked(seed, timedelta(seconds=20))
    assert all(counter.is_sound for counter in counters)
    assert loses or all(counter.is_exact for counter in counters)
