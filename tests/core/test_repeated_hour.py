"""The pass of a reading in the hour that its clock shows twice."""

from datetime import UTC, datetime, timedelta
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.readings import Reading
from core.repeated_hour import ClockReading, clock_of, first_passes, instants

BERLIN = ZoneInfo("Europe/Berlin")
# 2:00 in Berlin, an hour before clocks are put back.
FIRST = datetime(2026, 10, 25, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
CAPACITY_W = 5000.0


def wall(text: str) -> datetime:
    """Return a local time without a zone."""
    return datetime.fromisoformat(text)


def shown(
    minute: float,
    energy_wh: float | None,
    *,
    is_first: bool = True,
    is_new: bool = True,
    **fields: float,
) -> ClockReading:
    """Return a reading at a number of minutes after two o'clock."""
    clock = clock_of(FIRST + timedelta(minutes=minute), BERLIN)
    return ClockReading(clock, Reading(energy_wh=energy_wh, **fields), is_first, is_new)


def passes(*readings: ClockReading) -> list[bool]:
    return first_passes(readings, CAPACITY_W)


def test_a_local_time_occurs_twice_once_or_never() -> None:
    assert instants(wall("2026-10-25T02:30"), BERLIN) == (
        FIRST + HOUR / 2,
        FIRST + 3 * HOUR / 2,
    )
    assert instants(wall("2026-10-25T02:30"), BERLIN).is_repeated
    skipped = instants(wall("2026-03-29T02:30"), BERLIN)
    assert not skipped.is_repeated
    summer = instants(wall("2026-07-01T02:30"), BERLIN)
    assert summer.first == summer.second
    assert not summer.is_repeated


def test_the_clock_of_the_older_reading_may_show_a_later_time() -> None:
    assert passes(shown(50, 100), shown(10, 101)) == [True, False]
    assert passes(shown(10, 101), shown(50, 100)) == [False, True]
    assert passes(shown(30, 100), shown(30, 101)) == [True, False]


def test_a_reading_that_fits_either_pass_stays_in_its_own() -> None:
    assert passes(shown(10, 100), shown(50, 101)) == [True, True]
    stored = [shown(10, 100, is_first=False, is_new=False), shown(50, 101, is_first=False)]
    assert passes(*stored) == [False, False]


def test_new_readings_are_not_compared_with_each_stored_one() -> None:
    """An unchanged meter decides nothing: 4 million comparisons would take a minute."""
    stored = [shown(n / 40, 100, is_new=False) for n in range(2000)]
    new = [shown(n / 40 + 0.01, 100) for n in range(2000)]
    began = process_time()
    assert all(passes(*stored, *new))
    assert process_time() - began < 5


def test_a_reading_below_one_of_the_first_pass_belongs_there_too() -> None:
    assert passes(shown(20, 99, is_first=False), shown(50, 100), shown(10, 101)) == [
        True, True, False,
    ]  # fmt: skip
    live = shown(40, 120, is_first=False, is_new=False)
    buffered = shown(50, 110, is_first=True, is_new=False)
    assert passes(live, buffered, shown(10, 104, is_first=False)) == [False, True, True]


def test_readings_with_equal_counters_are_ordered_by_their_other_values() -> None:
    one, other = shown(30, 100, voltage_v=230), shown(30, 100, voltage_v=231)
    assert sorted(passes(one, other)) == [False, True]
    assert passes(one, other) == passes(other, one)[::-1]
    assert passes(one, one) == [True, True]


def test_zeros_and_garbage_decide_nothing() -> None:
    readings = [shown(10, 100), shown(20, 0), shown(30, 4e9), shown(40, 101)]
    assert passes(*readings) == [True] * 4
    assert passes(shown(10, None, power_w=5)) == [True]


@given(
    st.lists(st.integers(1, 200), min_size=4, max_size=60),
    st.data(),
)
def test_history_in_any_order_is_divided_into_its_passes(
    rises: list[int], data: st.DataObject
) -> None:
    """The history covers the whole hour in steps of some minutes; some readings are lost."""
    step, level, history = data.draw(st.sampled_from([2, 5, 7])), 1_000_000, []
    for n, rise_wh in enumerate(rises):
        level += rise_wh
        at = FIRST + timedelta(minutes=step * n)
        if at < FIRST + 2 * HOUR:
            history.append((at, level))
    kept = data.draw(st.lists(st.sampled_from(history), unique=True, min_size=2))
    readings = [
        ClockReading(clock_of(at, BERLIN), Reading(energy_wh=wh), True, True) for at, wh in kept
    ]
    in_first = first_passes(readings, capacity_w=1e6)
    by_pass = {
        instants(one.clock, BERLIN)[0 if is_first else 1]: one.reading.energy_wh
        for one, is_first in zip(readings, in_first, strict=True)
    }
    assert len(by_pass) == len(kept)
    assert [by_pass[at] for at in sorted(by_pass)] == sorted(wh for _, wh in kept)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_repeated_reading_belongs_to_the_same_pass(is_first: bool) -> None:
    minute, level = (50, 100) if is_first else (10, 101)
    stored = [
        shown(50, 100, is_first=True, is_new=False),
        shown(10, 101, is_first=False, is_new=False),
    ]
    assert passes(*stored, shown(minute, level, is_first=not is_first))[-1] is is_first
