"""The elevation of the sun over a place, to a hundredth of a degree.

Source: the Astronomical Almanac's low-precision formulas, as J. J. Michalsky gives them in "The
Astronomical Almanac's algorithm for approximate solar position (1950-2050)", Solar Energy 40(3),
1988, 227-235. Refraction is left out: below the horizon it is negligible.
"""

from datetime import UTC, datetime
from math import asin, atan2, cos, degrees, radians, sin

# End of civil twilight: below this the sun yields no usable light.
DARK_BELOW_DEG = -6.0

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_DAY_S = 86_400
_HOURS_TO_DEG = 15


def elevation_deg(at: datetime, latitude: float, longitude: float) -> float:
    """Return the angle of the sun's centre above the horizon, negative below it."""
    days = (at - _J2000).total_seconds() / _DAY_S
    right_ascension, declination = _equatorial(days)
    hour = at.astimezone(UTC)
    utc_h = hour.hour + hour.minute / 60 + hour.second / 3600
    sidereal_h = 6.697375 + 0.0657098242 * days + utc_h
    hour_angle = radians(sidereal_h * _HOURS_TO_DEG + longitude) - right_ascension
    north = radians(latitude)
    sine = sin(declination) * sin(north) + cos(declination) * cos(north) * cos(hour_angle)
    return degrees(asin(max(-1.0, min(1.0, sine))))


def _equatorial(days: float) -> tuple[float, float]:
    """Return right ascension and declination in radians, `days` after 2000-01-01 12:00 UTC."""
    mean_longitude_deg = 280.460 + 0.9856474 * days
    mean_anomaly = radians(357.528 + 0.9856003 * days)
    ecliptic_longitude = radians(
        mean_longitude_deg + 1.915 * sin(mean_anomaly) + 0.020 * sin(2 * mean_anomaly)
    )
    obliquity = radians(23.439 - 0.0000004 * days)
    right_ascension = atan2(cos(obliquity) * sin(ecliptic_longitude), cos(ecliptic_longitude))
    return right_ascension, asin(sin(obliquity) * sin(ecliptic_longitude))
