"""Slots between which a fault moves energy share their reasons."""

from datetime import timedelta
from random import Random

import pytest

from core.accounting import advance
from core.readings import Reading
from core.units import SLOT
from simulators.comparison import Comparison, ReportedEnergy, compare
from simulators.delivery import FaultyDelivery, ReconnectStorms
from simulators.faults import Fault, FaultOccurrence, FaultyMeter, may_lose_energy
from simulators.homes import home_spec
from simulators.shared_slots import SharedSlots, share_reasons
from simulators.truth import Truth
from tests.simulators.test_faults import BEGIN, REPORTED, RESET, SLOTS, TRUTH, true_readings


def test_a_span_is_from_the_reading_before_a_fault_to_the_first_one_after() -> None:
    shared = SharedSlots()
    times = [BEGIN + timedelta(minutes=6 * n) for n in range(8)]
    for n, at in enumerate(times):
        shared.add_reading(at, [FaultOccurrence(Fault.GAP, at, 3)] if n == 2 else [])
    assert shared.spans == [(BEGIN, BEGIN + 2 * SLOT)]  # from minute 6 to minute 30
    still_hidden = SharedSlots()
    for n, at in enumerate(times):
        still_hidden.add_reading(at, [FaultOccurrence(Fault.STALL, at, 60)] if n == 2 else [])
    assert still_hidden.spans == []
    still_hidden.end()
    assert still_hidden.spans == [(BEGIN, BEGIN + 2 * SLOT)]


def test_a_fault_that_hides_nothing_shares_nothing() -> None:
    shared = SharedSlots()
    shared.add_reading(BEGIN, [])
    shared.add_reading(BEGIN + SLOT, [FaultOccurrence(Fault.DUPLICATE, BEGIN + SLOT, 8)])
    shared.add_reading(BEGIN + 2 * SLOT, [])
    shared.end()
    assert shared.spans == []


def test_a_reason_counts_for_all_slots_that_share_energy_and_for_no_others() -> None:
    reasons = [False, False, True, False, False, False]
    spans = [(SLOTS[0], SLOTS[1]), (SLOTS[1], SLOTS[2]), (SLOTS[4], SLOTS[5])]
    assert share_reasons(reasons, SLOTS[:6], spans) == [True, True, True, False, False, False]


def test_energy_missing_in_a_gap_is_explained_by_the_reason_of_a_shared_slot() -> None:
    lost = {SLOTS[0]: ReportedEnergy(90.0), SLOTS[1]: ReportedEnergy(100.0, RESET)}
    assert not compare(TRUTH, REPORTED | lost).is_sound
    assert compare(TRUTH, REPORTED | lost, [(SLOTS[0], SLOTS[1])]).is_sound
    assert not compare(TRUTH, REPORTED | lost, [(SLOTS[1], SLOTS[2])]).is_sound
    without_reason = {SLOTS[0]: ReportedEnergy(90.0)}
    assert not compare(TRUTH, REPORTED | without_reason, [(SLOTS[0], SLOTS[1])]).is_sound


def simulated(seed: int, every: timedelta) -> tuple[list[Comparison], bool]:
    """Simulate a home with all faults; return comparisons and whether energy may be lost."""
    truth, shared = Truth(), SharedSlots()
    meter = FaultyMeter(Random(seed), live=False)
    delivery = FaultyDelivery(Random(seed + 1), ReconnectStorms(Random(1)))
    readings, first = true_readings(seed, every, truth), dict[object, Reading]()
    for n, true in enumerate(readings):
        assert true.time is not None
        before = len(meter.occurrences), len(delivery.occurrences)
        last = n == len(readings) - 1
        batches = delivery.flush() if last else delivery.send(meter.show(true))
        begun = [*meter.occurrences[before[0] :], *delivery.occurrences[before[1] :]]
        shared.add_reading(true.time, begun)
        sent = [reading for batch in batches for reading in batch.readings]
        for reading in [*sent, meter.show_without_fault(true)] if last else sent:
            assert reading.time is not None
            if readings[0].time <= reading.time <= readings[-1].time:
                first.setdefault(reading.time, reading)
    shared.end()
    accounted = advance(None, [first[at] for at in sorted(first)], home_spec(seed, 0).capacity_w)
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
    ], may_lose_energy([*meter.occurrences, *delivery.occurrences], truth.first_at)


@pytest.mark.parametrize("seed", [4, 6, 8, 9, 10, 11])
def test_energy_of_a_stall_inside_a_gap_is_not_missing(seed: int) -> None:
    """With a reading every 20 s, stalls and gaps are shorter than gaps that get a reason."""
    counters, loses = simulated(seed, timedelta(seconds=20))
    assert all(counter.is_sound for counter in counters)
    assert loses or all(counter.is_exact for counter in counters)
