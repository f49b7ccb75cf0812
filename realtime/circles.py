"""Which clients want to hear of a place. Knows nothing of hubs or sockets."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.geo import COVER_RESOLUTIONS, cell, covering_cells, distance_km

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SubscribedCircle:
    latitude: float
    longitude: float
    radius_km: float

    def holds(self, latitude: float, longitude: float) -> bool:
        apart_km = distance_km(self.latitude, self.longitude, latitude, longitude)
        return apart_km <= self.radius_km

    def cells(self) -> list[str]:
        return covering_cells(self.latitude, self.longitude, self.radius_km)


class Circles(Generic[T]):
    """Finds those whose circle holds a place among those who are in its cell, not among all."""

    def __init__(self) -> None:
        self._circles: dict[T, SubscribedCircle] = {}
        self._in_cell: defaultdict[str, set[T]] = defaultdict(set)

    def add(self, who: T, circle: SubscribedCircle) -> None:
        """`who` must not be in here."""
        self._circles[who] = circle
        for name in circle.cells():
            self._in_cell[name].add(who)

    def discard(self, who: T) -> None:
        circle = self._circles.pop(who, None)
        for name in circle.cells() if circle else ():
            self._in_cell[name].discard(who)
            if not self._in_cell[name]:
                del self._in_cell[name]

    def around(self, latitude: float, longitude: float) -> Iterator[T]:
        """Each of whose circles holds the place, once."""
        for resolution in COVER_RESOLUTIONS:
            for who in self._in_cell.get(cell(latitude, longitude, resolution), ()):
                if self._circles[who].holds(latitude, longitude):
                    yield who

    def __len__(self) -> int:
        return len(self._circles)
