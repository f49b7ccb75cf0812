"""Events of the live feed, and the channels on which they are published.

The data of an event is the new state, as REST shows it, so an event is safe to receive twice.
Events are written to the outbox in the transaction of their change (`db/outbox.py`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.ids import DeviceId, ListingId, UserId


class EventType(StrEnum):
    LISTING_CREATED = "listing.created"
    LISTING_UPDATED = "listing.updated"
    LISTING_PAUSED = "listing.paused"
    LISTING_RESUMED = "listing.resumed"
    LISTING_SOLD = "listing.sold"
    LISTING_EXPIRED = "listing.expired"
    LISTING_CANCELLED = "listing.cancelled"
    PURCHASE_COMPLETED = "purchase.completed"
    WALLET_UPDATED = "wallet.updated"
    DEVICE_STATUS = "device.status"
    DEVICE_TELEMETRY = "device.telemetry"
    DEVICE_REGISTERED = "device.registered"
    DEVICE_CHANGED = "device.changed"
    DEVICE_REMOVED = "device.removed"
    ADMIN_FLOW = "admin.flow"
    ADMIN_POWER = "admin.power"


LISTINGS = "listings"
# Events of the control room, beside those of the listings.
ADMIN = "admin"


def listing_channel(listing_id: ListingId) -> str:
    return f"listing:{listing_id}"


def user_channel(user_id: UserId) -> str:
    """Return the internal name of the channel that clients call `user`."""
    return f"user:{user_id}"


def device_channel(device_id: DeviceId) -> str:
    return f"device:{device_id}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is written to the outbox."""

    type: EventType
    channels: tuple[str, ...]
    data: dict[str, Any]
