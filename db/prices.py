"""Prices that follow supply and demand: surveyed once per slot, then taken by the listings."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from core.prices import Neighbourhood, Place
from core.units import SLOT, price
from db.pool import Connection

# Who makes the prices of the same slot waits here until they are committed, and finds them made.
_CLAIM = "INSERT INTO price_slots (slot_start) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1"

_FORGET = "DELETE FROM price_slots WHERE slot_start < $1"

_FORGET_DEMAND = "DELETE FROM refused_demand WHERE slot_start < $1"

# On sale when slot $2 begins; bought and refused in the slot before, which began at $1.
_PLACES = """
SELECT latitude, longitude, sum(offered_kwh) AS offered_kwh, sum(wanted_kwh) AS wanted_kwh,
       bool_or(priced) AS priced
  FROM (SELECT latitude, longitude, 0 AS wanted_kwh, pricing = 'dynamic' AS priced,
               CASE WHEN status = 'active' AND available_from <= $2 AND available_to > $2
                    THEN energy_amount_kwh ELSE 0 END AS offered_kwh
          FROM energy_listings WHERE status IN ('active', 'paused', 'sold')
         UNION ALL
        SELECT l.latitude, l.longitude, t.energy_kwh, false, 0
          FROM energy_transactions t JOIN energy_listings l ON l.id = t.listing_id
         WHERE t.created_at >= $1 AND t.created_at < $2
         UNION ALL
        SELECT l.latitude, l.longitude, d.energy_kwh, false, 0
          FROM refused_demand d JOIN energy_listings l ON l.id = d.listing_id
         WHERE d.slot_start = $1) AS part
 GROUP BY latitude, longitude
"""

_SAVE = """
INSERT INTO neighbourhood_prices (slot_start, cell, offered_kwh, wanted_kwh, sell_price, buy_price)
SELECT $1, * FROM unnest($2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[])
"""

_SELL_PRICES = """
SELECT cell, sell_price FROM neighbourhood_prices
 WHERE slot_start = $1 AND cell = ANY($2::text[])
"""

_LOCK_DUE = """
SELECT id, latitude, longitude, price_per_kwh, price_floor, price_cap FROM energy_listings
 WHERE pricing = 'dynamic' AND status IN ('active', 'paused', 'sold') AND price_slot < $1
   AND id > $2
 ORDER BY id LIMIT $3 FOR NO KEY UPDATE
"""

_REPRICE = """
WITH changed AS (
    UPDATE energy_listings l
       SET price_slot = $1, price_per_kwh = n.price_per_kwh,
           version = l.version + CASE WHEN n.changed THEN 1 ELSE 0 END,
           updated_at = CASE WHEN n.changed THEN now() ELSE l.updated_at END
      FROM unnest($2::uuid[], $3::numeric[], $4::boolean[]) AS n (id, price_per_kwh, changed)
     WHERE l.id = n.id
    RETURNING l AS listing, n.changed
)
INSERT INTO outbox (type, channels, data)
SELECT 'listing.updated', ARRAY['listings', 'listing:' || (listing).id], listing_json(listing)
  FROM changed WHERE changed ORDER BY (listing).id
"""

# The buyer's wallet bounds what they can wish for.
_NOTE_REFUSED = """
INSERT INTO refused_demand AS d (slot_start, buyer_id, listing_id, energy_kwh)
SELECT date_bin('15 minutes', clock_timestamp(), '2000-01-01Z'), w.user_id, l.id,
       least($3::numeric, trunc(w.balance / l.price_per_kwh, 3))
  FROM wallets w, energy_listings l
 WHERE w.user_id = $1 AND l.id = $2 AND trunc(w.balance / l.price_per_kwh, 3) > 0
   AND l.price_per_kwh <= coalesce($4::numeric, l.price_per_kwh)
    ON CONFLICT (slot_start, buyer_id) DO UPDATE
   SET listing_id = excluded.listing_id, energy_kwh = excluded.energy_kwh
 WHERE d.energy_kwh < excluded.energy_kwh
"""

_PLACES_AT_ONCE = 500
_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Due:
    """A listing whose price was made in an earlier slot, locked."""

    id: UUID
    latitude: float
    longitude: float
    price_per_kwh: Decimal
    price_floor: Decimal
    price_cap: Decimal


async def claim(conn: Connection, slot_start: datetime) -> bool:
    """Take it on to make the prices of a slot, in this transaction. False: they are made."""
    return await conn.fetchval(_CLAIM, slot_start) is not None


async def places(conn: Connection, slot_start: datetime) -> AsyncIterator[Place]:
    """Where something is offered as a slot begins, or was wanted in the one before."""
    asked = slot_start - SLOT, slot_start
    async for row in conn.cursor(_PLACES, *asked, prefetch=_PLACES_AT_ONCE):
        yield Place(**dict(row))


async def save(
    conn: Connection, slot_start: datetime, neighbourhoods: Sequence[Neighbourhood]
) -> None:
    """Keep the prices of a slot, and of a day before it; forget what was wanted until then."""
    await conn.execute(
        _SAVE,
        slot_start,
        [n.cell for n in neighbourhoods],
        [n.offered_kwh for n in neighbourhoods],
        [n.wanted_kwh for n in neighbourhoods],
        [price(n.price.sell) for n in neighbourhoods],
        [price(n.price.buy) for n in neighbourhoods],
    )
    await conn.execute(_FORGET, slot_start - _KEPT)
    await conn.execute(_FORGET_DEMAND, slot_start)


async def sell_prices(
    conn: Connection, slot_start: datetime, cells: Collection[str]
) -> dict[str, Decimal]:
    """What sellers get in those of these neighbourhoods that have a price in this slot."""
    rows = await conn.fetch(_SELL_PRICES, slot_start, list(cells))
    return {r["cell"]: r["sell_price"] for r in rows}


async def lock_due(conn: Connection, slot_start: datetime, *, after: UUID, limit: int) -> list[Due]:
    """Open dynamic listings that have no price of this slot yet, locked until commit by id."""
    return [Due(**dict(row)) for row in await conn.fetch(_LOCK_DUE, slot_start, after, limit)]


async def reprice(
    conn: Connection, slot_start: datetime, repriced: Sequence[tuple[Due, Decimal]]
) -> None:
    """Give listings their price of this slot; those for which it is another one get an event."""
    await conn.execute(
        _REPRICE,
        slot_start,
        [due.id for due, _ in repriced],
        [price_per_kwh for _, price_per_kwh in repriced],
        [due.price_per_kwh != price_per_kwh for due, price_per_kwh in repriced],
    )


async def note_refused(
    conn: Connection,
    buyer_id: UUID,
    listing_id: UUID,
    energy_kwh: Decimal,
    *,
    max_price_per_kwh: Decimal | None,
) -> None:
    """Remember for the next slot that somebody wanted more than there was, at what it costs."""
    await conn.execute(_NOTE_REFUSED, buyer_id, listing_id, energy_kwh, max_price_per_kwh)
