"""Great-circle distance, search boxes, H3 cells. WGS 84 degrees in, kilometres out.

Distances are on a sphere of the IUGG mean radius; SQL function `distance_km` uses the same
formula (haversine: Sinnott, Sky and Telescope 68, 1984, stable for small distances).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import asin, ceil, cos, degrees, pi, radians, sin, sqrt

import h3

EARTH_RADIUS_KM = 6371.0088
NEIGHBOURHOOD_RESOLUTION = 6

# Resolution of the cells that cover a circle, by the largest radius in km.
_COVER_RESOLUTION = {10.0: 6, 30.0: 5, 100.0: 4}
COVER_RESOLUTIONS = tuple(_COVER_RESOLUTION.values())
RADIUS_MAX_KM = max(_COVER_RESOLUTION)

# A circle wider than this is searched at an eighth of its radius first.
_WIDE_KM, _FIRST_PART = 10, 8


@dataclass(frozen=True, slots=True)
class Box:
    """A box in degrees, south ≤ north and west ≤ east: it never crosses the antimeridian."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Circle:
    """All places within `radius_km` (≤ 100) of a centre."""

    latitude: float
    longitude: float
    radius_km: float

    @property
    def boxes(self) -> tuple[Box, ...]:
        return search_boxes(self.latitude, self.longitude, self.radius_km)

    def expanding(self) -> Iterator["Circle"]:
        """Yield circles of increasing radius, to search until enough is found; last this one.

        In a dense area a small circle contains enough results, at a fraction of the cost.
        """
        if self.radius_km > _WIDE_KM:
            yield replace(self, radius_km=self.radius_km / _FIRST_PART)
        yield self


def distance_km(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """Return the great-circle distance of two places."""
    phi, other_phi = radians(latitude), radians(other_latitude)
    half = (
        sin((other_phi - phi) / 2) ** 2
        + cos(phi) * cos(other_phi) * sin(radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * asin(sqrt(min(1.0, half)))


def search_boxes(latitude: float, longitude: float, radius_km: float) -> tuple[Box, ...]:
    """Return one or two boxes that together contain every point within `radius_km`.

    Two if the circle crosses the antimeridian; all longitudes if it contains a pole.
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
    """Return the H3 cell that contains a place."""
    return str(h3.latlng_to_cell(latitude, longitude, resolution))


def covering_cells(latitude: float, longitude: float, radius_km: float) -> list[str]:
    """Return H3 cells of one resolution that together cover a circle of `radius_km` (≤ 100).

    Cells differ in size: centres of neighbours are at least 0.69 of the average distance apart. So
    each ring of cells covers at least 0.6 of it, and √3/2 of that in the worst direction.
    """
    resolution = next(r for up_to_km, r in _COVER_RESOLUTION.items() if radius_km <= up_to_km)
    step_km = h3.average_hexagon_edge_length(resolution, "km") * sqrt(3) * 0.6 * sqrt(3) / 2
    centre = cell(latitude, longitude, resolution)
    return list(h3.grid_disk(centre, ceil(radius_km / step_km) + 1))


def neighbourhood(latitude: float, longitude: float) -> str:
    """Return the H3 cell whose local price applies to a place."""
    return cell(latitude, longitude, NEIGHBOURHOOD_RESOLUTION)


def with_ring(cell_: str) -> list[str]:
    """Return a cell and its neighbours."""
    return list(h3.grid_disk(cell_, 1))
