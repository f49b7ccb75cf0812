"""Listings, users and devices near a place: candidates by an index, ordered by exact distance.

Places of others are rounded to 0.01° (`public_degrees` in the schema) before they are searched,
measured and shown. An exact distance, or a radius that just includes a place, would reveal a home
to anyone who asks from three points. The `latitude` and `longitude` of a listing are its public
ones: a seller may have published the exact place. An owner sees the exact place of a device.
"""

from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from uuid import UUID

import asyncpg

from core.enums import DeviceKind, DeviceStatus, UserRole
from core.geo import Box, Circle
from core.ids import UserId
from db.pool import Connection, Record

# The sort carries only its keys; the other columns are fetched for the rows of the page.
_LISTINGS = """
WITH near AS MATERIALIZED (
    SELECT l.id, distance_km($2, $3, l.latitude, l.longitude) AS distance_km
      FROM energy_listings l
     WHERE l.status = 'active' AND l.energy_amount_kwh > 0
       AND point(l.longitude, l.latitude) <@ $1::box
       AND ($7::numeric IS NULL OR l.energy_amount_kwh >= $7)
       AND ($8::numeric IS NULL OR l.price_per_kwh <= $8)
), page AS (
    SELECT id, distance_km FROM near
     WHERE distance_km <= $4 AND (distance_km, id) > ($5::float8, $6::uuid)
     ORDER BY distance_km, id LIMIT $9
)
SELECT p.id, p.distance_km, concat(
           '{', listing_members(l, NULL), ',"distance_km":', round(p.distance_km::numeric, 3),
           ',"seller":', json_build_object('id', u.id, 'full_name', u.full_name),
           ',"device":', coalesce(CASE WHEN d.id IS NOT NULL THEN
               json_build_object('id', d.id, 'name', d.name, 'kind', d.kind) END::text, 'null'),
           '}') AS shown
  FROM page p
  JOIN energy_listings l ON l.id = p.id
  JOIN users u ON u.id = l.seller_id
  LEFT JOIN devices d ON d.id = l.device_id
 ORDER BY p.distance_km, p.id
"""

_USERS = """
WITH near AS MATERIALIZED (
    SELECT a.user_id, public_degrees(a.latitude) AS latitude,
           public_degrees(a.longitude) AS longitude
      FROM user_addresses a
     WHERE a.is_default AND a.user_id <> $7
       AND point(public_degrees(a.longitude), public_degrees(a.latitude)) <@ $1::box
), measured AS MATERIALIZED (
    SELECT user_id, latitude, longitude, distance_km($2, $3, latitude, longitude) AS distance_km
      FROM near
)
SELECT u.id, u.full_name, u.role, m.latitude, m.longitude, m.distance_km
  FROM measured m
  JOIN users u ON u.id = m.user_id
 WHERE u.is_active AND u.role <> 'admin' AND ($8::text IS NULL OR u.role = $8)
   AND m.distance_km <= $4 AND (m.distance_km, u.id) > ($5::float8, $6::uuid)
 ORDER BY m.distance_km, u.id LIMIT $9
"""

_DEVICES = """
WITH near AS MATERIALIZED (
    SELECT d.id, public_degrees(d.latitude) AS latitude, public_degrees(d.longitude) AS longitude
      FROM devices d
     WHERE d.deleted_at IS NULL AND d.owner_id <> $7
       AND point(public_degrees(d.longitude), public_degrees(d.latitude)) <@ $1::box
     UNION ALL
    SELECT id, latitude, longitude
      FROM devices
     WHERE owner_id = $7 AND deleted_at IS NULL AND point(longitude, latitude) <@ $1::box
), measured AS MATERIALIZED (
    SELECT id, latitude, longitude, distance_km($2, $3, latitude, longitude) AS distance_km
      FROM near
)
SELECT d.id, d.name, d.kind, d.capacity_w, d.funding_target, d.revenue_share, d.funded, s.status,
       m.latitude, m.longitude, m.distance_km,
       u.id AS owner_id, u.full_name AS owner_name
  FROM measured m
  JOIN devices d ON d.id = m.id
  JOIN device_states s ON s.device_id = m.id
  JOIN users u ON u.id = d.owner_id
 WHERE u.is_active AND ($8::text IS NULL OR d.kind = $8) AND ($9::text IS NULL OR s.status = $9)
   AND m.distance_km <= $4 AND (m.distance_km, m.id) > ($5::float8, $6::uuid)
 ORDER BY m.distance_km, m.id LIMIT $10
"""


@dataclass(frozen=True, slots=True)
class NearbyListing:
    """An active listing with energy left. `shown` is its JSON, with its seller and device."""

    id: UUID
    distance_km: float
    shown: str


@dataclass(frozen=True, slots=True)
class NearbyUser:
    """A user, and their default address to 0.01°."""

    id: UUID
    full_name: str
    role: UserRole
    latitude: float
    longitude: float
    distance_km: float


@dataclass(frozen=True, slots=True)
class NearbyDevice:
    """A device; the place of somebody else's device is rounded to 0.01°."""

    id: UUID
    name: str
    kind: DeviceKind
    capacity_w: float
    status: DeviceStatus
    latitude: float
    longitude: float
    distance_km: float
    funding_target: Decimal | None
    revenue_share: Decimal | None
    funded: Decimal
    owner_id: UserId
    owner_name: str


async def listings(
    conn: Connection,
    circle: Circle,
    *,
    min_kwh: Decimal | None,
    max_price: Decimal | None,
    after: tuple[float, UUID],
    limit: int,
) -> list[NearbyListing]:
    """Return active listings with energy left, nearest first; equally near ones by id."""
    rows = await _nearest(conn, _LISTINGS, circle, after, min_kwh, max_price, limit=limit)
    return [NearbyListing(row["id"], row["distance_km"], row["shown"]) for row in rows]


async def users(
    conn: Connection,
    circle: Circle,
    *,
    caller_id: UserId,
    role: UserRole | None,
    after: tuple[float, UUID],
    limit: int,
) -> list[NearbyUser]:
    """Return active users except the caller and administrators, by distance and id."""
    rows = await _nearest(conn, _USERS, circle, after, caller_id, role, limit=limit)
    return [_user(row) for row in rows]


async def devices(
    conn: Connection,
    circle: Circle,
    *,
    caller_id: UserId,
    kind: str | None,
    status: str | None,
    after: tuple[float, UUID],
    limit: int,
) -> list[NearbyDevice]:
    """Return devices of active owners, by distance and id."""
    rows = await _nearest(conn, _DEVICES, circle, after, caller_id, kind, status, limit=limit)
    return [_device(row) for row in rows]


async def _nearest(
    conn: Connection,
    statement: str,
    circle: Circle,
    after: tuple[float, UUID],
    *filters: object,
    limit: int,
) -> list[Record]:
    """Return the first `limit` rows in a circle, by distance and id."""
    rows: list[Record] = []
    for part in circle.expanding():
        rows = []
        for box in part.boxes:
            parameters = _parameters(part, box)
            rows += await conn.fetch(statement, *parameters, *after, *filters, limit)
        if len(rows) >= limit:
            # All rows outside this part of the circle are further away.
            break
    return sorted(rows, key=itemgetter("distance_km", "id"))[:limit]


def _parameters(circle: Circle, box: Box) -> tuple[object, ...]:
    """Return $1 to $4 of every statement here.

    One box, and not an array of boxes: PostgreSQL can't estimate the length of an array. It would
    reject the generic plan as too expensive and plan each call anew.
    """
    corners = asyncpg.Box((box.east, box.north), (box.west, box.south))
    return corners, circle.latitude, circle.longitude, circle.radius_km


def _user(row: Record) -> NearbyUser:
    return NearbyUser(
        id=row["id"],
        full_name=row["full_name"],
        role=UserRole(row["role"]),
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
        funding_target=row["funding_target"],
        revenue_share=row["revenue_share"],
        funded=row["funded"],
        owner_id=row["owner_id"],
        owner_name=row["owner_name"],
    )
