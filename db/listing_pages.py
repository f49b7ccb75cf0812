"""Parts of the list of listings, newest or cheapest first, each as cheap as the first one.

One statement per index, chosen by the narrowest of what is asked for; the rest only filters what
that index finds. A single statement with `$1 IS NULL OR …` for each index would have to be planned
anew for every call. PostgreSQL keeps these plans; so that it plans for few rows, the most that a
part can have is written in them (`LIMIT 101`), and of these it takes as many as are asked for.

Filters are written as CASE because PostgreSQL takes that for true of every other row, and `$3 IS
NULL OR …` for hardly ever true: it would expect less than a part, and sort all there is.

What is selected by is part of the key and of the order, which only its own index has: with `status
= $7` PostgreSQL might walk through all listings, since every fifth should be of that status, and
with `seller_id = $7` sort all of a seller's, since few should be. The cheapest of one seller or
device have no such index: all of theirs are sorted, for page 1 as for page 1,000. The cheapest end
at a highest price, where there is one: nothing beyond it is read.

PostgreSQL writes the JSON that is shown, as it does for events: to fetch rows, make objects of them
and write these as JSON takes the API several times as long. A seller who reads ($6) is shown where
exactly the own listings are.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from core.enums import ListingStatus
from core.ids import DeviceId, ListingId, UserId
from db.pool import Connection

# As in the statements: the most that a part shows, and one to tell whether there is more.
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
    """None: any."""

    status: ListingStatus | None = None
    seller_id: UserId | None = None
    device_id: DeviceId | None = None
    min_kwh: Decimal | None = None
    max_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """Where a listing is in the lists, and the JSON that shows it to its reader."""

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
    """At most `LIMIT_MAX` listings made before one, newest first."""
    statements = _NEWEST, _NEWEST_OF_STATUS, _NEWEST_OF_SELLER, _NEWEST_OF_DEVICE
    return await _part(conn, statements, where, reader_id, before, limit)


async def cheapest(
    conn: Connection,
    where: ListingFilter,
    *,
    reader_id: UserId,
    after: tuple[Decimal, UUID],
    limit: int,
) -> list[Listed]:
    """At most `LIMIT_MAX` listings dearer than one, cheapest first; equally dear ones by id."""
    statements = _CHEAPEST, _CHEAPEST_OF_STATUS, _CHEAPEST_OF_SELLER, _CHEAPEST_OF_DEVICE
    return await _part(conn, statements, where, reader_id, after, limit)


async def _part(
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
    """The statement with the best index, and its parameters from $7 on."""
    of_any, of_status, of_seller, of_device = statements
    if where.device_id is not None:
        return of_device, (where.device_id, where.status, where.seller_id)
    if where.seller_id is not None:
        return of_seller, (where.seller_id, where.status)
    if where.status is not None:
        return of_status, (where.status,)
    return of_any, ()
