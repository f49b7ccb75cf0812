"""Great-circle distance, search boxes, H3 cells. WGS 84 degrees in, kilometres out.

Distances take the earth as a sphere of the IUGG mean radius; `db` computes them with the same
formula (haversine: Sinnott, Sky and Telescope 68, 1984, stable for small distances).
"""

from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin, sqrt

import h3

EARTH_RADIUS_KM = 6371.0088
NEIGHBOURHOOD_RESOLUTION = 6


@dataclass(frozen=True, slots=True)
class Box:
    """Degrees, south ≤ north and west ≤ east: a box never crosses the antimeridian."""

    south: float
    west: float
    north: float
    east: float


def distance_km(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    phi, other_phi = radians(latitude), radians(other_latitude)
    half = (
        sin((other_phi - phi) / 2) ** 2
        + cos(phi) * cos(other_phi) * sin(radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * asin(sqrt(min(1.0, half)))


def search_boxes(latitude: float, longitude: float, radius_km: float) -> tuple[Box, ...]:
    """One or two boxes that together hold every point within `radius_km`.

    Two where the circle crosses the antimeridian; every longitude where it holds a pole.
    Source of the widest longitude: J. P. Matuschek, Finding Points Within a Distance, section 3.3.
    """
    angle = radius_km / EARTH_RADIUS_KM + 1e-9
    reach = degrees(angle)
    south, north = max(-90.0, latitude - reach), min(90.0, latitude + reach)
    if latitude - reach <= -90 or latitude + reach >= 90 or angle >= pi / 2:
        return (Box(south, -180.0, north, 180.0),)
    width = degrees(asin(min(1.0, sin(angle) / cos(radians(latitude))))) + 1e-9
    west, east = longitude - width, longitude + width
    if width >= 180:
        return (Box(south, -180.0, north, 180.0),)
    if west < -180:
        return (Box(south, west + 360, north, 180.0), Box(south, -180.0, north, east))
    if east > 180:
        return (Box(south, west, north, 180.0), Box(south, -180.0, north, east - 360))
    return (Box(south, west, north, east),)


def neighbourhood(latitude: float, longitude: float) -> str:
    """The H3 cell in which local prices form."""
    return str(h3.latlng_to_cell(latitude, longitude, NEIGHBOURHOOD_RESOLUTION))
