"""Adjustment of a listing that follows a device: the energy and the status that it has now."""

from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from core.enums import DeviceStatus, ListingStatus, PausedBy
from core.events import EventType
from core.ids import DeviceId, ListingId
from core.units import kwh_of_wh


class Condition(Struct, frozen=True, gc=False):
    """The condition of the device that a listing follows."""

    status: DeviceStatus
    # State of charge of its battery; None if the device does not report one.
    soc_pct: float | None = None
    # Whether `core.selling` allows the device to sell.
    may_sell: bool = True

    def serves(self, reserve_soc_pct: float | None) -> bool:
        """Return True if the device may sell now: its battery is not below the reserve."""
        if not self.may_sell or self.status in (DeviceStatus.OFFLINE, DeviceStatus.FAULT):
            return False
        return reserve_soc_pct is None or self.soc_pct is None or self.soc_pct >= reserve_soc_pct


class AdjustedListing(Struct, frozen=True, gc=False):
    """The part of an open auto-adjusted listing that its device can change."""

    id: ListingId
    device_id: DeviceId
    status: ListingStatus
    paused_by: PausedBy | None
    stated_kwh: Decimal
    measured_wh: Decimal
    sold_kwh: Decimal
    reserve_soc_pct: float | None
    measured_from: datetime
    available_to: datetime

    @property
    def left_kwh(self) -> Decimal:
        """The energy left to sell, as the database derives `energy_amount_kwh`."""
        return max(Decimal(0), self.stated_kwh + kwh_of_wh(self.measured_wh) - self.sold_kwh)


class Adjustment(Struct, frozen=True, gc=False):
    """A listing after its adjustment."""

    listing: AdjustedListing
    # None if no subscriber can see a difference.
    event: EventType | None


def adjust(
    listing: AdjustedListing, *, surplus_change_wh: Decimal, condition: Condition, now: datetime
) -> Adjustment:
    """Adjust a listing to a change of surplus and to the condition of its device."""
    after = replace(listing, measured_wh=listing.measured_wh + surplus_change_wh)
    after = _with_status(after, condition, now)
    return Adjustment(after, _event(listing, after))


def _with_status(listing: AdjustedListing, condition: Condition, now: datetime) -> AdjustedListing:
    if now >= listing.available_to:
        return replace(listing, status=ListingStatus.EXPIRED, paused_by=None)
    serves = condition.serves(listing.reserve_soc_pct)
    if listing.status == ListingStatus.ACTIVE and not serves:
        return replace(listing, status=ListingStatus.PAUSED, paused_by=PausedBy.DEVICE)
    if listing.status == ListingStatus.PAUSED and listing.paused_by == PausedBy.DEVICE and serves:
        return replace(listing, status=ListingStatus.ACTIVE, paused_by=None)
    if listing.status == ListingStatus.SOLD and listing.left_kwh > 0:
        # A device that does not serve now pauses it at once, so that it can resume it.
        reopened = replace(listing, status=ListingStatus.ACTIVE)
        return (
            reopened
            if serves
            else replace(reopened, status=ListingStatus.PAUSED, paused_by=PausedBy.DEVICE)
        )
    return listing


def _event(before: AdjustedListing, after: AdjustedListing) -> EventType | None:
    if before.status == after.status:
        return EventType.LISTING_UPDATED if before.left_kwh != after.left_kwh else None
    return {
        ListingStatus.ACTIVE: EventType.LISTING_RESUMED,
        ListingStatus.PAUSED: EventType.LISTING_PAUSED,
        ListingStatus.EXPIRED: EventType.LISTING_EXPIRED,
    }[after.status]
