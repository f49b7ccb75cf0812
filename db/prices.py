"""Local prices: computed once per slot from supply and demand, then set in dynamic listings."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from core.ids import ListingId, UserId
from core.prices import Neighbourhood, PlaceTotals, PriceRules, wanted_kwh
from core.units import SLOT, price
from db.pool import Connection

# A second process that claims the same slot waits here for the first one's commit, and then inserts
# nothing.
_CLAIM = "INSERT INTO price_slots (slot_start) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1"

_FORGET = "DELETE FROM price_slots WHERE slot_start < $1"

_FORGET_DEMAND = "DELETE FROM refused_demand WHERE slot_start < $1"

# On sale when slot $2 begins; bought and refused in the slot before, which began at $1. One buyer
# counts for $4 at most, what was bought first. What cost less than the grid's export price ($3)
# counts as what the same money buys at that. An offer that costs more than the grid's retail price
# ($5) is no supply: nobody has to take it, so it would push the price of others down at no risk. A
# dynamic listing's price moves, but not below its floor.
_PLACES = """
WITH wanted AS (
    SELECT coalesce(buyer_id, id) AS household, listing_id, created_at AS at,
           energy_kwh * least(1, price_per_kwh / $3) AS energy_kwh
      FROM energy_transactions WHERE created_at >= $1 AND created_at < $2
     UNION ALL
    SELECT buyer_id, listing_id, $2, energy_kwh FROM refused_demand WHERE slot_start = $1
), added AS (
    SELECT listing_id, energy_kwh, sum(energy_kwh) OVER (
               PARTITION BY household ORDER BY at, listing_id ROWS UNBOUNDED PRECEDING) AS upto_kwh
      FROM wanted
), counted AS (
    SELECT listing_id,
           round(least($4, upto_kwh) - least($4, upto_kwh - energy_kwh), 3) AS energy_kwh
      FROM added
)
SELECT latitude, longitude, sum(offered_kwh) AS offered_kwh, sum(wanted_kwh) AS wanted_kwh,
       bool_or(priced) AS priced
  FROM (SELECT latitude, longitude, 0 AS wanted_kwh, pricing = 'dynamic' AS priced,
               CASE WHEN status = 'active' AND available_from <= $2 AND available_to > $2
                         AND $5 >= CASE pricing WHEN 'dynamic' THEN price_floor
                                                ELSE price_per_kwh END
                    THEN energy_amount_kwh ELSE 0 END AS offered_kwh
          FROM energy_listings WHERE status IN ('active', 'paused', 'sold')
         UNION ALL
        SELECT l.latitude, l.longitude, c.energy_kwh, false, 0
          FROM counted c JOIN energy_listings l ON l.id = c.listing_id
         WHERE c.energy_kwh > 0) AS part
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

_DUE = """
SELECT l.id FROM energy_listings l
 WHERE pricing = 'dynamic' AND status IN ('active', 'paused', 'sold') AND price_slot < $1
   AND l.id > $2
   AND NOT EXISTS (SELECT FROM failed_items f
                    WHERE f.queue = 'prices' AND f.item = l.id::text
                      AND (f.retry_at IS NULL OR f.retry_at > clock_timestamp()))
 ORDER BY l.id LIMIT $3
"""

_LOCK_DUE = """
SELECT id, latitude, longitude, price_per_kwh, price_floor, price_cap FROM energy_listings
 WHERE pricing = 'dynamic' AND status IN ('active', 'paused', 'sold') AND price_slot < $1
   AND id = ANY($2::uuid[])
 ORDER BY id FOR NO KEY UPDATE
"""

_REPRICE = """
WITH changed AS (
    UPDATE energy_listings l
       SET price_slot = $1, price_per_kwh = n.price_per_kwh,
           version = l.version + CASE WHEN n.changed THEN 1 ELSE 0 END,
           updated_at = CASE WHEN n.changed THEN hub_now() ELSE l.updated_at END
      FROM unnest($2::uuid[], $3::numeric[], $4::boolean[]) AS n (id, price_per_kwh, changed)
     WHERE l.id = n.id
    RETURNING l AS listing, n.changed
)
INSERT INTO outbox (type, channels, data)
SELECT 'listing.updated', ARRAY['listings', 'listing:' || (listing).id], listing_json(listing)
  FROM changed WHERE changed ORDER BY (listing).id
"""

# The limits on the demand of a refused order; $3 is the grid's export price.
_DEMAND_LIMITS = """
SELECT w.balance, l.price_per_kwh, l.sold_kwh + l.energy_amount_kwh AS listed_kwh, coalesce((
       SELECT max(energy_kwh * least(1, price_per_kwh / $3::numeric))
         FROM (SELECT energy_kwh, price_per_kwh FROM energy_transactions WHERE buyer_id = w.user_id
                ORDER BY created_at DESC, id DESC LIMIT 100) AS latest), 0) AS most_bought_kwh
  FROM wallets w, energy_listings l WHERE w.user_id = $1 AND l.id = $2
"""

_RECORD_REFUSED = """
INSERT INTO refused_demand AS d (slot_start, buyer_id, listing_id, energy_kwh)
VALUES (date_bin('15 minutes', hub_clock_timestamp(), '2000-01-01Z'), $1, $2, $3)
    ON CONFLICT (slot_start, buyer_id) DO UPDATE
   SET listing_id = excluded.listing_id, energy_kwh = excluded.energy_kwh
 WHERE d.energy_kwh < excluded.energy_kwh
"""

_PLACES_AT_ONCE = 500
_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DueListing:
    """A locked listing that has the price of an earlier slot."""

    id: ListingId
    latitude: float
    longitude: float
    price_per_kwh: Decimal
    price_floor: Decimal
    price_cap: Decimal


async def claim(conn: Connection, slot_start: datetime) -> bool:
    """Claim the computation of a slot's prices, in this transaction. False: they exist."""
    return await conn.fetchval(_CLAIM, slot_start) is not None


async def places(
    conn: Connection, slot_start: datetime, rules: PriceRules
) -> AsyncIterator[PlaceTotals]:
    """Yield places with supply at the start of a slot, or demand in the slot before."""
    grid = rules.grid
    asked = slot_start - SLOT, slot_start, grid.export, rules.demand_max_kwh, grid.retail
    async for row in conn.cursor(_PLACES, *asked, prefetch=_PLACES_AT_ONCE):
        yield PlaceTotals(**dict(row))


async def save(
    conn: Connection, slot_start: datetime, neighbourhoods: Sequence[Neighbourhood]
) -> None:
    """Store the prices of a slot. Delete prices older than a day, and demand of earlier slots."""
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
    """Return the sellers' price in a slot by neighbourhood, without those that have none."""
    rows = await conn.fetch(_SELL_PRICES, slot_start, list(cells))
    return {r["cell"]: r["sell_price"] for r in rows}


async def due(
    conn: Connection, slot_start: datetime, *, after: ListingId, limit: int
) -> list[ListingId]:
    """Return open dynamic listings without this slot's price, except those not due for a retry."""
    return [row["id"] for row in await conn.fetch(_DUE, slot_start, after, limit)]


async def lock_due(
    conn: Connection, slot_start: datetime, listing_ids: Sequence[ListingId]
) -> list[DueListing]:
    """Lock those of the listings that still lack this slot's price, by id, until commit."""
    return [DueListing(**dict(row)) for row in await conn.fetch(_LOCK_DUE, slot_start, listing_ids)]


async def reprice(
    conn: Connection, slot_start: datetime, repriced: Sequence[tuple[DueListing, Decimal]]
) -> None:
    """Set the price of this slot in listings, with an event for each changed price."""
    await conn.execute(
        _REPRICE,
        slot_start,
        [due.id for due, _ in repriced],
        [price_per_kwh for _, price_per_kwh in repriced],
        [due.price_per_kwh != price_per_kwh for due, price_per_kwh in repriced],
    )


async def note_refused(
    conn: Connection,
    buyer_id: UserId,
    listing_id: ListingId,
    energy_kwh: Decimal,
    *,
    max_price_per_kwh: Decimal | None,
    grid_export_price: Decimal,
) -> None:
    """Record the demand of an order that was refused for lack of energy, for the next slot."""
    row = await conn.fetchrow(_DEMAND_LIMITS, buyer_id, listing_id, grid_export_price)
    if row is None or row["price_per_kwh"] > (max_price_per_kwh or row["price_per_kwh"]):
        return
    counted_kwh = wanted_kwh(energy_kwh, export=grid_export_price, **dict(row))
    if counted_kwh > 0:
        await conn.execute(_RECORD_REFUSED, buyer_id, listing_id, counted_kwh)
