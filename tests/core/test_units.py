"""Exact energy and money, and slots of fifteen minutes."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intervals import Interval, Quality, Reason, spread
from core.units import SLOT, kwh_of_wh, money, mwh_of_wh, rfc3339, slot_of, wh_of_mwh

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

instants = st.timedeltas(timedelta(0), timedelta(days=36500)).map(EPOCH.__add__)


@pytest.mark.parametrize(
    ("amount", "rounded"), [("0.005", "0.01"), ("0.0049", "0.00"), ("81.245", "81.25")]
)
def test_money_is_rounded_half_up(amount: str, rounded: str) -> None:
    assert str(money(Decimal(amount))) == rounded


def test_a_part_of_a_watt_hour_is_not_sold() -> None:
    assert kwh_of_wh(Decimal("1234.999")) == Decimal("1.234")


@given(st.integers(0, 10**15))
def test_milliwatt_hours_are_exact_in_the_database(energy_mwh: int) -> None:
    assert mwh_of_wh(wh_of_mwh(energy_mwh)) == energy_mwh


@given(instants)
def test_a_slot_begins_on_the_quarter_hour_and_contains_its_instant(at: datetime) -> None:
    slot = slot_of(at)
    assert slot <= at < slot + SLOT
    assert (slot.minute % 15, slot.second, slot.microsecond) == (0, 0, 0)


def test_instants_are_written_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert rfc3339(datetime(2026, 3, 1, 12, tzinfo=india)) == "2026-03-01T06:30:00.000000Z"


@given(instants, st.timedeltas(timedelta(seconds=1), timedelta(days=2)), st.integers(0, 10**12))
def test_spreading_loses_nothing_and_covers_every_slot(
    start: datetime, duration: timedelta, energy_mwh: int
) -> None:
    shares = list(spread(start, start + duration, energy_mwh))
    slots = [slot for slot, _ in shares]
    assert sum(mwh for _, mwh in shares) == energy_mwh
    assert all(mwh >= 0 for _, mwh in shares)
    assert slots[0] == slot_of(start)
    assert slots[-1] < start + duration <= slots[-1] + SLOT
    assert all(later - earlier == SLOT for earlier, later in pairwise(slots))


intervals = st.builds(
    Interval,
    generated_mwh=st.integers(0, 100),
    surplus_mwh=st.integers(0, 100),
    quality=st.sampled_from(Quality),
    reasons=st.frozensets(st.sampled_from(Reason)),
)


@given(intervals, intervals, intervals)
def test_parts_of_a_slot_add_up_in_any_order(a: Interval, b: Interval, c: Interval) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
