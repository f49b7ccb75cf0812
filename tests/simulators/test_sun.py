"""The simulated sun: plausible power curves, clouds, and the sun's clock."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from simulators.places import LOCALITIES
from simulators.sun import Roof, Sky, SunClock, clouds, local_hour, power_curve

ROOF = Roof(LOCALITIES[0], 13, 180)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def at_local(hour: float) -> datetime:
    return MARCH + timedelta(hours=hour - 5.5)


@pytest.mark.parametrize("hour", [6, 19, 22, 5.6, 23.9])
def test_there_is_no_power_at_night(hour: float) -> None:
    assert Sky(1).power_w_per_w(ROOF, at_local(hour)) == 0


def test_a_clear_noon_gives_most_of_the_rated_power() -> None:
    curve = power_curve(ROOF, MARCH.date(), [1.0] * 1441)
    assert 0.75 < max(curve) < 0.95
    assert min(curve) == 0
    assert local_hour(MARCH + timedelta(minutes=curve.index(max(curve)))) == pytest.approx(
        12.5, abs=0.5
    )


def test_a_clear_day_gives_a_plausible_yield() -> None:
    curve = power_curve(ROOF, MARCH.date(), [1.0] * 1441)
    assert 5 < sum(curve) / 60 < 7, "kWh per kWp of a clear day in March at 13° north"


def test_east_roofs_peak_before_west_roofs() -> None:
    beam = [1.0] * 1441
    east = power_curve(Roof(LOCALITIES[0], 30, 90), MARCH.date(), beam)
    west = power_curve(Roof(LOCALITIES[0], 30, 270), MARCH.date(), beam)
    assert east.index(max(east)) < west.index(max(west))


def test_clouds_are_the_same_for_the_same_seed() -> None:
    beam = clouds(Random(7))
    assert beam == clouds(Random(7))
    assert beam != clouds(Random(8))
    assert min(beam) < 0.9 < max(beam) == 1.0


def test_clouds_only_reduce_power() -> None:
    clear = power_curve(ROOF, MARCH.date(), [1.0] * 1441)
    cloudy = power_curve(ROOF, MARCH.date(), clouds(Random(7)))
    assert all(less <= most + 1e-9 for less, most in zip(cloudy, clear, strict=True))
    assert sum(cloudy) < sum(clear)


def test_a_sky_is_the_same_for_the_same_seed_on_every_day() -> None:
    noons = [at_local(12) + timedelta(days=day) for day in (0, 1, 0)]
    first, other = Sky(3), Sky(3)
    powers = [first.power_w_per_w(ROOF, noon) for noon in noons]
    assert powers == [other.power_w_per_w(ROOF, noon) for noon in noons]
    assert powers[0] == powers[2] != powers[1]


def test_the_last_second_of_a_day_can_be_read() -> None:
    assert Sky(1).power_w_per_w(ROOF, MARCH - timedelta(microseconds=1)) == 0


def test_the_simulated_sun_can_start_at_another_hour_and_move_faster() -> None:
    now = at_local(21)
    clock = SunClock.starting(now, hour=12, speed=60)
    assert local_hour(clock.at(now)) == 12
    assert local_hour(clock.at(now + timedelta(minutes=1))) == pytest.approx(13)


def test_the_simulated_sun_is_the_real_one_by_default() -> None:
    now = at_local(21)
    assert SunClock.starting(now).at(now + timedelta(hours=1)) == now + timedelta(hours=1)
