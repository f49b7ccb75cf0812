"""What goes wrong with meters and on the way, and what the accountant makes of that."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting import advance
from core.intervals import SELLABLE
from core.readings import Reading
from simulators.comparison import Comparison, ReportedEnergy, compare
from simulators.delivery import DELIVERY_FAULTS, FaultyWay, Storms
from simulators.faults import LOSING, METER_FAULTS, Fault, FaultyMeter, Hit, may_lose
from simulators.homes import dwelling, move_in, new_meters
from simulators.truth import Truth

BEGIN = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
SEEDS = st.integers(0, 10**6)


def sun(at: datetime) -> float:
    """A part of the capacity: a day of twelve hours."""
    hour = (at - BEGIN).total_seconds() / 3600 % 24
    return max(0.0, 1 - ((hour - 6) / 6) ** 2)


def day(seed: int, every: timedelta, truth: Truth | None = None) -> list[Reading]:
    """A home's readings over a day and a half, as they are in truth."""
    home = dwelling(seed, 0)
    house = move_in(home, new_meters(home), BEGIN)
    chance, readings, at = Random(seed), [], BEGIN
    while at < BEGIN + timedelta(hours=36):
        at += every * chance.uniform(0.8, 1.2)
        power_w = home.capacity_w * sun(at) * chance.uniform(0.7, 1)
        readings.append(house.measure(at, power_w=power_w, hour=at.hour))
        if truth is not None:
            truth.measured(at, house.meters)
    return readings


def reckoned(
    truth: Truth, seen: Iterable[Reading], capacity_w: float
) -> tuple[Comparison, Comparison]:
    """Generation and export, as the accountant counts them."""
    first: dict[datetime, Reading] = {}
    for reading in seen:
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


def lived(
    seed: int, minutes: int, kinds: Sequence[Fault], calm: int
) -> tuple[tuple[Comparison, Comparison], list[Hit], bool]:
    """What is counted of a day and a half with these faults; what befell the home; may it lose."""
    truth = Truth()
    meter = FaultyMeter(Random(seed), faults=kinds, calm=calm, live=False)
    truly = day(seed, timedelta(minutes=minutes), truth)
    way = FaultyWay(Random(seed + 1), Storms(Random(1)), faults=kinds, calm=calm)
    arrived = [
        reading
        for true in truly[:-1]
        for sending in way.send(meter.show(true))
        for reading in sending.readings
    ]
    arrived += [reading for sending in way.rest() for reading in sending.readings]
    arrived.append(meter.show_well(truly[-1]))
    hits = meter.hits + way.hits
    counted = reckoned(truth, arrived, dwelling(seed, 0).capacity_w)
    return counted, hits, may_lose(hits, truth.first_at)


@pytest.mark.parametrize("minutes", [1, 5])
@settings(deadline=None)
@given(SEEDS)
def test_the_accountant_counts_the_truth_or_says_why_not(minutes: int, seed: int) -> None:
    counters, _, loses = lived(seed, minutes, tuple(Fault), 60)
    assert all(counter.is_sound for counter in counters)
    assert loses or all(counter.is_exact for counter in counters)


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_by_itself_is_made_whole_unless_it_leaves_nothing_to_know(fault: Fault) -> None:
    befell = 0
    for seed in range(8):
        counters, hits, loses = lived(seed, 10, [fault], 30)
        befell += len(hits)
        assert {hit.fault for hit in hits} <= {fault}
        assert loses or not hits or fault not in LOSING
        assert all(c.is_sound if loses else c.is_exact for c in counters)
    assert befell >= 8


@pytest.mark.parametrize("fault", [Fault.DIP, Fault.ZERO, Fault.POWER_ONLY])
def test_what_was_hidden_for_less_than_half_an_hour_is_made_whole(fault: Fault) -> None:
    for seed in range(3):
        counters, hits, loses = lived(seed, 2, [fault], 30)
        assert hits
        assert not loses
        assert all(counter.is_exact for counter in counters)


def test_without_faults_the_accountant_counts_the_truth() -> None:
    truth = Truth()
    readings = day(3, timedelta(minutes=1), truth)
    assert all(c.is_exact for c in reckoned(truth, readings, dwelling(3, 0).capacity_w))


RESET = frozenset({"reset"})
SLOTS = [BEGIN + timedelta(minutes=15 * n) for n in range(8)]
TRUTH = dict.fromkeys(SLOTS, 100.0)
TOLD = dict.fromkeys(SLOTS, ReportedEnergy(100.0))


def test_energy_that_is_missing_without_a_reason_is_not_sound() -> None:
    assert compare(TRUTH, TOLD).is_exact
    assert not compare(TRUTH, TOLD | {SLOTS[1]: ReportedEnergy(90.0)}).is_sound
    assert compare(TRUTH, TOLD | {SLOTS[1]: ReportedEnergy(90.0, RESET)}).is_sound
    for marked in (SLOTS[1], SLOTS[5]):
        lost = {SLOTS[0]: ReportedEnergy(90.0), marked: ReportedEnergy(100.0, RESET)}
        assert not compare(TRUTH, TOLD | lost).is_sound
    assert not compare(TRUTH, {s: told for s, told in TOLD.items() if s != SLOTS[2]}).is_sound


def test_energy_that_two_slots_share_is_not_missing() -> None:
    shared = {
        SLOTS[1]: ReportedEnergy(20.0),
        SLOTS[2]: ReportedEnergy(130.0, RESET),
        SLOTS[5]: ReportedEnergy(90.0, RESET),
    }
    assert compare(TRUTH, TOLD | shared).unexplained_wh == 50
    assert compare(TRUTH, TOLD | shared | {SLOTS[1]: ReportedEnergy(70.0)}).is_sound


def test_more_than_the_truth_is_never_sound() -> None:
    assert not compare(TRUTH, TOLD | {SLOTS[1]: ReportedEnergy(110.0, RESET)}).is_sound
    assert not compare(TRUTH, TOLD | {SLOTS[1]: ReportedEnergy(110.0)}).is_sound


def test_a_dip_that_is_made_up_for_explains_nothing_that_is_missing_elsewhere() -> None:
    dip = {
        SLOTS[0]: ReportedEnergy(20.0, frozenset({"dip"})),
        SLOTS[1]: ReportedEnergy(180.0, frozenset({"dip"})),
    }
    assert compare(TRUTH, TOLD | dip).is_exact
    assert not compare(TRUTH, TOLD | dip | {SLOTS[6]: ReportedEnergy(20.0)}).is_sound


@given(SEEDS)
def test_the_same_seed_makes_the_same_faults(seed: int) -> None:
    readings = day(seed, timedelta(minutes=10))

    def played() -> tuple[object, ...]:
        meter, way = FaultyMeter(Random(seed)), FaultyWay(Random(seed), Storms(Random(seed)))
        sent = [way.send(meter.show(reading)) for reading in readings]
        return sent, way.rest(), meter.hits, way.hits

    assert played() == played()


@given(SEEDS)
def test_what_is_not_lost_arrives_and_nothing_is_invented(seed: int) -> None:
    readings = day(seed, timedelta(minutes=10))
    way = FaultyWay(Random(seed), Storms(Random(seed)))
    arrived = [reading for one in readings for s in way.send(one) for reading in s.readings]
    arrived += [reading for sending in way.rest() for reading in sending.readings]
    times = Counter(reading.time for reading in arrived)
    lost = [one for one in readings if one.time not in times]
    gaps = sum(hit.readings for hit in way.hits if hit.fault is Fault.GAP)
    assert len(lost) <= gaps
    assert {one.time for one in readings} >= set(times)
    assert max(times.values()) <= 2


def test_every_fault_comes_before_any_comes_again() -> None:
    readings = day(1, timedelta(minutes=1))
    meter, way = FaultyMeter(Random(1)), FaultyWay(Random(1), Storms(Random(1)))
    for reading in readings:
        way.send(meter.show(reading))
    dealt = [hit.fault for hit in meter.hits if hit.fault in METER_FAULTS]
    assert set(dealt[: len(METER_FAULTS)]) == set(METER_FAULTS)
    carried = [hit.fault for hit in way.hits if hit.fault in DELIVERY_FAULTS]
    assert set(carried[: len(DELIVERY_FAULTS)]) == set(DELIVERY_FAULTS)
    assert Fault.RECONNECT in {hit.fault for hit in way.hits}


def shown_with(fault: Fault) -> list[tuple[Reading, Reading]]:
    """(true, shown) where a meter that knows no other trouble had this one."""
    for seed in range(100):
        readings = [r for r in day(seed, timedelta(minutes=1)) if r.power_w]
        meter = FaultyMeter(Random(seed), faults=[fault])
        seen = [(true, meter.show(true), len(meter.hits)) for true in readings[:200]]
        if seen[-1][2]:
            first = next(n for n, (_, _, hits) in enumerate(seen) if hits)
            return [(true, shown) for true, shown, _ in seen[first:]]
    raise AssertionError(f"no {fault}")


def test_a_meter_dips_reads_zero_or_garbage_and_comes_back() -> None:
    for fault, is_so in {
        Fault.DIP: lambda true, shown: 0.9 * true.energy_wh < shown.energy_wh < true.energy_wh,
        Fault.ZERO: lambda _, shown: shown.energy_wh == 0 == shown.export_wh,
        Fault.SPIKE: lambda true, shown: shown.energy_wh > 10 * true.energy_wh,
        Fault.LEVEL: lambda true, shown: shown.energy_wh > 10 * true.energy_wh,
        Fault.STALL: lambda true, shown: shown.energy_wh < true.energy_wh,
        Fault.POWER_ONLY: lambda true, shown: shown.energy_wh is None and shown.power_w,
    }.items():
        seen = shown_with(fault)
        assert is_so(*seen[0]), fault
        assert any(true == shown for true, shown in seen), fault


def test_a_meter_that_is_reset_counts_on_from_nothing() -> None:
    seen = shown_with(Fault.RESET)
    energy_wh = [shown.energy_wh for _, shown in seen]
    export_wh = [shown.export_wh for _, shown in seen]
    assert min(energy_wh[0] or 0, export_wh[0] or 0) < 1000
    assert all(shown.time == true.time for true, shown in seen)


def test_a_clock_is_years_off_or_some_minutes_ahead() -> None:
    wrong = set()
    for seed in range(40):
        meter = FaultyMeter(Random(seed), faults=[Fault.SKEW])
        for true in day(seed, timedelta(minutes=5)):
            shown = meter.show(true)
            assert shown.time is not None
            assert true.time is not None
            wrong.add((shown.time - true.time) // timedelta(minutes=1))
    ahead = {minutes for minutes in wrong if 5 < minutes < 60}
    years = {minutes for minutes in wrong if abs(minutes) > 8 * 365 * 1440}
    assert ahead
    assert min(years) < 0 < max(years)
    assert wrong <= ahead | years | {0}
