"""Real localities of Bangalore, where simulated people live."""

from dataclasses import dataclass
from random import Random

_NEARBY_DEG = 0.006  # some 650 m
UTC_OFFSET_H = 5.5


@dataclass(frozen=True, slots=True)
class Place:
    """A named point, WGS 84 degrees."""

    name: str
    latitude: float
    longitude: float


LOCALITIES = (
    Place("Indiranagar", 12.9784, 77.6408),
    Place("Koramangala", 12.9352, 77.6245),
    Place("Jayanagar", 12.9308, 77.5838),
    Place("JP Nagar", 12.9063, 77.5857),
    Place("HSR Layout", 12.9121, 77.6446),
    Place("BTM Layout", 12.9166, 77.6101),
    Place("Basavanagudi", 12.9422, 77.5738),
    Place("Banashankari", 12.9255, 77.5468),
    Place("Malleshwaram", 13.0031, 77.5643),
    Place("Rajajinagar", 12.9915, 77.5544),
    Place("Vijayanagar", 12.9719, 77.5302),
    Place("Ulsoor", 12.9817, 77.6286),
    Place("Frazer Town", 12.9986, 77.6129),
    Place("Hebbal", 13.0358, 77.5970),
    Place("Sahakar Nagar", 13.0623, 77.5871),
    Place("Yelahanka", 13.1007, 77.5963),
    Place("Peenya", 13.0285, 77.5197),
    Place("Kengeri", 12.9177, 77.4838),
    Place("Marathahalli", 12.9591, 77.6974),
    Place("Bellandur", 12.9304, 77.6784),
    Place("Whitefield", 12.9698, 77.7500),
    Place("KR Puram", 13.0077, 77.6950),
    Place("Sarjapur Road", 12.9010, 77.6874),
    Place("Electronic City", 12.8452, 77.6602),
)


def near(place: Place, chance: Random) -> Place:
    """A home in that locality."""
    return Place(
        place.name,
        round(place.latitude + chance.uniform(-_NEARBY_DEG, _NEARBY_DEG), 6),
        round(place.longitude + chance.uniform(-_NEARBY_DEG, _NEARBY_DEG), 6),
    )
