"""Which pass of an hour a reading is of, when its clock ran through the hour twice."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.readings import Reading
from core.repeated_hour import ClockReading, clock_of, first_passes, instants

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime(2026, 10, 25, 0, tzinfo=UTC)  # 2:00 in Berlin, an hour before clocks are put back
HOUR = timedelta(hours=1)
CAPACITY_W = 5000.0


def wall(text: str) -> datetime:
    """What a clock shows, without a zone."""
    return datetime.fromisoformat(text)


def shown(
    minute: float,
    energy_wh: float | None,
    *,
    is_first: bool = True,
    is_new: bool = True,
    **fields: float,
) -> ClockReading:
    """A reading at so many minutes past two."""
    clock = clock_of(FIRST + timedelta(minutes=minute), BERLIN)
    return ClockReading(clock, Reading(energy_wh=energy_wh, **fields), is_first, is_new)


def passes(*readings: ClockReading) -> list[bool]:
    return first_passes(readings, CAPACITY_W)


def test_a_time_comes_twice_once_never_or_as_ever() -> None:
    assert instants(wall("2026-10-25T02:30"), BERLIN) == (
        FIRST + HOUR / 2,
        FIRST + 3 * HOUR / 2,
    )
    assert instants(wall("2026-10-25T02:30"), BERLIN).is_repeated
    leapt_over = instants(wall("2026-03-29T02:30"), BERLIN)
    assert not leapt_over.is_repeated
    ever = instants(wall("2026-07-01T02:30"), BERLIN)
    assert ever.first == ever.second
    assert not ever.is_repeated


def test_of_two_readings_the_clock_of_the_older_one_may_be_ahead() -> None:
    assert passes(shown(50, 100), shown(10, 101)) == [True, False]
    assert passes(shown(10, 101), shown(50, 100)) == [False, True]
    assert passes(shown(30, 100), shown(30, 101)) == [True, False]


def test_what_fits_into_either_pass_stays_where_it_is() -> None:
    assert passes(shown(10, 100), shown(50, 101)) == [True, True]
    stored = [shown(10, 100, is_first=False, is_new=False), shown(50, 101, is_first=False)]
    assert passes(*stored) == [False, False]


def test_what_shows_less_than_a_reading_of_the_first_pass_is_of_it_too() -> None:
    assert passes(shown(20, 99, is_first=False), shown(50, 100), shown(10, 101)) == [
        True, True, False,
    ]  # fmt: skip
    live = shown(40, 120, is_first=False, is_new=False)
    buffered = shown(50, 110, is_first=True, is_new=False)
    assert passes(live, buffered, shown(10, 104, is_first=False)) == [False, True, True]


def test_counters_that_stand_still_are_told_apart_by_what_else_they_hold() -> None:
    one, other = shown(30, 100, voltage_v=230), shown(30, 100, voltage_v=231)
    assert sorted(passes(one, other)) == [False, True]
    assert passes(one, other) == passes(other, one)[::-1]
    assert passes(one, one) == [True, True]


def test_zeros_and_garbage_decide_nothing() -> None:
    told = [shown(10, 100), shown(20, 0), shown(30, 4e9), shown(40, 101)]
    assert passes(*told) == [True] * 4
    assert passes(shown(10, None, power_w=5)) == [True]


@given(
    st.lists(st.integers(1, 200), min_size=4, max_size=60),
    st.data(),
)
def test_history_in_any_order_is_put_into_its_passes(rises: list[int], data: st.DataObject) -> None:
    """From before the hour until after it, in steps of some minutes; what is lost is lost."""
    step, level, truly = data.draw(st.sampled_from([2, 5, 7])), 1_000_000, []
    for n, rise_wh in enumerate(rises):
        level += rise_wh
        at = FIRST + timedelta(minutes=step * n)
        if at < FIRST + 2 * HOUR:
            truly.append((at, level))
    kept = data.draw(st.lists(st.sampled_from(truly), unique=True, min_size=2))
    told = [
        ClockReading(clock_of(at, BERLIN), Reading(energy_wh=wh), True, True) for at, wh in kept
    ]
    verdicts = first_passes(told, capacity_w=1e6)
    by_pass = {
        instants(one.clock, BERLIN)[0 if is_first else 1]: one.reading.energy_wh
        for one, is_first in zip(told, verdicts, strict=True)
    }
    assert len(by_pass) == len(kept)
    assert [by_pass[at] for at in sorted(by_pass)] == sorted(wh for _, wh in kept)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_reading_that_comes_again_is_of_the_same_pass(is_first: bool) -> None:
    minute, level = (50, 100) if is_first else (10, 101)
    stored = [
        shown(50, 100, is_first=True, is_new=False),
        shown(10, 101, is_first=False, is_new=False),
    ]
    assert passes(*stored, shown(minute, level, is_first=not is_first))[-1] is is_first
