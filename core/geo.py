"""Great-circle distance, search boxes, H3 cells. WGS 84 degrees in, kilometres out.

Distances take the earth as a sphere of the IUGG mean radius; `db` computes them with the same
formula (haversine: Sinnott, Sky and Telescope 68, 1984, stable for small distances).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import asin, ceil, cos, degrees, pi, radians, sin, sqrt

import h3

EARTH_RADIUS_KM = 6371.0088
NEIGHBOURHOOD_RESOLUTION = 6

# The resolution of cells to cover a circle with, by the largest radius in km that it is good for.
_COVER_RESOLUTION = {10.0: 6, 30.0: 5, 100.0: 4}
COVER_RESOLUTIONS = tuple(_COVER_RESOLUTION.values())
RADIUS_MAX_KM = max(_COVER_RESOLUTION)

_WIDE_KM, _MIDDLE = 10, 8


@dataclass(frozen=True, slots=True)
class Box:
    """Degrees, south ≤ north and west ≤ east: a box never crosses the antimeridian."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Circle:
    """All places within `radius_km` (≤ 100) of one."""

    latitude: float
    longitude: float
    radius_km: float

    @property
    def boxes(self) -> tuple[Box, ...]:
        return search_boxes(self.latitude, self.longitude, self.radius_km)

    def from_the_middle(self) -> Iterator["Circle"]:
        """Circles to search one after the other until enough is found; the last one is this one.

        Where much is near, the middle of a wide circle holds enough, at a small part of the area.
        """
        if self.radius_km > _WIDE_KM:
            yield replace(self, radius_km=self.radius_km / _MIDDLE)
        yield self


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


def cell(latitude: float, longitude: float, resolution: int) -> str:
    """The H3 cell that a place lies in."""
    return str(h3.latlng_to_cell(latitude, longitude, resolution))


def covering_cells(latitude: float, longitude: float, radius_km: float) -> list[str]:
    """H3 cells of one of `COVER_RESOLUTIONS` that together hold all within `radius_km` (≤ 100).

    Cells are not all alike: centres of neighbours are at least 0.69 of the average apart. A step
    from cell to cell goes a distance of 0.6 of it for sure, in the worst direction √3/2 of that.
    """
    resolution = next(r for up_to_km, r in _COVER_RESOLUTION.items() if radius_km <= up_to_km)
    step_km = h3.average_hexagon_edge_length(resolution, "km") * sqrt(3) * 0.6 * sqrt(3) / 2
    centre = cell(latitude, longitude, resolution)
    return list(h3.grid_disk(centre, ceil(radius_km / step_km) + 1))


def neighbourhood(latitude: float, longitude: float) -> str:
    """The H3 cell in which local prices form."""
    return cell(latitude, longitude, NEIGHBOURHOOD_RESOLUTION)


def with_ring(cell_: str) -> list[str]:
    """A cell and those around it."""
    return list(h3.grid_disk(cell_, 1))
