"""Localities of Bangalore in which simulated homes and buyers are placed."""

from dataclasses import dataclass
from random import Random

# About 650 m.
_NEARBY_DEG = 0.006
# India has one time zone and no summer time.
UTC_OFFSET_H = 5.5


@dataclass(frozen=True, slots=True)
class Locality:
    """A named point in WGS 84 degrees."""

    name: str
    latitude: float
    longitude: float


LOCALITIES = (
    Locality("Indiranagar", 12.9784, 77.6408),
    Locality("Koramangala", 12.9352, 77.6245),
    Locality("Jayanagar", 12.9308, 77.5838),
    Locality("JP Nagar", 12.9063, 77.5857),
    Locality("HSR Layout", 12.9121, 77.6446),
    Locality("BTM Layout", 12.9166, 77.6101),
    Locality("Basavanagudi", 12.9422, 77.5738),
    Locality("Banashankari", 12.9255, 77.5468),
    Locality("Malleshwaram", 13.0031, 77.5643),
    Locality("Rajajinagar", 12.9915, 77.5544),
    Locality("Vijayanagar", 12.9719, 77.5302),
    Locality("Ulsoor", 12.9817, 77.6286),
    Locality("Frazer Town", 12.9986, 77.6129),
    Locality("Hebbal", 13.0358, 77.5970),
    Locality("Sahakar Nagar", 13.0623, 77.5871),
    Locality("Yelahanka", 13.1007, 77.5963),
    Locality("Peenya", 13.0285, 77.5197),
    Locality("Kengeri", 12.9177, 77.4838),
    Locality("Marathahalli", 12.9591, 77.6974),
    Locality("Bellandur", 12.9304, 77.6784),
    Locality("Whitefield", 12.9698, 77.7500),
    Locality("KR Puram", 13.0077, 77.6950),
    Locality("Sarjapur Road", 12.9010, 77.6874),
    Locality("Electronic City", 12.8452, 77.6602),
)


def near(place: Locality, chance: Random) -> Locality:
    """Return a random point in the locality."""
    return Locality(
        place.name,
        round(place.latitude + chance.uniform(-_NEARBY_DEG, _NEARBY_DEG), 6),
        round(place.longitude + chance.uniform(-_NEARBY_DEG, _NEARBY_DEG), 6),
    )
