"""What sellers do with listings. Locks: the seller and the device (both shared), the device's
state, the listing.

The seller and the device are held so that neither who is being deactivated nor what is being
removed leaves an offer behind.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import core.listings
from api import quotas
from api.quotas import Quota
from core.errors import AccountInactive, Forbidden, IllegalMove, NoLocation, NotFound
from core.events import EventType
from core.listings import Change, Listing, event_of
from core.market import Condition
from core.readings import MAX_CLOCK_AHEAD
from core.tokens import Identity
from db import addresses, device_states, devices, listings, users
from db.devices import Device
from db.errors import refusals
from db.listings import NewListing
from db.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class Offer:
    """What a host asks for; without a place, the device's or the default address counts.

    `exact_location`: show everybody the exact place.
    """

    device_id: UUID | None
    energy_amount_kwh: Decimal
    price_per_kwh: Decimal
    auto_adjust: bool
    pricing: str
    price_floor: Decimal | None
    price_cap: Decimal | None
    reserve_soc_pct: float | None
    place: tuple[float, float] | None
    exact_location: bool
    available_from: datetime
    available_to: datetime


async def create(pool: Pool, host: Identity, offer: Offer, *, quota_open_listings: int) -> Listing:
    """Raises NotFound, NoLocation, OpenListingExists, QuotaExceeded, AccountInactive."""
    async with pool.acquire() as conn, conn.transaction():
        if not await users.lock_active(conn, host.user_id):
            raise AccountInactive
        had = await listings.count_open(conn, host.user_id)
        quotas.check(Quota.OPEN_LISTINGS, had=had, at_most=quota_open_listings)
        device, serves = None, True
        if offer.device_id is not None:
            device = await _hold_own_device(conn, host, offer.device_id)
        if device is not None and offer.auto_adjust:
            serves = await _lock_serving(conn, device.id, offer.reserve_soc_pct)
        latitude, longitude = offer.place or await _place(conn, host, device)
        new = NewListing(
            seller_id=host.user_id,
            device_id=offer.device_id,
            stated_kwh=offer.energy_amount_kwh,
            price_per_kwh=offer.price_per_kwh,
            auto_adjust=offer.auto_adjust,
            pricing=offer.pricing,
            price_floor=offer.price_floor,
            price_cap=offer.price_cap,
            reserve_soc_pct=offer.reserve_soc_pct,
            latitude=latitude,
            longitude=longitude,
            exact_location=offer.exact_location,
            available_from=offer.available_from,
            available_to=offer.available_to,
            paused_by=None if serves else "device",
        )
        with refusals():
            listing = await listings.create(conn, new, max_clock_ahead=MAX_CLOCK_AHEAD)
        await listings.announce(conn, listing.id, EventType.LISTING_CREATED)
    return listing


async def cancel(pool: Pool, seller: Identity, listing_id: UUID) -> Listing:
    """Raises NotFound, Forbidden, IllegalMove."""
    async with pool.acquire() as conn, conn.transaction():
        listing = await _lock_own(conn, seller, listing_id)
        cancelled = await listings.cancel(conn, listing_id)
        if cancelled is None:
            raise IllegalMove(status=listing.status, wanted="cancelled")
        await listings.announce(conn, listing_id, EventType.LISTING_CANCELLED)
    return cancelled


async def change(pool: Pool, seller: Identity, listing_id: UUID, wanted: Change) -> Listing:
    """Raises NotFound, Forbidden, IllegalMove, Invalid, AccountInactive."""
    async with pool.acquire() as conn, conn.transaction():
        await _hold(conn, seller)
        serves = await _lock_what_serves(conn, listing_id)
        listing = await _lock_own(conn, seller, listing_id)
        changed = core.listings.change(listing, wanted, serves=serves, now=datetime.now(UTC))
        if changed == listing:
            return listing
        changed = await listings.change(conn, changed)
        await listings.announce(conn, listing_id, event_of(listing, changed))
    return changed


async def _hold(conn: Connection, seller: Identity) -> None:
    if not await users.hold_active(conn, seller.user_id):
        raise AccountInactive


async def _hold_own_device(conn: Connection, host: Identity, device_id: UUID) -> Device:
    there = await devices.hold(conn, device_id)
    device = await devices.by_id(conn, device_id) if there else None
    if device is None or device.owner_id != host.user_id:
        raise NotFound(what="device")
    return device


async def _lock_serving(conn: Connection, device_id: UUID, reserve_soc_pct: float | None) -> bool:
    """Keep readings of a device out until commit. Returns whether it may sell at the moment."""
    state = (await device_states.lock(conn, [device_id])).get(device_id)
    if state is None:
        return False
    return Condition(state.status, state.battery_soc_pct).serves(reserve_soc_pct)


async def _lock_what_serves(conn: Connection, listing_id: UUID) -> bool:
    """The state of the device that a listing follows: which one never changes."""
    listing = await listings.by_id(conn, listing_id)
    if listing is None or listing.device_id is None or not listing.auto_adjust:
        return True
    return await _lock_serving(conn, listing.device_id, listing.reserve_soc_pct)


async def _place(conn: Connection, host: Identity, device: Device | None) -> tuple[float, float]:
    if device is not None and device.latitude is not None and device.longitude is not None:
        return device.latitude, device.longitude
    home = await addresses.default_of(conn, host.user_id)
    if home is None:
        raise NoLocation
    return home.latitude, home.longitude


async def _lock_own(conn: Connection, seller: Identity, listing_id: UUID) -> Listing:
    """Anyone may see a listing, so that it is not the caller's is no secret."""
    listing = await listings.lock(conn, listing_id)
    if listing is None:
        raise NotFound(what="listing")
    if listing.seller_id != seller.user_id:
        raise Forbidden
    return listing
