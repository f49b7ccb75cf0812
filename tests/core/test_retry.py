"""Tests of the delays between attempts."""

from random import Random

from core.retry import Backoff


def _delays(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next_s() for _ in range(count)]


def test_delay_doubles_up_to_the_maximum() -> None:
    assert _delays(Backoff(0.5, 3), 5) == [0.5, 1, 2, 3, 3]


def test_reset_returns_to_the_first_delay() -> None:
    backoff = Backoff(0.5, 3)
    _delays(backoff, 4)
    backoff.reset()
    assert _delays(backoff, 2) == [0.5, 1]


def test_jitter_scales_each_delay_and_leaves_the_reported_one() -> None:
    rng = Random(1)
    backoff = Backoff(0.5, 3, jitter=lambda: rng.uniform(0.5, 1.5))
    for nominal_s in (0.5, 1, 2, 3, 3):
        assert backoff.delay_s == nominal_s
        assert 0.5 * nominal_s <= backoff.next_s() <= 1.5 * nominal_s


def test_each_delay_has_a_jitter_of_its_own() -> None:
    factors = iter((0.5, 1.5))
    assert _delays(Backoff(4, 4, jitter=lambda: next(factors)), 2) == [2, 6]


def test_delay_set_by_the_caller_holds_once() -> None:
    backoff = Backoff(0.5, 3)
    backoff.delay_s = 30
    assert _delays(backoff, 2) == [30, 3]
