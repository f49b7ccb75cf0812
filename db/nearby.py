"""What is near: candidates by a place index, then the exact great-circle distance, nearest first.

Listings stand where their seller made them public. People, and the devices at their homes, are
found, measured and shown to others by their place to 0.01° alone (`shown_degrees` in the schema):
distances from exact places would give a home away to whoever asks from three points. The owner of
a device sees it where it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from core.geo import Box
from core.listings import Listing
from db.listings import listing_of
from db.pool import Connection, Record

# Only what the order needs is carried through the sort; the rest is fetched for what is shown.
_LISTINGS = """
WITH near AS MATERIALIZED (
    SELECT l.id, distance_km($5, $6, l.latitude, l.longitude) AS distance_km
      FROM unnest($1::float8[], $2::float8[], $3::float8[], $4::float8[])
           AS b (south, west, north, east)
      JOIN energy_listings l ON l.status = 'active'
       AND point(l.longitude, l.latitude) <@ box(point(b.west, b.south), point(b.east, b.north))
     WHERE ($10::numeric IS NULL OR l.energy_amount_kwh >= $10)
       AND ($11::numeric IS NULL OR l.price_per_kwh <= $11)
), page AS (
    SELECT id, distance_km FROM near
     WHERE distance_km <= $7 AND (distance_km, id) > ($8::float8, $9::uuid)
     ORDER BY distance_km, id LIMIT $12
)
SELECT l, p.distance_km, u.full_name AS seller_name, d.name AS device_name, d.kind AS device_kind
  FROM page p
  JOIN energy_listings l ON l.id = p.id
  JOIN users u ON u.id = l.seller_id
  LEFT JOIN devices d ON d.id = l.device_id
 ORDER BY p.distance_km, p.id
"""

_USERS = """
WITH near AS MATERIALIZED (
    SELECT a.user_id, shown_degrees(a.latitude) AS latitude, shown_degrees(a.longitude) AS longitude
      FROM unnest($1::float8[], $2::float8[], $3::float8[], $4::float8[])
           AS b (south, west, north, east)
      JOIN user_addresses a ON a.is_default
       AND point(shown_degrees(a.longitude), shown_degrees(a.latitude))
           <@ box(point(b.west, b.south), point(b.east, b.north))
     WHERE a.user_id <> $10
), measured AS MATERIALIZED (
    SELECT user_id, latitude, longitude, distance_km($5, $6, latitude, longitude) AS distance_km
      FROM near
)
SELECT u.id, u.full_name, u.role, m.latitude, m.longitude, m.distance_km
  FROM measured m
  JOIN users u ON u.id = m.user_id
 WHERE u.is_active AND u.role <> 'admin' AND ($11::text IS NULL OR u.role = $11)
   AND m.distance_km <= $7 AND (m.distance_km, u.id) > ($8::float8, $9::uuid)
 ORDER BY m.distance_km, u.id LIMIT $12
"""

_DEVICES = """
WITH near AS MATERIALIZED (
    SELECT d.id, shown_degrees(d.latitude) AS latitude, shown_degrees(d.longitude) AS longitude
      FROM unnest($1::float8[], $2::float8[], $3::float8[], $4::float8[])
           AS b (south, west, north, east)
      JOIN devices d ON d.deleted_at IS NULL
       AND point(shown_degrees(d.longitude), shown_degrees(d.latitude))
           <@ box(point(b.west, b.south), point(b.east, b.north))
     WHERE d.owner_id <> $10
     UNION ALL
    SELECT id, latitude, longitude
      FROM devices WHERE owner_id = $10 AND deleted_at IS NULL AND latitude IS NOT NULL
), measured AS MATERIALIZED (
    SELECT id, latitude, longitude, distance_km($5, $6, latitude, longitude) AS distance_km
      FROM near
)
SELECT d.id, d.name, d.kind, d.capacity_w, s.status, m.latitude, m.longitude, m.distance_km,
       u.id AS owner_id, u.full_name AS owner_name
  FROM measured m
  JOIN devices d ON d.id = m.id
  JOIN device_states s ON s.device_id = m.id
  JOIN users u ON u.id = d.owner_id
 WHERE u.is_active AND ($11::text IS NULL OR d.kind = $11) AND ($12::text IS NULL OR s.status = $12)
   AND m.distance_km <= $7 AND (m.distance_km, m.id) > ($8::float8, $9::uuid)
 ORDER BY m.distance_km, m.id LIMIT $13
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
class NearbyUser:
    """Somebody, and their default address to 0.01°."""

    id: UUID
    full_name: str
    role: str
    latitude: float
    longitude: float
    distance_km: float


@dataclass(frozen=True, slots=True)
class NearbyDevice:
    """A device; another one's to 0.01°."""

    id: UUID
    name: str
    kind: str
    capacity_w: float
    status: str
    latitude: float
    longitude: float
    distance_km: float
    owner_id: UUID
    owner_name: str


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
    rows = await conn.fetch(_LISTINGS, *_circle(circle), *after, min_kwh, max_price, limit)
    return [_listing(row) for row in rows]


async def users(
    conn: Connection,
    circle: Circle,
    *,
    caller_id: UUID,
    role: str | None,
    after: tuple[float, UUID],
    limit: int,
) -> list[NearbyUser]:
    """Active people but the caller and admins, nearest first; equally near ones by id."""
    rows = await conn.fetch(_USERS, *_circle(circle), *after, caller_id, role, limit)
    return [_user(row) for row in rows]


async def devices(
    conn: Connection,
    circle: Circle,
    *,
    caller_id: UUID,
    kind: str | None,
    status: str | None,
    after: tuple[float, UUID],
    limit: int,
) -> list[NearbyDevice]:
    """Devices of active owners, nearest first; equally near ones by id."""
    rows = await conn.fetch(_DEVICES, *_circle(circle), *after, caller_id, kind, status, limit)
    return [_device(row) for row in rows]


def _circle(circle: Circle) -> tuple[object, ...]:
    """Parameters $1 to $7 of every statement here."""
    return (
        [b.south for b in circle.boxes],
        [b.west for b in circle.boxes],
        [b.north for b in circle.boxes],
        [b.east for b in circle.boxes],
        circle.latitude,
        circle.longitude,
        circle.radius_km,
    )


def _listing(row: Record) -> NearbyListing:
    return NearbyListing(
        listing=listing_of(row["l"]),
        distance_km=row["distance_km"],
        seller_name=row["seller_name"],
        device_name=row["device_name"],
        device_kind=row["device_kind"],
    )


def _user(row: Record) -> NearbyUser:
    return NearbyUser(
        id=row["id"],
        full_name=row["full_name"],
        role=row["role"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        distance_km=row["distance_km"],
    )


def _device(row: Record) -> NearbyDevice:
    return NearbyDevice(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        capacity_w=row["capacity_w"],
        status=row["status"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        distance_km=row["distance_km"],
        owner_id=row["owner_id"],
        owner_name=row["owner_name"],
    )
