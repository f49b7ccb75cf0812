"""Faults of meters and delivery, and the interval accounting of faulty readings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.accounting import advance
from core.intervals import SELLABLE
from core.readings import Reading
from simulators.comparison import Comparison, ReportedEnergy, compare
from simulators.delivery import DELIVERY_FAULTS, FaultyDelivery, ReconnectStorms
from simulators.faults import (
    LOSING,
    METER_FAULTS,
    Fault,
    FaultOccurrence,
    FaultyMeter,
    may_lose_energy,
)
from simulators.homes import home_spec, new_meters, start_home
from simulators.truth import Truth

BEGIN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
SEEDS = st.integers(0, 10**6)


def sunlight(at: datetime) -> float:
    """Return the part of the capacity at `at`, for a day of twelve hours."""
    hour = (at - BEGIN).total_seconds() / 3600 % 24
    return max(0.0, 1 - ((hour - 6) / 6) ** 2)


def true_readings(seed: int, every: timedelta, truth: Truth | None = None) -> list[Reading]:
    """Return the true readings of a home over a day and a half; add them to `truth`."""
    spec = home_spec(seed, 0)
    home = start_home(spec, new_meters(spec), BEGIN)
    rng, readings, at = Random(seed), [], BEGIN
    while at < BEGIN + timedelta(hours=36):
        at += every * rng.uniform(0.8, 1.2)
        power_w = spec.capacity_w * sunlight(at) * rng.uniform(0.7, 1)
        readings.append(home.measure(at, power_w=power_w, hour=at.hour))
        if truth is not None:
            truth.add(at, home.meters)
    return readings


def compared(
    truth: Truth, received: Iterable[Reading], capacity_w: float
) -> tuple[Comparison, Comparison]:
    """Account the readings; compare generation and export with the truth."""
    first: dict[datetime, Reading] = {}
    for reading in received:
        if reading.time and BEGIN <= reading.time <= BEGIN + timedelta(hours=37):
            first.setdefault(reading.time, reading)
    accounted = advance(None, [first[at] for at in sorted(first)], capacity_w)
    assert accounted is not None
    slots = accounted.intervals.items()
    generated = {
        slot: ReportedEnergy(i.generated_mwh / 1000 if i.quality in SELLABLE else 0.0, i.reasons)
        for slot, i in slots
    }
    exported = {slot: ReportedEnergy(float(i.sellable_wh), i.reasons) for slot, i in slots}
    return (
        compare({at: slot.generated_uwh / 1e6 for at, slot in truth.slots.items()}, generated),
        compare({at: slot.exported_uwh / 1e6 for at, slot in truth.slots.items()}, exported),
    )


def simulated(
    seed: int, minutes: int, kinds: Sequence[Fault], calm_readings: int
) -> tuple[tuple[Comparison, Comparison], list[FaultOccurrence], bool]:
    """Simulate a day and a half with these faults.

    Return the comparisons, the faults that occurred, and whether energy may be lost.
    """
    truth = Truth()
    meter = FaultyMeter(Random(seed), faults=kinds, calm_readings=calm_readings, live=False)
    readings = true_readings(seed, timedelta(minutes=minutes), truth)
    delivery = FaultyDelivery(
        Random(seed + 1), ReconnectStorms(Random(1)), faults=kinds, calm_readings=calm_readings
    )
    received = [
        reading
        for true in readings[:-1]
        for batch in delivery.send(meter.show(true))
        for reading in batch.readings
    ]
    received += [reading for batch in delivery.flush() for reading in batch.readings]
    received.append(meter.show_without_fault(readings[-1]))
    occurrences = meter.occurrences + delivery.occurrences
    comparisons = compared(truth, received, home_spec(seed, 0).capacity_w)
    return comparisons, occurrences, may_lose_energy(occurrences, truth.first_at)


@pytest.mark.parametrize("minutes", [pytest.param(1, marks=pytest.mark.slow), 5])
@settings(deadline=None)
# A counter at 0 counts on in garbage before it comes back.
@example(69487)
@given(SEEDS)
def test_intervals_equal_the_truth_or_have_a_reason(minutes: int, seed: int) -> None:
    counters, _, loses = simulated(seed, minutes, tuple(Fault), 60)
    assert all(counter.is_sound for counter in counters)
    assert loses or all(counter.is_exact for counter in counters)


@pytest.mark.parametrize("fault", Fault)
def test_a_single_kind_of_fault_loses_nothing_unless_energy_cannot_be_known(fault: Fault) -> None:
    count = 0
    for seed in range(8):
        counters, occurrences, loses = simulated(seed, 10, [fault], 30)
        count += len(occurrences)
        assert {occurrence.fault for occurrence in occurrences} <= {fault}
        assert loses or not occurrences or fault not in LOSING
        assert all(c.is_sound if loses else c.is_exact for c in counters)
    assert count >= 8


@pytest.mark.parametrize("fault", [Fault.DIP, Fault.ZERO, Fault.POWER_ONLY])
def test_energy_hidden_for_less_than_half_an_hour_is_recovered(fault: Fault) -> None:
    for seed in range(3):
        counters, occurrences, loses = simulated(seed, 2, [fault], 30)
        assert occurrences
        assert not loses
        assert all(counter.is_exact for counter in counters)


def test_without_faults_intervals_equal_the_truth() -> None:
    truth = Truth()
    readings = true_readings(3, timedelta(minutes=1), truth)
    assert all(c.is_exact for c in compared(truth, readings, home_spec(3, 0).capacity_w))


RESET = frozenset({"reset"})
SLOTS = [BEGIN + timedelta(minutes=15 * n) for n in range(8)]
TRUTH = dict.fromkeys(SLOTS, 100.0)
REPORTED = dict.fromkeys(SLOTS, ReportedEnergy(100.0))


def test_energy_that_is_missing_without_a_reason_is_not_sound() -> None:
    assert compare(TRUTH, REPORTED).is_exact
    assert not compare(TRUTH, REPORTED | {SLOTS[1]: ReportedEnergy(90.0)}).is_sound
    assert compare(TRUTH, REPORTED | {SLOTS[1]: ReportedEnergy(90.0, RESET)}).is_sound
    for marked in (SLOTS[1], SLOTS[5]):
        lost = {SLOTS[0]: ReportedEnergy(90.0), marked: ReportedEnergy(100.0, RESET)}
        assert not compare(TRUTH, REPORTED | lost).is_sound
    assert not compare(
        TRUTH, {s: energy for s, energy in REPORTED.items() if s != SLOTS[2]}
    ).is_sound


def test_energy_that_two_slots_share_is_not_missing() -> None:
    shared = {
        SLOTS[1]: ReportedEnergy(20.0),
        SLOTS[2]: ReportedEnergy(130.0, RESET),
        SLOTS[5]: ReportedEnergy(90.0, RESET),
    }
    assert compare(TRUTH, REPORTED | shared).unexplained_wh == 50
    assert compare(TRUTH, REPORTED | shared | {SLOTS[1]: ReportedEnergy(70.0)}).is_sound


def test_more_than_the_truth_is_never_sound() -> None:
    assert not compare(TRUTH, REPORTED | {SLOTS[1]: ReportedEnergy(110.0, RESET)}).is_sound
    assert not compare(TRUTH, REPORTED | {SLOTS[1]: ReportedEnergy(110.0)}).is_sound


def test_a_recovered_dip_explains_nothing_that_is_missing_elsewhere() -> None:
    dip = {
        SLOTS[0]: ReportedEnergy(20.0, frozenset({"dip"})),
        SLOTS[1]: ReportedEnergy(180.0, frozenset({"dip"})),
    }
    assert compare(TRUTH, REPORTED | dip).is_exact
    assert not compare(TRUTH, REPORTED | dip | {SLOTS[6]: ReportedEnergy(20.0)}).is_sound


@given(SEEDS)
def test_the_same_seed_creates_the_same_faults(seed: int) -> None:
    readings = true_readings(seed, timedelta(minutes=10))

    def run() -> tuple[object, ...]:
        meter = FaultyMeter(Random(seed))
        delivery = FaultyDelivery(Random(seed), ReconnectStorms(Random(seed)))
        sent = [delivery.send(meter.show(reading)) for reading in readings]
        return sent, delivery.flush(), meter.occurrences, delivery.occurrences

    assert run() == run()


@given(SEEDS)
def test_readings_outside_gaps_are_delivered_and_none_is_invented(seed: int) -> None:
    readings = true_readings(seed, timedelta(minutes=10))
    delivery = FaultyDelivery(Random(seed), ReconnectStorms(Random(seed)))
    received = [r for reading in readings for b in delivery.send(reading) for r in b.readings]
    received += [reading for batch in delivery.flush() for reading in batch.readings]
    times = Counter(reading.time for reading in received)
    lost = [one for one in readings if one.time not in times]
    gaps = sum(one.readings for one in delivery.occurrences if one.fault is Fault.GAP)
    assert len(lost) <= gaps
    assert {one.time for one in readings} >= set(times)
    assert max(times.values()) <= 2


def test_every_fault_occurs_once_before_any_occurs_again() -> None:
    readings = true_readings(1, timedelta(minutes=1))
    meter = FaultyMeter(Random(1))
    delivery = FaultyDelivery(Random(1), ReconnectStorms(Random(1)))
    for reading in readings:
        delivery.send(meter.show(reading))
    of_meter = [one.fault for one in meter.occurrences if one.fault in METER_FAULTS]
    assert set(of_meter[: len(METER_FAULTS)]) == set(METER_FAULTS)
    of_delivery = [one.fault for one in delivery.occurrences if one.fault in DELIVERY_FAULTS]
    assert set(of_delivery[: len(DELIVERY_FAULTS)]) == set(DELIVERY_FAULTS)
    assert Fault.RECONNECT in {one.fault for one in delivery.occurrences}


def shown_with(fault: Fault) -> list[tuple[Reading, Reading]]:
    """Return true and shown readings from the first occurrence of a meter's only fault on."""
    for seed in range(100):
        readings = [r for r in true_readings(seed, timedelta(minutes=1)) if r.power_w]
        meter = FaultyMeter(Random(seed), faults=[fault])
        pairs = [(true, meter.show(true), len(meter.occurrences)) for true in readings[:200]]
        if pairs[-1][2]:
            first = next(n for n, (_, _, count) in enumerate(pairs) if count)
            return [(true, shown) for true, shown, _ in pairs[first:]]
    raise AssertionError(f"no {fault}")


def test_a_meter_dips_reads_zero_or_garbage_and_recovers() -> None:
    for fault, is_expected in {
        Fault.DIP: lambda true, shown: 0.9 * true.energy_wh < shown.energy_wh < true.energy_wh,
        Fault.ZERO: lambda _, shown: shown.energy_wh == 0 == shown.export_wh,
        Fault.SPIKE: lambda true, shown: shown.energy_wh > 10 * true.energy_wh,
        Fault.LEVEL: lambda true, shown: shown.energy_wh > 10 * true.energy_wh,
        Fault.STALL: lambda true, shown: shown.energy_wh < true.energy_wh,
        Fault.POWER_ONLY: lambda true, shown: shown.energy_wh is None and shown.power_w,
    }.items():
        pairs = shown_with(fault)
        assert is_expected(*pairs[0]), fault
        assert any(true == shown for true, shown in pairs), fault


def test_a_reset_meter_counts_from_zero() -> None:
    pairs = shown_with(Fault.RESET)
    energy_wh = [shown.energy_wh for _, shown in pairs]
    export_wh = [shown.export_wh for _, shown in pairs]
    assert min(energy_wh[0] or 0, export_wh[0] or 0) < 1000
    assert all(shown.time == true.time for true, shown in pairs)


def test_a_skewed_clock_is_years_off_or_minutes_ahead() -> None:
    offsets_min = set()
    for seed in range(40):
        meter = FaultyMeter(Random(seed), faults=[Fault.SKEW])
        for true in true_readings(seed, timedelta(minutes=5)):
            shown = meter.show(true)
            assert shown.time is not None
            assert true.time is not None
            offsets_min.add((shown.time - true.time) // timedelta(minutes=1))
    ahead = {minutes for minutes in offsets_min if 5 < minutes < 60}
    years = {minutes for minutes in offsets_min if abs(minutes) > 8 * 365 * 1440}
    assert ahead
    assert min(years) < 0 < max(years)
    assert offsets_min <= ahead | years | {0}
