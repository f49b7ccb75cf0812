"""Use cases of sellers: create, change and cancel a listing.

Lock order: the seller and the device (both shared), the state of the device, the listing. The
shared locks wait for a deactivation of the seller or a removal of the device that is under way, so
that neither leaves an open listing behind.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import core.listings
from api.http.usage_limits import Quota, check_quota
from core.clock import REAL_TIME, Clock
from core.enums import ListingStatus, PausedBy, Pricing
from core.errors import AccountInactive, Forbidden, IllegalMove, NoLocation, NotFound
from core.events import EventType
from core.ids import DeviceId, ListingId
from core.listing_adjustments import Condition
from core.listings import Listing, ListingPatch, event_of
from core.readings import MAX_CLOCK_AHEAD
from core.selling import DEFAULT_RULES, SellingRules
from core.tokens import Identity
from db import addresses, device_states, devices, listings, users
from db.devices import Device
from db.errors import refusals
from db.listings import NewListingRow
from db.pool import Connection, Pool


@dataclass(frozen=True, slots=True)
class ListingRequest:
    """A listing as a host wants it.

    `place` is latitude and longitude; None takes the place of the device, else of the default
    address. `exact_location` shows the exact place to everybody.
    """

    device_id: DeviceId | None
    energy_amount_kwh: Decimal
    price_per_kwh: Decimal
    auto_adjust: bool
    pricing: Pricing
    price_floor: Decimal | None
    price_cap: Decimal | None
    reserve_soc_pct: float | None
    place: tuple[float, float] | None
    exact_location: bool
    available_from: datetime
    available_to: datetime


async def create(
    pool: Pool,
    host: Identity,
    request: ListingRequest,
    *,
    quota_open_listings: int,
    rules: SellingRules = DEFAULT_RULES,
) -> Listing:
    """Create a listing and announce it. It starts paused if its device can't sell now.

    Raises NotFound, NoLocation, OpenListingExists, QuotaExceeded, AccountInactive,
    CapacityNotApproved, DeviceFrozen, DeviceFlagged.
    """
    async with pool.acquire() as conn, conn.transaction():
        if not await users.lock_active(conn, host.user_id):
            raise AccountInactive
        open_listings = await listings.count_open(conn, host.user_id)
        check_quota(Quota.OPEN_LISTINGS, had=open_listings, at_most=quota_open_listings)
        device, serves = None, True
        if request.device_id is not None:
            device = await _lock_own_device(conn, host, request.device_id)
            condition = await _lock_selling_condition(conn, device.id, rules)
            serves = not request.auto_adjust or condition.serves(request.reserve_soc_pct)
        latitude, longitude = request.place or await _place(conn, host, device)
        new = NewListingRow(
            seller_id=host.user_id,
            device_id=request.device_id,
            stated_kwh=request.energy_amount_kwh,
            price_per_kwh=request.price_per_kwh,
            auto_adjust=request.auto_adjust,
            pricing=request.pricing,
            price_floor=request.price_floor,
            price_cap=request.price_cap,
            reserve_soc_pct=request.reserve_soc_pct,
            latitude=latitude,
            longitude=longitude,
            exact_location=request.exact_location,
            available_from=request.available_from,
            available_to=request.available_to,
            paused_by=None if serves else PausedBy.DEVICE,
        )
        with refusals():
            listing = await listings.create(conn, new, max_clock_ahead=MAX_CLOCK_AHEAD)
        await listings.announce(conn, listing.id, EventType.LISTING_CREATED)
    return listing


async def cancel(pool: Pool, seller: Identity, listing_id: ListingId) -> Listing:
    """Cancel an open listing for good and announce it. Raises NotFound, Forbidden, IllegalMove."""
    async with pool.acquire() as conn, conn.transaction():
        listing = await _lock_own(conn, seller, listing_id)
        cancelled = await listings.cancel(conn, listing_id)
        if cancelled is None:
            raise IllegalMove(status=listing.status, wanted=ListingStatus.CANCELLED)
        await listings.announce(conn, listing_id, EventType.LISTING_CANCELLED)
    return cancelled


async def change(
    pool: Pool,
    seller: Identity,
    listing_id: ListingId,
    wanted: ListingPatch,
    rules: SellingRules = DEFAULT_RULES,
    clock: Clock = REAL_TIME,
) -> Listing:
    """Change a listing and announce it; return it. Nothing to change is no error.

    Raises NotFound, Forbidden, IllegalMove, Invalid, AccountInactive.
    """
    async with pool.acquire() as conn, conn.transaction():
        if not await users.hold_active(conn, seller.user_id):
            raise AccountInactive
        serves = await _lock_device_state(conn, listing_id, rules)
        listing = await _lock_own(conn, seller, listing_id)
        changed = core.listings.change(listing, wanted, serves=serves, now=clock.now())
        if changed == listing:
            return listing
        changed = await listings.change(conn, changed)
        await listings.announce(conn, listing_id, event_of(listing, changed))
    return changed


async def _lock_own_device(conn: Connection, host: Identity, device_id: DeviceId) -> Device:
    """Lock a device of the host (shared) and return it. Raises NotFound."""
    exists = await devices.hold(conn, device_id)
    device = await devices.by_id(conn, device_id) if exists else None
    if device is None or device.owner_id != host.user_id:
        raise NotFound(what="device")
    return device


async def _lock_selling_condition(
    conn: Connection, device_id: DeviceId, rules: SellingRules
) -> Condition:
    """Lock the state of a device and return its condition.

    No reading of the device is accounted, and no administrator decides on it, until the commit.
    Raises CapacityNotApproved, DeviceFrozen, DeviceFlagged.
    """
    state = (await device_states.lock(conn, [device_id]))[device_id]
    refusal = state.selling.refusal(rules)
    if refusal is not None:
        raise refusal
    return state.condition(rules)


async def _lock_device_state(conn: Connection, listing_id: ListingId, rules: SellingRules) -> bool:
    """Lock the state of a listing's device; return whether the device may sell now.

    The listing is not locked yet, but its device never changes.
    """
    listing = await listings.by_id(conn, listing_id)
    if listing is None or listing.device_id is None:
        return True
    state = (await device_states.lock(conn, [listing.device_id])).get(listing.device_id)
    if state is None:
        return False
    condition = state.condition(rules)
    return condition.serves(listing.reserve_soc_pct) if listing.auto_adjust else condition.may_sell


async def _place(conn: Connection, host: Identity, device: Device | None) -> tuple[float, float]:
    """Return latitude and longitude of the device or the default address. Raises NoLocation."""
    if device is not None and device.latitude is not None and device.longitude is not None:
        return device.latitude, device.longitude
    home = await addresses.default_of(conn, host.user_id)
    if home is None:
        raise NoLocation
    return home.latitude, home.longitude


async def _lock_own(conn: Connection, seller: Identity, listing_id: ListingId) -> Listing:
    """Lock a listing of the seller and return it. Raises NotFound, Forbidden.

    Everybody may see every listing, so Forbidden tells a stranger nothing new.
    """
    listing = await listings.lock(conn, listing_id)
    if listing is None:
        raise NotFound(what="listing")
    if listing.seller_id != seller.user_id:
        raise Forbidden
    return listing
