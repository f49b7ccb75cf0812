"""What is near: candidates by the place index, then the exact great-circle distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from core.geo import Box
from core.listings import Listing
from db.listings import listing_of
from db.pool import Connection

_LISTINGS = """
WITH near AS MATERIALIZED (
    SELECT l, distance_km($5, $6, l.latitude, l.longitude) AS distance_km
      FROM unnest($1::float8[], $2::float8[], $3::float8[], $4::float8[])
           AS b (south, west, north, east)
      JOIN energy_listings l ON l.status = 'active'
       AND point(l.longitude, l.latitude) <@ box(point(b.west, b.south), point(b.east, b.north))
     WHERE ($8::numeric IS NULL OR l.energy_amount_kwh >= $8)
       AND ($9::numeric IS NULL OR l.price_per_kwh <= $9)
), page AS (
    SELECT l, distance_km FROM near
     WHERE distance_km <= $7 AND (distance_km, (l).id) > ($10::float8, $11::uuid)
     ORDER BY distance_km, (l).id LIMIT $12
)
SELECT p.l, p.distance_km, u.full_name AS seller_name, d.name AS device_name, d.kind AS device_kind
  FROM page p
  JOIN users u ON u.id = (p.l).seller_id
  LEFT JOIN devices d ON d.id = (p.l).device_id
 ORDER BY p.distance_km, (p.l).id
"""


@dataclass(frozen=True, slots=True)
class NearbyListing:
    """An active listing, who sells it, and what measures it."""

    listing: Listing
    distance_km: float
    seller_name: str
    device_name: str | None
    device_kind: str | None


@dataclass(frozen=True, slots=True)
class Circle:
    """`boxes` hold every point of it: `core.geo.search_boxes`."""

    latitude: float
    longitude: float
    radius_km: float
    boxes: Sequence[Box]


async def listings(
    conn: Connection,
    circle: Circle,
    *,
    min_kwh: Decimal | None,
    max_price: Decimal | None,
    after: tuple[float, UUID],
    limit: int,
) -> list[NearbyListing]:
    """Active listings inside the circle, nearest first; equally near ones by id."""
    rows = await conn.fetch(
        _LISTINGS,
        [b.south for b in circle.boxes],
        [b.west for b in circle.boxes],
        [b.north for b in circle.boxes],
        [b.east for b in circle.boxes],
        circle.latitude,
        circle.longitude,
        circle.radius_km,
        min_kwh,
        max_price,
        *after,
        limit,
    )
    return [
        NearbyListing(
            listing=listing_of(row["l"]),
            distance_km=row["distance_km"],
            seller_name=row["seller_name"],
            device_name=row["device_name"],
            device_kind=row["device_kind"],
        )
        for row in rows
    ]
