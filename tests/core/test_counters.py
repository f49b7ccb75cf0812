"""Credits of one counter whose meter reports the time since which it counts."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.json import decode, encode

from core.counted_since import REMEMBERED_FOR, CountedSince
from core.counter_rules import update
from core.counters import Counter, ReadingContext
from core.intervals import Credit, Quality, Reason
from tests.support.meters import CAPACITY_W, NOON

INSTALLED_AT = NOON - timedelta(days=400)
# Minute, value in Wh, and the time since which the counter counts.
Shown = tuple[float, float | None, datetime | None]


def minute(n: float) -> datetime:
    return NOON + timedelta(minutes=n)


def follow(shown: Iterable[Shown], counter: Counter | None = None) -> tuple[Counter, list[Credit]]:
    credited: list[Credit] = []
    last_at = counter.at if counter else NOON
    for n, value_wh, since in shown:
        at = minute(n)
        counter, credits_now = update(
            counter, value_wh, ReadingContext(at, last_at, CAPACITY_W, counts_since=since)
        )
        credited += credits_now
        last_at = at
    assert counter is not None
    return counter, credited


def credited_wh(*shown: Shown) -> float:
    return sum(credit.energy_mwh for credit in follow(shown)[1]) / 1000


def value(n: float, value_wh: float, since_minute: float | None = None) -> Shown:
    since = INSTALLED_AT if since_minute is None else minute(since_minute)
    return n, value_wh, since


def test_a_reset_after_the_last_reading_credits_the_new_value() -> None:
    shown = [value(0, 5000), value(10, 5200), value(20, 150, 12)]
    counter, credited = follow(shown)
    assert credited[1:] == [
        Credit(minute(10), minute(12), 0, Quality.MEASURED, Reason.RESET),
        Credit(minute(12), minute(20), 150_000, Quality.MEASURED, Reason.RESET),
    ]
    assert counter.mark_mwh == 150_000


@pytest.mark.parametrize("shows_wh", [4990, 5200, 5250, 9000])
def test_a_reported_reset_is_one_at_any_value(shows_wh: float) -> None:
    # The new value may be a number that somebody typed in: it is neither credited nor a spike.
    shown = [value(0, 5000), value(10, 5200), value(20, shows_wh, 12)]
    assert credited_wh(*shown) == 200
    assert credited_wh(*shown, value(25, shows_wh + 30, 12)) == 230


def test_a_reset_before_the_last_reading_credits_the_uncredited_rest() -> None:
    shown = [value(0, 5000), value(5, 5060), value(10, 5200), value(15, 260, 5)]
    assert credited_wh(*shown) == 200 + (260 - 140)
    assert follow(shown)[1][-1].reason is Reason.RESET
    # Energy between two readings counts as generated evenly.
    assert credited_wh(*shown[:3], value(15, 260, 7.5)) == 200 + (260 - 70)


def test_a_reset_before_the_last_reading_reduces_no_credit() -> None:
    shown = [value(0, 5000), value(5, 5060), value(10, 5200)]
    assert credited_wh(*shown, value(15, 100, 5)) == 200
    assert credited_wh(*shown, value(15, 100, 5), value(20, 130, 5)) == 230


def test_a_reset_before_all_known_credits_adds_none() -> None:
    shown = [value(0, 40), value(5, 160)]
    assert credited_wh(*shown, value(10, 170, -1)) == 120
    assert credited_wh(*shown, value(10, 170, -1), value(15, 190, -1)) == 140


def test_a_reset_before_the_last_reading_credits_only_possible_energy() -> None:
    shown = [value(0, 5000), value(5, 5060.5), value(10, 90_000.5, 5)]
    assert credited_wh(*shown) == 60.5
    assert credited_wh(*shown, value(15, 90_030.5, 5)) == 90.5


def test_a_reset_by_a_clock_that_is_ahead_counts_as_after_the_last_reading() -> None:
    assert credited_wh(value(0, 5000), value(5, 5060), value(10, 130, 600)) == 60 + 130


def test_a_meter_that_begins_to_report_its_start_has_not_been_reset() -> None:
    assert credited_wh((0, 5000, None), (5, 5060, None), value(10, 5100), value(15, 5150)) == 150
    assert credited_wh(value(0, 5000), (5, 5060, None), value(10, 5100)) == 100


@pytest.mark.parametrize("hours", [1, 3.5, 4.5, 5.75])
def test_a_time_zone_that_is_corrected_is_no_reset(hours: float) -> None:
    """All local times are read in another zone, where they are later: 4 Wh a minute since 0."""
    later = 60 * hours
    shown = [value(n, 4 * n, 0) for n in range(0, 300, 5)]
    shown += [value(300 + later, 4 * 300, later), value(305 + later, 4 * 305, later)]
    assert credited_wh(*shown) == 4 * 305
    # A counter that falls was reset, however its times differ.
    assert credited_wh(*shown, value(320 + later, 30, 315 + later)) == 4 * 305 + 30


def test_resets_back_and_forth_credit_nothing_twice() -> None:
    shown = [value(0, 5000), *(value(n, 5000 + 20 * n) for n in range(5, 60, 5))]
    shown += [value(60, 650, 30), value(65, 5000 + 65 * 20, 0), value(70, 800, 30)]
    assert credited_wh(*shown) == pytest.approx(70 * 20, abs=0.01)


def test_old_credits_are_known_to_the_hour_and_after_a_week_not_at_all() -> None:
    # 4 Wh per minute for nine days.
    shown = [value(n, 100_000 + 4 * n) for n in range(0, 9 * 1440, 5)]
    counter, _ = follow(shown)
    assert counter.counted is not None
    for days in (0.5, 2, 6.9):
        since = counter.at - timedelta(days=days)
        assert counter.counted.credited_since(since) == pytest.approx(days * 1440 * 4000, rel=1e-4)
    assert counter.counted.credited_since(counter.at - timedelta(days=8)) is None
    assert counter.counted.credited_since(counter.at) == 0


MOMENTS = st.tuples(
    st.sampled_from([0.02, 0.25, 1, 5, 14, 31, 180, 700]),
    st.one_of(st.just(0), st.integers(1, 200_000)),
)


@given(st.lists(MOMENTS, min_size=1, max_size=300), st.integers(0, 10**6))
@example([(0.02, 0), (1, 1), (0.02, 2)], 1)
def test_remembered_credits_are_few_and_never_too_low(
    credited: list[tuple[float, int]], back_min: int
) -> None:
    memory, at, history = CountedSince(INSTALLED_AT, NOON), 0.0, []
    for minutes, energy_mwh in credited:
        history.append((at, energy_mwh))
        at += minutes
        memory = memory.credited(energy_mwh, minute(at))
    assert len(memory.shares) <= 2 * (2 * 60 + 2 * 92 + 2 * 144 + 3)
    since = at - back_min / 10
    known_mwh = memory.credited_since(minute(since))
    if known_mwh is None:
        assert since < 0 or back_min / 10 > REMEMBERED_FOR / timedelta(minutes=1) - 700
    else:
        whole_mwh = sum(mwh for begin, mwh in history if begin >= since - 1e-6)
        hour_mwh = sum(mwh for begin, mwh in history if begin >= since + 60)
        assert hour_mwh <= known_mwh
        assert known_mwh >= whole_mwh or back_min / 10 > 60


@st.composite
def resetting(draw: st.DrawFn) -> list[Shown]:
    """Draw values of a counter whose meter reports its resets, at correct and wrong times."""
    habits = [*["rise"] * 4, *draw(st.lists(st.sampled_from(_DO), min_size=1, max_size=5))]
    at, level, since, shown = 0.0, 20_000.0, INSTALLED_AT, []
    for _ in range(draw(st.integers(2, 60))):
        at += draw(st.sampled_from([0.1, 1, 5, 14, 31, 120]))
        does = draw(st.sampled_from(habits))
        level += draw(st.floats(0, 400)) if does == "rise" else 0
        level *= 0.93 if does == "step" else 1
        if does in ("reset", "reported"):
            level = draw(st.floats(0.001, 500))
        if does in ("reported", "typed"):
            since = minute(draw(st.floats(-10, at + 5)))
        shown_wh = {"zero": 0.0, "spike": level + 4e6, "absent": None}.get(does, level)
        shown.append((at, shown_wh, draw(st.sampled_from([since, since, None]))))
    return shown


_DO = ["same", "zero", "spike", "absent", "reset", "step", "reported", "typed"]


@given(resetting())
def test_credits_never_exceed_the_capacity_or_precede_settled_slots(
    shown: list[Shown],
) -> None:
    counter, total_mwh, last_at = None, 0, NOON
    for n, value_wh, since in shown:
        settled_until = counter.settled_until if counter else NOON
        context = ReadingContext(minute(n), last_at, CAPACITY_W, counts_since=since)
        counter, credited = update(counter, value_wh, context)
        last_at = context.at
        for credit in credited:
            assert settled_until <= credit.start <= credit.end <= context.at
            assert credit.energy_mwh >= 0
        total_mwh += sum(credit.energy_mwh for credit in credited)
        if counter is not None:
            assert decode(encode(counter), type=Counter) == counter
            assert counter.low is None or len(counter.low.held) <= 8
    hours = (shown[-1][0] - shown[0][0]) / 60
    assert total_mwh <= 1.25 * CAPACITY_W * hours * 1000 + 1_000_000
