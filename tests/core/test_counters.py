"""One counter, reading by reading: above all what its meter says that it counts since."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import decode, encode

from core.counted_since import REMEMBERED_FOR, CountedSince
from core.counter_rules import update
from core.counters import Counter, ReadingContext
from core.intervals import Credit, Quality, Reason
from tests.support.meters import CAPACITY_W, NOON

INSTALLED_AT = NOON - timedelta(days=400)
Shown = tuple[float, float | None, datetime | None]  # minute, Wh, since when it counts


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


def told(n: float, value_wh: float, since_minute: float | None = None) -> Shown:
    since = INSTALLED_AT if since_minute is None else minute(since_minute)
    return n, value_wh, since


def test_a_reset_after_the_last_reading_counts_what_is_shown_from_then_on() -> None:
    shown = [told(0, 5000), told(10, 5200), told(20, 150, 12)]
    counter, credited = follow(shown)
    assert credited[1:] == [
        Credit(minute(10), minute(12), 0, Quality.MEASURED, Reason.RESET),
        Credit(minute(12), minute(20), 150_000, Quality.MEASURED, Reason.RESET),
    ]
    assert counter.mark_mwh == 150_000


@pytest.mark.parametrize("shows_wh", [4990, 5200, 5250, 9000])
def test_a_reset_that_is_told_is_one_whatever_the_counter_shows(shows_wh: float) -> None:
    # As a number that somebody typed in: not possible since then, and no spike either.
    shown = [told(0, 5000), told(10, 5200), told(20, shows_wh, 12)]
    assert credited_wh(*shown) == 200
    assert credited_wh(*shown, told(25, shows_wh + 30, 12)) == 230


def test_a_reset_before_the_last_reading_counts_what_was_not_credited_since() -> None:
    shown = [told(0, 5000), told(5, 5060), told(10, 5200), told(15, 260, 5)]
    assert credited_wh(*shown) == 200 + (260 - 140)
    assert follow(shown)[1][-1].reason is Reason.RESET
    # Within a reading's time energy counts as made evenly.
    assert credited_wh(*shown[:3], told(15, 260, 7.5)) == 200 + (260 - 70)


def test_a_reset_before_the_last_reading_takes_nothing_back() -> None:
    shown = [told(0, 5000), told(5, 5060), told(10, 5200)]
    assert credited_wh(*shown, told(15, 100, 5)) == 200
    assert credited_wh(*shown, told(15, 100, 5), told(20, 130, 5)) == 230


def test_a_reset_before_all_that_is_known_credits_nothing() -> None:
    shown = [told(0, 40), told(5, 160)]
    assert credited_wh(*shown, told(10, 170, -1)) == 120
    assert credited_wh(*shown, told(10, 170, -1), told(15, 190, -1)) == 140


def test_a_reset_before_the_last_reading_credits_no_more_than_is_possible() -> None:
    shown = [told(0, 5000), told(5, 5060.5), told(10, 90_000.5, 5)]
    assert credited_wh(*shown) == 60.5
    assert credited_wh(*shown, told(15, 90_030.5, 5)) == 90.5


def test_a_clock_that_is_ahead_resets_after_the_last_reading() -> None:
    assert credited_wh(told(0, 5000), told(5, 5060), told(10, 130, 600)) == 60 + 130


def test_a_meter_that_begins_to_say_since_when_it_counts_has_not_reset() -> None:
    assert credited_wh((0, 5000, None), (5, 5060, None), told(10, 5100), told(15, 5150)) == 150
    assert credited_wh(told(0, 5000), (5, 5060, None), told(10, 5100)) == 100


def test_resets_back_and_forth_sell_nothing_twice() -> None:
    shown = [told(0, 5000), *(told(n, 5000 + 20 * n) for n in range(5, 60, 5))]
    shown += [told(60, 650, 30), told(65, 5000 + 65 * 20, 0), told(70, 800, 30)]
    assert credited_wh(*shown) == pytest.approx(70 * 20, abs=0.01)


def test_what_was_credited_long_ago_is_known_to_the_hour_and_after_a_week_not_at_all() -> None:
    # 4 Wh a minute for nine days.
    shown = [told(n, 100_000 + 4 * n) for n in range(0, 9 * 1440, 5)]
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
def test_what_is_remembered_is_small_and_never_less_than_what_was_credited(
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
    """A counter that does what counters do, and whose meter tells of resets, at any time."""
    habits = [*["rise"] * 4, *draw(st.lists(st.sampled_from(_DO), min_size=1, max_size=5))]
    at, level, since, shown = 0.0, 20_000.0, INSTALLED_AT, []
    for _ in range(draw(st.integers(2, 60))):
        at += draw(st.sampled_from([0.1, 1, 5, 14, 31, 120]))
        does = draw(st.sampled_from(habits))
        level += draw(st.floats(0, 400)) if does == "rise" else 0
        level *= 0.93 if does == "step" else 1
        if does in ("reset", "told"):
            level = draw(st.floats(0.001, 500))
        if does in ("told", "typed"):
            since = minute(draw(st.floats(-10, at + 5)))
        value = {"zero": 0.0, "spike": level + 4e6, "absent": None}.get(does, level)
        shown.append((at, value, draw(st.sampled_from([since, since, None]))))
    return shown


_DO = ["same", "zero", "spike", "absent", "reset", "step", "told", "typed"]


@given(resetting())
def test_never_more_than_the_capacity_allows_and_never_before_what_is_settled(
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
