"""Circles are found wherever on the globe they are."""

from math import asin, atan2, cos, degrees, pi, radians, sin

from hypothesis import given
from hypothesis import strategies as st

from core.geo import EARTH_RADIUS_KM
from realtime.audiences import Circles
from realtime.protocol import SubscribedCircle

CIRCLES = st.builds(
    SubscribedCircle,
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    radius_km=st.floats(0.01, 100),
)


def place(circle: SubscribedCircle, bearing: float, share: float) -> tuple[float, float]:
    """Return the place at a bearing from the centre, at a share of the radius."""
    angle = circle.radius_km * share / EARTH_RADIUS_KM
    phi = radians(circle.latitude)
    there = asin(max(-1, min(1, sin(phi) * cos(angle) + cos(phi) * sin(angle) * cos(bearing))))
    turned = atan2(sin(bearing) * sin(angle) * cos(phi), cos(angle) - sin(phi) * sin(there))
    longitude = circle.longitude + degrees(turned)
    return degrees(there), (longitude + 180) % 360 - 180


@given(CIRCLES, st.floats(0, 2 * pi), st.floats(0, 0.999))
def test_a_place_inside_is_found(circle: SubscribedCircle, bearing: float, share: float) -> None:
    circles: Circles[str] = Circles()
    circles.add("asha", circle)
    assert list(circles.around(*place(circle, bearing, share))) == ["asha"]


@given(CIRCLES, st.floats(0, 2 * pi), st.floats(1.001, 3))
def test_a_place_outside_is_not(circle: SubscribedCircle, bearing: float, share: float) -> None:
    circles: Circles[str] = Circles()
    circles.add("asha", circle)
    assert list(circles.around(*place(circle, bearing, share))) == []


@given(CIRCLES)
def test_who_left_is_not_found_and_leaves_nothing_behind(circle: SubscribedCircle) -> None:
    circles: Circles[str] = Circles()
    circles.add("asha", circle)
    circles.discard("asha")
    assert list(circles.around(circle.latitude, circle.longitude)) == []
    assert len(circles) == 0
