"""Listings that follow a device, synchronized with its meter, its condition and the time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from core.enums import Queue
from core.ids import DeviceId, ListingId
from core.listing_adjustments import AdjustedListing, adjust
from core.selling import SellingRules
from db import listing_adjustments
from db.device_states import DeviceState
from db.intervals import SurplusChange
from db.pool import Connection, Pool
from ingest.isolation import isolating_failures

# Listings per transaction, so that it holds its locks only briefly.
EXPIRE_MAX = 500


async def sync_listings(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    changes: Iterable[SurplusChange],
    now: datetime,
    rules: SellingRules,
) -> None:
    """Adjust the open listings that follow these devices, with at most one event per listing.

    The devices' states are locked; this locks the listings by id.
    """
    changes_of = defaultdict(list)
    for change in changes:
        changes_of[change.device_id].append(change)
    adjustments = []
    for listing in await listing_adjustments.lock_adjusted(conn, states):
        state = states[listing.device_id]
        adjustment = adjust(
            listing,
            surplus_change_wh=_change_in_window_wh(listing, changes_of[listing.device_id]),
            condition=state.condition(rules),
            now=now,
        )
        if adjustment.listing != listing:
            adjustments.append(adjustment)
    if adjustments:
        await listing_adjustments.adjust(conn, adjustments)


async def expire_listings(pool: Pool) -> int:
    """Close some of the listings whose window has passed, and return how many.

    Listings that follow no device expire here too. Several ingesters may do so at once.
    """

    async def expire(listing_ids: Sequence[ListingId]) -> int:
        async with pool.acquire() as conn, conn.transaction():
            return await listing_adjustments.expire(conn, listing_ids)

    async with pool.acquire() as conn:
        overdue = await listing_adjustments.overdue(conn, EXPIRE_MAX)
    return await isolating_failures(pool, Queue.EXPIRY, overdue, expire) if overdue else 0


def _change_in_window_wh(listing: AdjustedListing, changes: Iterable[SurplusChange]) -> Decimal:
    """Return the change of surplus within the window of a listing.

    Listings of a device have separate windows, so no energy is sold in two of them.
    """
    return sum(
        (
            change.change_wh
            for change in changes
            if listing.measured_from <= change.slot_start < listing.available_to
        ),
        Decimal(0),
    )
