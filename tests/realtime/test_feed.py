"""Events that a client of the feed gets, and those that it does not."""

from uuid import uuid4

from db import outbox
from db.pool import Pool
from tests.realtime.announcing import announce, listing_event
from tests.realtime.client import open_client


async def test_an_event_is_told_when_its_transaction_commits(feed: str, pool: Pool) -> None:
    listing_id = uuid4()
    async with open_client(feed) as client:
        await client.subscribe("listings")
        async with pool.acquire() as conn:
            rolled_back = conn.transaction()
            await rolled_back.start()
            await outbox.add(conn, [listing_event(listing_id, version=1)])
            await rolled_back.rollback()
        await announce(pool, listing_event(listing_id, version=2))
        event = await client.event()
    assert event["channel"] == "listings"
    assert event["type"] == "listing.updated"
    assert event["time"].endswith("Z")
    assert event["data"] == {"id": str(listing_id), "version": 2, "status": "active"}
