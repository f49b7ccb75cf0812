"""Events, committed to the outbox as their transactions would."""

from uuid import UUID

from core.events import LISTINGS, Event, EventType, listing_channel, user_channel
from db import outbox
from db.pool import Pool


def listing_event(
    listing_id: UUID, version: int = 1, event_type: EventType = EventType.LISTING_UPDATED
) -> Event:
    data = {"id": str(listing_id), "version": version, "status": "active"}
    return Event(event_type, (LISTINGS, listing_channel(listing_id)), data)


def wallet_event(user_id: UUID, balance: str) -> Event:
    data = {"user_id": str(user_id), "currency": "INR", "balance": balance}
    return Event(EventType.WALLET_UPDATED, (user_channel(user_id),), data)


async def announce(pool: Pool, *events: Event) -> None:
    """Commit events, in one transaction."""
    async with pool.acquire() as conn, conn.transaction():
        await outbox.add(conn, events)
