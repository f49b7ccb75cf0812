"""What a listing that follows a meter should offer now."""

from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from core.enums import DeviceStatus, ListingStatus, PausedBy
from core.events import EventType
from core.ids import DeviceId, ListingId
from core.units import kwh_of_wh


class Condition(Struct, frozen=True, gc=False):
    """How the device behind a listing is. `soc_pct`: None when it says nothing of a battery.

    `may_sell`: as far as `core.selling` goes.
    """

    status: DeviceStatus
    soc_pct: float | None = None
    may_sell: bool = True

    def serves(self, reserve_soc_pct: float | None) -> bool:
        """Whether energy may be sold from it, above the reserve of its battery."""
        if not self.may_sell or self.status in (DeviceStatus.OFFLINE, DeviceStatus.FAULT):
            return False
        return reserve_soc_pct is None or self.soc_pct is None or self.soc_pct >= reserve_soc_pct


class Follower(Struct, frozen=True, gc=False):
    """An open auto-adjusted listing, as far as its device can change it."""

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
        """What is left to sell: the database derives `energy_amount_kwh` in the same way."""
        return max(Decimal(0), self.stated_kwh + kwh_of_wh(self.measured_wh) - self.sold_kwh)


class Adjustment(Struct, frozen=True, gc=False):
    """What becomes of a follower; `event` is None when nobody can see a difference."""

    listing: Follower
    event: EventType | None


def adjust(
    listing: Follower, *, surplus_change_wh: Decimal, condition: Condition, now: datetime
) -> Adjustment:
    """Follow the meter: more or less surplus, and what the device's condition allows."""
    after = replace(listing, measured_wh=listing.measured_wh + surplus_change_wh)
    after = _with_status(after, condition, now)
    return Adjustment(after, _event(listing, after))


def _with_status(listing: Follower, condition: Condition, now: datetime) -> Follower:
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


def _event(before: Follower, after: Follower) -> EventType | None:
    if before.status == after.status:
        return EventType.LISTING_UPDATED if before.left_kwh != after.left_kwh else None
    return {
        ListingStatus.ACTIVE: EventType.LISTING_RESUMED,
        ListingStatus.PAUSED: EventType.LISTING_PAUSED,
        ListingStatus.EXPIRED: EventType.LISTING_EXPIRED,
    }[after.status]
