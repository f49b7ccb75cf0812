"""Pages of the list of listings, newest or cheapest first; each costs as much as the first one.

There is one statement per index, chosen by the narrowest condition; the other conditions filter the
rows of that index. A single statement with `$1 IS NULL OR …` for each index would be planned anew
for every call. PostgreSQL caches these plans. `LIMIT 101`, the largest page, makes it plan for few
rows; the outer LIMIT returns as many as the caller asked for.

Filters are CASE expressions, for which PostgreSQL assumes that half the rows match. For `$3 IS NULL
OR …` it assumes that few match, so it would expect less than a page and sort all rows.

The condition is part of the key and of the order, which only its own index has. With `status = $7`
PostgreSQL might scan all listings, since it assumes that a fifth has that status. With `seller_id =
$7` it might sort all listings of a seller, since it assumes few. The cheapest listings of one
seller or device have no such index: all are sorted for every page. A highest price ends the scan of
the cheapest.

PostgreSQL writes the JSON of each listing, as for events: fetching rows and converting them takes
the API several times as long. The reader ($6) sees the exact places of their own listings.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import ListingStatus
from core.ids import DeviceId, ListingId, UserId
from db.pool import Connection

# The LIMIT of the statements: the largest page, and one listing that shows whether more follow.
LIMIT_MAX = 101

_NEWEST = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE (created_at, id) < ($1::timestamptz, $2::uuid)
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
       AND CASE WHEN $4::numeric IS NULL THEN true ELSE price_per_kwh <= $4 END
     ORDER BY created_at DESC, id DESC LIMIT 101
) AS part LIMIT $5
"""

_NEWEST_OF_STATUS = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE (status, created_at, id) < ($7::text, $1::timestamptz, $2::uuid) AND status >= $7
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
       AND CASE WHEN $4::numeric IS NULL THEN true ELSE price_per_kwh <= $4 END
     ORDER BY status DESC, created_at DESC, id DESC LIMIT 101
) AS part LIMIT $5
"""

_NEWEST_OF_SELLER = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE (seller_id, created_at, id) < ($7::uuid, $1::timestamptz, $2::uuid) AND seller_id >= $7
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
       AND CASE WHEN $4::numeric IS NULL THEN true ELSE price_per_kwh <= $4 END
       AND CASE WHEN $8::text IS NULL THEN true ELSE status = $8 END
     ORDER BY seller_id DESC, created_at DESC, id DESC LIMIT 101
) AS part LIMIT $5
"""

_NEWEST_OF_DEVICE = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE (device_id, created_at, id) < ($7::uuid, $1::timestamptz, $2::uuid) AND device_id >= $7
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
       AND CASE WHEN $4::numeric IS NULL THEN true ELSE price_per_kwh <= $4 END
       AND CASE WHEN $8::text IS NULL THEN true ELSE status = $8 END
       AND CASE WHEN $9::uuid IS NULL THEN true ELSE seller_id = $9 END
     ORDER BY device_id DESC, created_at DESC, id DESC LIMIT 101
) AS part LIMIT $5
"""

_CHEAPEST = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE (price_per_kwh, id) > ($1::numeric, $2::uuid)
       AND price_per_kwh <= coalesce($4::numeric, 'Infinity')
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
     ORDER BY price_per_kwh, id LIMIT 101
) AS part LIMIT $5
"""

_CHEAPEST_OF_STATUS = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE (status, price_per_kwh, id) > ($7::text, $1::numeric, $2::uuid)
       AND (status, price_per_kwh) <= ($7, coalesce($4::numeric, 'Infinity'))
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
     ORDER BY status, price_per_kwh, id LIMIT 101
) AS part LIMIT $5
"""

_CHEAPEST_OF_SELLER = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE seller_id = $7 AND (price_per_kwh, id) > ($1::numeric, $2::uuid)
       AND price_per_kwh <= coalesce($4::numeric, 'Infinity')
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
       AND CASE WHEN $8::text IS NULL THEN true ELSE status = $8 END
     ORDER BY price_per_kwh, id LIMIT 101
) AS part LIMIT $5
"""

_CHEAPEST_OF_DEVICE = """
SELECT id, created_at, price_per_kwh, shown FROM (
    SELECT l.id, l.created_at, l.price_per_kwh, listing_text(l, $6) AS shown
      FROM energy_listings l
     WHERE device_id = $7 AND (price_per_kwh, id) > ($1::numeric, $2::uuid)
       AND price_per_kwh <= coalesce($4::numeric, 'Infinity')
       AND CASE WHEN $3::numeric IS NULL THEN true ELSE energy_amount_kwh >= $3 END
       AND CASE WHEN $8::text IS NULL THEN true ELSE status = $8 END
       AND CASE WHEN $9::uuid IS NULL THEN true ELSE seller_id = $9 END
     ORDER BY price_per_kwh, id LIMIT 101
) AS part LIMIT $5
"""


@dataclass(frozen=True, slots=True)
class ListingFilter:
    """Conditions on listings; None: any."""

    status: ListingStatus | None = None
    seller_id: UserId | None = None
    device_id: DeviceId | None = None
    min_kwh: Decimal | None = None
    max_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The keys of a listing in the lists, and its JSON for the reader."""

    id: ListingId
    created_at: datetime
    price_per_kwh: Decimal
    shown: str


async def newest(
    conn: Connection,
    where: ListingFilter,
    *,
    reader_id: UserId,
    before: tuple[datetime, UUID],
    limit: int,
) -> list[Listed]:
    """Return at most `LIMIT_MAX` listings from before a key, newest first."""
    statements = _NEWEST, _NEWEST_OF_STATUS, _NEWEST_OF_SELLER, _NEWEST_OF_DEVICE
    return await _page(conn, statements, where, reader_id, before, limit)


async def cheapest(
    conn: Connection,
    where: ListingFilter,
    *,
    reader_id: UserId,
    after: tuple[Decimal, UUID],
    limit: int,
) -> list[Listed]:
    """Return at most `LIMIT_MAX` listings after a key, by price and id."""
    statements = _CHEAPEST, _CHEAPEST_OF_STATUS, _CHEAPEST_OF_SELLER, _CHEAPEST_OF_DEVICE
    return await _page(conn, statements, where, reader_id, after, limit)


async def _page(
    conn: Connection,
    statements: tuple[str, str, str, str],
    where: ListingFilter,
    reader_id: UserId,
    key: tuple[datetime | Decimal, UUID],
    limit: int,
) -> list[Listed]:
    assert limit <= LIMIT_MAX
    statement, selected = _narrowest(statements, where)
    rows = await conn.fetch(
        statement, *key, where.min_kwh, where.max_price, limit, reader_id, *selected
    )
    return [
        Listed(row["id"], row["created_at"], row["price_per_kwh"], row["shown"]) for row in rows
    ]


def _narrowest(
    statements: tuple[str, str, str, str], where: ListingFilter
) -> tuple[str, tuple[object, ...]]:
    """Return the statement with the narrowest index, and its parameters from $7 on."""
    of_any, of_status, of_seller, of_device = statements
    if where.device_id is not None:
        return of_device, (where.device_id, where.status, where.seller_id)
    if where.seller_id is not None:
        return of_seller, (where.seller_id, where.status)
    if where.status is not None:
        return of_status, (where.status,)
    return of_any, ()
