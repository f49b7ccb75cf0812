"""A listing, and the rules on the changes that its seller may make."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from core.enums import ListingStatus, PausedBy, Pricing
from core.errors import IllegalMove, Invalid
from core.events import EventType
from core.ids import DeviceId, ListingId, UserId

# A listing with any other status can't change any more.
_OPEN = (ListingStatus.ACTIVE, ListingStatus.PAUSED, ListingStatus.SOLD)
# The limit of the column `stated_kwh`, numeric(12,3).
_STATED_MAX_KWH = Decimal("999999999.999")


@dataclass(frozen=True, slots=True)
class Listing:
    """A row of `energy_listings`."""

    id: ListingId
    seller_id: UserId
    device_id: DeviceId | None
    stated_kwh: Decimal
    measured_wh: Decimal
    sold_kwh: Decimal
    # The energy left to sell: stated + measured - sold, derived by the database.
    energy_amount_kwh: Decimal
    price_per_kwh: Decimal
    status: ListingStatus
    paused_by: PausedBy | None
    auto_adjust: bool
    pricing: Pricing
    price_floor: Decimal | None
    price_cap: Decimal | None
    reserve_soc_pct: float | None
    # The public place: rounded to 0.01 degrees unless `exact_location`.
    latitude: float
    longitude: float
    exact_location: bool
    # The exact place: only the seller may see it.
    exact_latitude: float
    exact_longitude: float
    available_from: datetime
    available_to: datetime
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ListingPatch:
    """A change that a seller asks for; None leaves a field as it is."""

    price_per_kwh: Decimal | None = None
    # The energy left to sell after the change.
    energy_amount_kwh: Decimal | None = None
    available_from: datetime | None = None
    available_to: datetime | None = None
    status: ListingStatus | None = None


def change(listing: Listing, wanted: ListingPatch, *, serves: bool, now: datetime) -> Listing:
    """Return the listing after a seller's change. Raises IllegalMove, Invalid.

    `serves`: the device that it follows may sell now, or it follows none.
    """
    if listing.status not in _OPEN:
        raise IllegalMove(status=listing.status, wanted=wanted.status or "changed")
    changed = _with_window(_with_amount(_with_price(listing, wanted), wanted), wanted, now)
    return _with_status(changed, wanted, serves) if wanted.status else changed


def event_of(before: Listing, after: Listing) -> EventType:
    """Return the type of the event that announces a seller's change."""
    if before.status == after.status:
        return EventType.LISTING_UPDATED
    return (
        EventType.LISTING_PAUSED
        if after.status == ListingStatus.PAUSED
        else EventType.LISTING_RESUMED
    )


def check_price(
    price_per_kwh: Decimal, pricing: Pricing, floor: Decimal | None, cap: Decimal | None
) -> None:
    """Check that a dynamic price lies between its floor and its cap. Raises Invalid."""
    if pricing == Pricing.FIXED:
        return
    if floor is None or cap is None:
        missing = "price_floor" if floor is None else "price_cap"
        raise Invalid(field=missing, allowed="is required when pricing is dynamic")
    if floor > cap:
        raise Invalid(field="price_cap", allowed="must not be below price_floor")
    if not floor <= price_per_kwh <= cap:
        raise Invalid(field="price_per_kwh", allowed="must lie within price_floor and price_cap")


def check_window(available_from: datetime, available_to: datetime, now: datetime) -> None:
    """Check that a window ends in the future and after its start. Raises Invalid."""
    if available_to <= available_from:
        raise Invalid(field="available_to", allowed="must be after available_from")
    if available_to <= now:
        raise Invalid(field="available_to", allowed="must be in the future")


def _with_price(listing: Listing, wanted: ListingPatch) -> Listing:
    if wanted.price_per_kwh is None:
        return listing
    check_price(wanted.price_per_kwh, listing.pricing, listing.price_floor, listing.price_cap)
    return replace(listing, price_per_kwh=wanted.price_per_kwh)


def _with_amount(listing: Listing, wanted: ListingPatch) -> Listing:
    if wanted.energy_amount_kwh is None:
        return listing
    if listing.auto_adjust:
        raise Invalid(field="energy_amount_kwh", allowed="follows the meter of this listing")
    stated_kwh = wanted.energy_amount_kwh + listing.sold_kwh
    if stated_kwh > _STATED_MAX_KWH:
        raise Invalid(
            field="energy_amount_kwh", allowed="is too large together with the energy already sold"
        )
    status = ListingStatus.ACTIVE if listing.status == ListingStatus.SOLD else listing.status
    return replace(
        listing, stated_kwh=stated_kwh, energy_amount_kwh=wanted.energy_amount_kwh, status=status
    )


def _with_window(listing: Listing, wanted: ListingPatch, now: datetime) -> Listing:
    if wanted.available_from is None and wanted.available_to is None:
        return listing
    if listing.auto_adjust and wanted.available_from is not None:
        raise Invalid(
            field="available_from", allowed="can't change: this listing has measured since then"
        )
    available_from = wanted.available_from or listing.available_from
    available_to = wanted.available_to or listing.available_to
    check_window(available_from, available_to, now)
    return replace(listing, available_from=available_from, available_to=available_to)


def _with_status(listing: Listing, wanted: ListingPatch, serves: bool) -> Listing:
    if listing.status == ListingStatus.SOLD:
        raise IllegalMove(status=ListingStatus.SOLD, wanted=wanted.status)
    if wanted.status == ListingStatus.PAUSED:
        return replace(listing, status=ListingStatus.PAUSED, paused_by=PausedBy.SELLER)
    if listing.status == ListingStatus.ACTIVE or serves:
        return replace(listing, status=ListingStatus.ACTIVE, paused_by=None)
    if listing.paused_by == PausedBy.DEVICE:
        raise IllegalMove(status="paused by its device", wanted=wanted.status)
    # The seller resumes the listing, but it stays paused until its device may sell again.
    return replace(listing, paused_by=PausedBy.DEVICE)
