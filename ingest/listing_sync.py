"""Listings that follow a device, brought up to date with its meter and its condition."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from core.ids import DeviceId
from core.listing_adjustments import AdjustedListing, adjust
from core.selling import SellingRules
from db import listing_adjustments
from db.device_states import DeviceState
from db.intervals import SurplusChange
from db.pool import Connection


async def sync_listings(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    changes: Iterable[SurplusChange],
    now: datetime,
    rules: SellingRules,
) -> None:
    """Adjust the open auto-adjusted listings of these devices; one event each at most."""
    changes_of = defaultdict(list)
    for change in changes:
        changes_of[change.device_id].append(change)
    adjustments = []
    for listing in await listing_adjustments.lock_followers(conn, states):
        state = states[listing.device_id]
        adjustment = adjust(
            listing,
            surplus_change_wh=_within(listing, changes_of[listing.device_id]),
            condition=state.condition(rules),
            now=now,
        )
        if adjustment.listing != listing:
            adjustments.append(adjustment)
    if adjustments:
        await listing_adjustments.adjust(conn, adjustments)


def _within(listing: AdjustedListing, changes: Iterable[SurplusChange]) -> Decimal:
    """What changed within the time that the listing sells: nothing is sold in two listings."""
    return sum(
        (
            change.change_wh
            for change in changes
            if listing.measured_from <= change.slot_start < listing.available_to
        ),
        Decimal(0),
    )
